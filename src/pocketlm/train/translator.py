"""Translators are trained here: a teacher from nothing or fine-tuned, what it writes, and students that learn it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from pocketlm.errors import DataError, ModelError, TeacherError
from pocketlm.model.encoder import quiet
from pocketlm.model.pretrained import Model, fingerprint, load_model
from pocketlm.model.subwords import learn_subwords, pieces_for
from pocketlm.model.translator import TranslatorShape, new_translator
from pocketlm.pocket.work import Step, WorkFolder, digest
from pocketlm.progress import Deadline, Progress
from pocketlm.train.guide import MOST_PIECES, Guide, watched_head
from pocketlm.train.loop import Course, History, Schedule, gains_from_bf16, study
from pocketlm.train.losses import TopTail
from pocketlm.train.pairs import (
    IGNORED,
    PairBatch,
    Pairs,
    Rows,
    dropped_or_plain,
    fitting,
    join_shares,
    pair_batch,
    pair_ids,
    pair_loss,
    piece_loss,
    token_batches,
    word_shares,
)
from pocketlm.train.write import write

# Change this when training changes what a translator becomes: remembered ones are then trained anew.
VERSION = 1
# Weight of the word-level teacher beside the labels.
WORD_ALPHA = 0.5
# Texts that a teacher writes before the time is looked at.
AT_ONCE = 200


@dataclass(frozen=True)
class Lecture:
    """How a translator is trained.

    dropout: share of BPE merges left out of the pieces of both sides; of the source alone where words are taught.
    smoothing: of labels. alpha: weight of the teacher's shares of words. guidance: weight of alignments found
    beforehand (see `train.guide`), which vocabularies of more than its MOST_PIECES do without. tokens: of a batch,
    padding included.
    """

    schedule: Schedule
    dropout: float = 0.1
    smoothing: float = 0.1
    alpha: float = 0.0
    guidance: float = 0.0
    tokens: int = 2_048


@dataclass(frozen=True)
class Desk:
    """What every training of a job needs. dev: pairs that choose. data_hash: of training and dev rows.

    limit: the bound on the work as it was asked for; what it cuts short is remembered under it.
    """

    dev: Pairs
    data_hash: str
    longest: int
    seed: int
    work: WorkFolder
    progress: Progress
    deadline: Deadline
    limit: str = ""


@dataclass(frozen=True)
class Translator:
    """A trained model. key: what it depends on, hashed. dev_loss: of a piece, in nats."""

    model: Model
    key: str
    dev_loss: float
    seconds: float
    notes: tuple[str, ...] = field(default=())


def lecture_for(pairs: int, *, fine_tune: bool = False, alpha: float = 0.0, rate: float = 6e-3) -> Lecture:
    """The usual way: some 30 to 200 epochs on few pairs, fewer on many; small batches on little data.

    Sennrich and Zhang 2019 (arXiv:1905.11901), Araabi and Monz 2020 (arXiv:2011.02266). What starts from nothing steps
    by Muon, which comes further in the first minutes (docs/log.md).
    """
    epochs = 5 if fine_tune else min(200, max(30, 1_500_000 // max(1, pairs)))
    schedule = Schedule(
        epochs, 2e-4 if fine_tune else rate, warmup=0.08, patience=max(5, epochs // 8), decay=1e-4,
        second_moment=0.98, average=5, to_deadline=True, autocast=gains_from_bf16(),
        muon=not fine_tune,
    )  # fmt: skip
    tokens = 2_048 if fine_tune and pairs >= 5_000 else 1_024
    return Lecture(schedule, 0.0 if fine_tune else 0.1, alpha=alpha, guidance=0.0 if fine_tune else 1.0, tokens=tokens)


def teach(
    desk: Desk, name: str, start: Callable[[], Model], pairs: Pairs, lecture: Lecture, about: Mapping[str, Any],
    teacher: Translator | None = None,
) -> Translator:  # fmt: skip
    """The model that `start` makes, trained on the pairs, or as it was trained before.

    about: what the model depends on, for the key. teacher: whose shares of words are learnt where lecture.alpha is
    above 0; its vocabulary is the model's.
    """
    key: dict[str, Any] = {
        "version": VERSION, "data": desk.data_hash, "seed": desk.seed, "longest": desk.longest, "limit": desk.limit,
        "lecture": _plain(lecture), "pairs": digest([list(pairs.sources), list(pairs.targets)]),
        "teacher": teacher and teacher.key, **about,
    }  # fmt: skip
    step = desk.work.step(name, key)
    done, folder = step.result, step.folder / "model"
    if done is not None and folder.is_dir():
        return Translator(load_model(folder), digest(key), done["dev_loss"], done["seconds"], tuple(done["notes"]))
    began, model = time.monotonic(), start()
    (pairs, desk), left_out = _within(model, pairs, desk)
    model.module.requires_grad_(True)
    history = _train(desk, model, pairs, lecture, teacher, step)
    model.module.requires_grad_(False)
    notes = [f"trained for {len(history.figures)} epochs, best after {history.best_epoch + 1}; {history.ended}"]
    notes += left_out
    done = {"dev_loss": -history.best, "seconds": time.monotonic() - began, "notes": notes}
    if desk.deadline.passed and not (desk.limit and len(history.figures) > 1):
        # training that time cut short without a word of it in the key is used now, and not remembered
        key = {**key, "cut_after": history.figures}
    else:
        save_plain(model, folder)
        step.finish(done)
        (step.folder / "training.checkpoint").unlink(missing_ok=True)
    return Translator(model, digest(key), done["dev_loss"], done["seconds"], tuple(notes))


def _within(model: Model, pairs: Pairs, desk: Desk) -> tuple[tuple[Pairs, Desk], list[str]]:
    """The pairs, and the desk with those that choose, that are not too long, and what was left out.

    Raises DataError where none is left.
    """
    kept, notes = [], []
    for name, whole in (("training", pairs), ("dev", desk.dev)):
        kept.append(fitting(model, whole, desk.longest))
        if not kept[-1]:
            raise DataError(
                f"none of the {len(whole):,} {name} pairs has at most {desk.longest} pieces a side; give shorter "
                "texts, cut at sentences, or allow more with --max-length"
            )
        if gone := len(whole) - len(kept[-1]):
            notes.append(f"{gone:,} of {len(whole):,} {name} pairs, of over {desk.longest} pieces, play no part")
    return (kept[0], replace(desk, dev=kept[1])), notes


def _plain(lecture: Lecture) -> dict[str, Any]:
    return {**vars(lecture), "schedule": vars(lecture.schedule)}


def save_plain(model: Model, folder: Any) -> None:
    """Write the model as a folder of `transformers`, weights in float32."""
    with quiet():
        model.module.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)


def _train(desk: Desk, model: Model, pairs: Pairs, lecture: Lecture, teacher: Translator | None, step: Step) -> History:
    shares = None
    if teacher is not None and lecture.alpha > 0:
        desk.progress.stage(f"asking the teacher about the words of {len(pairs):,} texts")
        rows = pair_ids(model.tokenizer, pairs)
        shares = word_shares(teacher.model, rows[0], rows[1], progress=desk.progress.step)
    sources = dropped_or_plain(model.tokenizer, pairs.sources, lecture.dropout, desk.seed)
    left_out = 0.0 if shares else lecture.dropout
    targets = dropped_or_plain(model.tokenizer, pairs.targets, left_out, desk.seed + 1, target=True)
    desk.progress.stage(f"training on {len(pairs):,} pairs")
    first, guide = (sources(0), targets(0)), None
    if lecture.guidance and len(model.tokenizer) <= MOST_PIECES:
        guide = Guide(*first, len(model.tokenizer))
    with watched_head(model.module) if guide else nullcontext() as attention:

        def loss(batch: PairBatch) -> Tensor:
            found = pair_loss(model.module, batch, lecture.smoothing, lecture.alpha)
            if guide is None or attention is None:
                return found
            read, written = batch.arguments["attention_mask"].bool(), batch.labels != IGNORED
            ids, labels = batch.arguments["input_ids"], batch.labels.clamp(min=0)
            return found + lecture.guidance * guide.distance(attention[0], ids, labels, read, written)

        course = Course(
            model.module,
            math.ceil(sum(max(map(len, pair)) for pair in zip(*first, strict=True)) / lecture.tokens),
            lambda epoch: _epoch(model, sources(epoch), targets(epoch), lecture.tokens, (desk.seed, epoch), shares),
            loss,
            lambda: -piece_loss(model, desk.dev),
        )
        return study(
            course, lecture.schedule, seed=desk.seed, checkpoint=step.folder / "training.checkpoint",
            progress=desk.progress, deadline=desk.deadline,
        )  # fmt: skip


def _epoch(
    model: Model, sources: Rows, targets: Rows, tokens: int, seed: tuple[int, int], shares: Sequence[TopTail] | None
) -> Any:
    """Batches of an epoch, made one by one."""
    for own in token_batches(sources, targets, tokens, np.random.default_rng(seed)):
        taught = None if shares is None else join_shares([shares[place] for place in own])
        yield pair_batch(model, [sources[one] for one in own], [targets[one] for one in own], taught)


def train_teacher(desk: Desk, pairs: Pairs, shape: TranslatorShape | None = None, dropout: float = 0.3) -> Translator:
    """A translator made of these pairs alone. shape: all but its pieces; absent, by the number of pairs."""
    pieces = pieces_for(len(pairs))
    shape = shape or (TranslatorShape(0) if len(pairs) >= 5_000 else TranslatorShape(0, 128, 3, 2, 256, 4))
    desk.progress.stage("learning a vocabulary")
    tokenizer = learn_subwords([*pairs.sources, *pairs.targets], pieces)
    sized = TranslatorShape(len(tokenizer), *list(vars(shape).values())[1:])
    return teach(
        desk, "teacher", lambda: new_translator(sized, tokenizer, dropout=dropout, seed=desk.seed), pairs,
        lecture_for(len(pairs)), {"shape": vars(sized), "dropout": dropout},
    )  # fmt: skip


def fine_tune_teacher(desk: Desk, name: str, pairs: Pairs) -> Translator:
    """A pretrained encoder-decoder (a folder or hub name) fine-tuned on the pairs. Raises TeacherError."""
    try:
        given = load_model(name)
    except ModelError as error:
        raise TeacherError(str(error).replace("model ", "teacher ", 1)) from None
    if given.spec.kind != "encoder-decoder" or given.tokenizer is None:
        raise TeacherError(
            f"teacher {name}: is {given.spec.architecture}, which does not write a text for another; give an "
            "encoder-decoder with its tokenizer, such as T5ForConditionalGeneration or MarianMTModel"
        )
    lecture = lecture_for(len(pairs), fine_tune=True)
    return teach(desk, "teacher", given.copy, pairs, lecture, {"model": [one.hex() for one in fingerprint(given)]})


def train_student(
    desk: Desk, shape: TranslatorShape, tokenizer: Any, pairs: Pairs, teacher: Translator | None, name: str = "student"
) -> Translator:
    """A student of this shape on these pairs; with a teacher of the same vocabulary, on its shares of words too.

    A student is smaller than its data: less dropout than a teacher has.
    """
    lecture = lecture_for(len(pairs), alpha=WORD_ALPHA if teacher else 0.0)
    return teach(
        desk, name, lambda: new_translator(shape, tokenizer, dropout=0.1, seed=desk.seed), pairs, lecture,
        {"shape": vars(shape), "vocabulary": digest(tokenizer.backend_tokenizer.to_str())}, teacher,
    )  # fmt: skip


def dictated(desk: Desk, teacher: Translator, sources: Sequence[str], beams: int = 4) -> Pairs:
    """Sources with what the teacher's beam search writes for each, as many as time allows; empty texts are left out.

    Sequence-level distillation, Kim and Rush 2016, arXiv:1606.07947, section 3.2.
    """
    step = desk.work.step("dictated", {
        "teacher": teacher.key, "sources": digest(list(sources)), "beams": beams, "limit": desk.limit,
    })  # fmt: skip
    done = step.result
    if done is None:
        desk.progress.stage(f"the teacher writes {len(sources):,} texts")
        order = np.random.default_rng(desk.seed).permutation(len(sources)).tolist()
        texts = [""] * len(sources)
        for begin in range(0, len(order), AT_ONCE):
            if desk.deadline.passed:
                break
            own = order[begin : begin + AT_ONCE]
            for place, text in zip(own, write(teacher.model, [sources[one] for one in own], beams=beams), strict=True):
                texts[place] = text
            desk.progress.step(begin + len(own), len(order))
        done = {"texts": texts}
        if desk.limit or not desk.deadline.passed:
            step.finish(done)
    kept = [place for place, text in enumerate(done["texts"]) if text]
    return Pairs(tuple(sources), tuple(done["texts"])).at(kept)
