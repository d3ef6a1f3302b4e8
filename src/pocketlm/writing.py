"""The story of `fit` where a text is written: pairs of texts in, a teacher, a student, one measured Pocket out.

Read it from top to bottom. `build.fit` tells the story of models that say labels, and sends jobs here that write.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pocketlm import __version__
from pocketlm.budget import Measurement, Verdict
from pocketlm.export.cached.prove import Difference
from pocketlm.export.generator import Packing, export_generator
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import cut_noted, written
from pocketlm.model.pretrained import Model
from pocketlm.model.subwords import learn_subwords, pieces_for
from pocketlm.model.translator import POSITIONS, STUDENTS, TranslatorShape, new_translator, student_shapes
from pocketlm.outputs import Example
from pocketlm.pocket.format import read_pocket, write_atomically, write_pocket
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Progress
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.load import load
from pocketlm.runtime.shortlist import MEMBER, Shortlist
from pocketlm.staging import staged
from pocketlm.tasks.prepare import Prepared
from pocketlm.tasks.translation import OUTPUT, compare
from pocketlm.train.alignment import make_shortlist
from pocketlm.train.pairs import Pairs, pair_ids, piece_ids
from pocketlm.train.translator import Desk, Translator, dictated, fine_tune_teacher, train_student, train_teacher
from pocketlm.train.write import write

# Parts of the time left that the teacher, and then what it writes, may take.
TEACHER_SHARE, DICTATION_SHARE = 0.45, 0.4
BITS = 8
# The manifest, graphs without their weights, and the page for people, compressed.
FRAME_BYTES = 40_000
# Of a teacher that was trained here.
MADE = "made from the pairs"
# A shortlist is kept where so large a share of dev comes out the same without it.
SAME = 0.98


@dataclass(frozen=True)
class Exported:
    """A student as a Pocket. measured: on dev. costs: all that measuring in a fresh process said. details: the rest."""

    path: Path
    measured: Measurement
    costs: dict[str, Any]
    details: dict[str, Any]


def fit_writer(job: Job, prepared: Prepared, progress: Progress, deadline: Deadline) -> dict[str, Any]:
    """The result of the job as the report shows it; the Pocket is written where it meets the budget."""
    job = job.for_task(prepared.task.name)
    assert job.max_length is not None  # `for_task` has set it
    pairs, dev = (pairs_of(rows) for rows in (prepared.train, prepared.dev))
    work = WorkFolder(job.work_folder)
    with work.locked():
        desk = Desk(
            dev, prepared.data_hash, job.max_length, job.seed, work, progress, deadline, job.time_limit or "",
        )  # fmt: skip
        teacher = _teacher(replace(desk, deadline=deadline.share(TEACHER_SHARE)), job, pairs)
        sources = (*pairs.sources, *prepared.unlabelled)
        heard = dictated(replace(desk, deadline=deadline.share(DICTATION_SHARE)), teacher, sources)
        progress.stage("choosing a student")
        vocabulary = Vocabulary.of(job, teacher, pairs)
        shape = _shape(desk, job, prepared, vocabulary)
        progress.stage(f"training a student of {shape.parameters:,} weights")
        # it has the teacher's vocabulary where the teacher was made here, and then its shares of words too
        student = train_student(
            desk, shape, vocabulary.tokenizer, pairs + heard, None if job.teacher else teacher
        )  # fmt: skip
        exported = _exported(desk, prepared, student, vocabulary)
        progress.stage("reading the test rows once")
        return _conclude(job, prepared, teacher, student, exported)


@dataclass(frozen=True)
class Vocabulary:
    """What a student reads and writes in. sources, targets: pieces of the training pairs."""

    tokenizer: Any
    sources: list[list[int]]
    targets: list[list[int]]
    shortlist: Shortlist

    @classmethod
    def of(cls, job: Job, teacher: Translator, pairs: Pairs) -> Vocabulary:
        """The teacher's where it was made here, else one learnt from the pairs."""
        tokenizer = teacher.model.tokenizer
        if job.teacher is not None:
            tokenizer = learn_subwords([*pairs.sources, *pairs.targets], pieces_for(len(pairs)))
        sources, targets = pair_ids(tokenizer, pairs)
        return cls(tokenizer, sources, targets, make_shortlist(sources, targets, len(tokenizer)))

    def pockets(self, model: Model, folder: Path, task: str, most: int) -> tuple[Path, Path, Difference]:
        """The model as Pockets of 8 bits, without and with the shortlist, and its difference from torch.

        most: pieces of a text at most.
        """
        path, short = folder / "student.pocket", folder / "short.pocket"
        how = Writing(max_tokens=min(POSITIONS - 1, most))
        made = export_generator(model, path, Packing(BITS), how, task, force=True)
        file = read_pocket(path)
        write_pocket(short, file.manifest, {**file.members, MEMBER: self.shortlist.to_bytes()}, replace=True)
        return path, short, made.difference


def pairs_of(rows: Sequence[Example]) -> Pairs:
    """Sources and targets of examples."""
    return Pairs(tuple(one.text for one in rows), tuple(one.target for one in rows))


def _teacher(desk: Desk, job: Job, pairs: Pairs) -> Translator:
    """The given model fine-tuned on the pairs, or one made of them alone."""
    desk.progress.stage(f"training the teacher{f' {job.teacher}' if job.teacher else ''}")
    return fine_tune_teacher(desk, job.teacher, pairs) if job.teacher else train_teacher(desk, pairs)


def _shape(desk: Desk, job: Job, prepared: Prepared, vocabulary: Vocabulary) -> TranslatorShape:
    """The largest deep-encoder, shallow-decoder student that the size allows, and time and memory as far as is known.

    Those are measured before any training, of a text of median length. Where nothing fits it is the smallest, so that
    the miss can be told.
    """
    pieces, budget, room = len(vocabulary.tokenizer), job.budget, None
    if budget.max_size is not None:
        text = vocabulary.tokenizer.backend_tokenizer.to_str().encode()
        room = budget.max_size - FRAME_BYTES - len(zlib.compress(text))
    shapes = student_shapes(pieces, room) or [replace(STUDENTS[-1], pieces=pieces)]
    if (budget.max_latency, budget.max_memory) == (None, None):
        return shapes[0]
    allowed = replace(budget, min_quality=None, max_size=None)
    for shape in shapes[:-1]:
        desk.progress.stage(f"measuring what a student of {shape.parameters:,} weights costs")
        costs = _price(desk, prepared, vocabulary, shape)
        if allowed.check(Measurement.of({}, costs), "").met:
            return shape
    return shapes[-1]


def _price(desk: Desk, prepared: Prepared, vocabulary: Vocabulary, shape: TranslatorShape) -> dict[str, Any]:
    """What a student of this shape costs, of random weights: they never end a text, which is cut at the median."""
    median = sorted(map(len, vocabulary.targets))[len(vocabulary.targets) // 2]
    key = {"shape": vars(shape), "data": desk.data_hash, "tokens": median, "pocketlm": __version__}
    step = desk.work.step("price", key)
    done = step.result
    if done is None:
        model = new_translator(shape, vocabulary.tokenizer)
        _, short, _ = vocabulary.pockets(model, step.folder, prepared.task.name, median)
        done = measure_pocket(short, _readable(vocabulary, [one.text for one in prepared.dev]))
        step.finish(done)
    return dict(done)


def _readable(vocabulary: Vocabulary, texts: Sequence[str]) -> list[str]:
    """The texts that are not longer than a student has places for."""
    read = piece_ids(vocabulary.tokenizer, texts)
    return [text for text, row in zip(texts, read, strict=True) if len(row) <= POSITIONS]


def _exported(desk: Desk, prepared: Prepared, student: Translator, vocabulary: Vocabulary) -> Exported:
    """The student as a Pocket of 8 bits, with a shortlist where that changes next to nothing, measured on dev."""
    desk.progress.stage("writing and measuring the Pocket")
    # a model that never ends a text is stopped soon after the longest it has seen
    most = 8 + int(1.5 * max(map(len, vocabulary.targets)))
    path, short, difference = vocabulary.pockets(student.model, desk.work.path, prepared.task.name, most)
    texts = [one.text for one in prepared.dev]
    said = written(load(path), texts, 32)
    # one text at a time, as it will be used: of several at once, each may have the others' pieces too
    again = written(load(short), texts)
    same = sum(a[OUTPUT] == b[OUTPUT] for a, b in zip(said, again, strict=True)) / len(texts)
    if same >= SAME:
        path, said = short, again
    costs = measure_pocket(path, _readable(vocabulary, texts))
    measured = Measurement.of(prepared.task.figures(prepared.dev, said, prepared.outputs), costs)
    sizes = [len(vocabulary.shortlist.allowed(row)) for row in vocabulary.sources[:500]]
    details = {
        "shortlist": {"used": same >= SAME, "same": same, "mean_pieces": sum(sizes) / len(sizes)},
        "difference": {key: float(value) for key, value in vars(difference).items()}, "bits": BITS,
    }  # fmt: skip
    return Exported(path, measured, costs, details)


def _conclude(
    job: Job, prepared: Prepared, teacher: Translator, student: Translator, exported: Exported
) -> dict[str, Any]:
    """Read the test rows once, write the Pocket if it may be, and gather the result."""
    texts, pocket = [one.text for one in prepared.test], load(exported.path)
    said = written(pocket, texts)
    taught = [{OUTPUT: text} for text in write(teacher.model, texts, beams=4)]
    scores = cut_noted(prepared.task.score(prepared.test, said, prepared.outputs), pocket, texts)
    theirs = prepared.task.figures(prepared.test, taught, prepared.outputs)
    name = f"{student.model.module.config.encoder_layers}+{student.model.module.config.decoder_layers} layers"
    origin = "pairs of texts alone" if job.teacher is None else f"pairs of texts and {Path(job.teacher).name}"
    whole = staged(
        exported.path, job, prepared, f"{name}, made from {origin}",
        {"name": Path(job.teacher).name if job.teacher else MADE, "sha256": teacher.key}, exported.measured.quality,
        scores,
    )  # fmt: skip
    measured = replace(
        exported.measured, quality={name: figure.value for name, figure in scores.metrics.items()},
        size_bytes=whole.stat().st_size, split="test",
    )  # fmt: skip
    verdict = job.budget.check(measured, prepared.task.main_metric, theirs)
    kept = verdict.met or job.keep_best
    if kept:
        write_atomically(Path(job.output), whole.read_bytes(), replace=job.force)
    dev_texts = [{OUTPUT: text} for text in write(teacher.model, [one.text for one in prepared.dev], beams=4)]
    return {
        "schema": 1, "pocket": job.output if kept else None, "report": str(job.report), "task": prepared.task.name,
        "main_metric": prepared.task.main_metric, "budget": job.budget.to_json(), "data": prepared.about,
        "teacher": {
            "name": job.teacher or MADE, "size_bytes": 4 * teacher.model.parameters,
            "quality": {"dev": prepared.task.figures(prepared.dev, dev_texts, prepared.outputs), "test": theirs},
            "seconds": teacher.seconds, "notes": [*teacher.notes, "size: float32 weights; figures: 4 beams"],
        },
        "candidates": [_candidate(name, verdict, measured, student)],
        "chosen": {
            "name": name, "measurement": {**exported.costs, "size_bytes": measured.size_bytes},
            "dev": dict(exported.measured.quality),
            "test": scores.to_json(), **exported.details, "notes": list(student.notes),
            "against_teacher": compare(
                [one.target for one in prepared.test],
                {"teacher": [one[OUTPUT] for one in taught], "student": [str(one[OUTPUT]) for one in said]},
            ),
        },
        "status": "best" if not verdict.limits else "met" if verdict.met else "missed",
        "verdict": {**verdict.to_json(), "text": _sentence(name, verdict, scores.metrics, theirs)},
        "environment": describe(), "seed": job.seed,
    }  # fmt: skip


def _candidate(name: str, verdict: Verdict, measured: Measurement, student: Translator) -> dict[str, Any]:
    return {
        "name": name, "family": "encoder-decoder", "status": "measured", "why": "", "met": verdict.met, "chosen": True,
        **measured.to_json(), "seconds": student.seconds,
    }  # fmt: skip


def _sentence(name: str, verdict: Verdict, metrics: Any, teacher: dict[str, float]) -> str:
    """The verdict in a sentence: what was reached on test beside the teacher."""
    figures = "; ".join(
        f"{key} {100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f}), teacher {100 * teacher[key]:.1f}"
        for key, one in metrics.items()
    )
    if not verdict.limits:
        return f"the student of {name}: {figures}; on test"
    return f"the student of {name} {'meets the budget' if verdict.met else 'misses'}: {verdict}; {figures}; on test"
