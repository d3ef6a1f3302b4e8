"""The teacher of a job: fine-tuned once, asked once, both remembered in the work folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pocketlm.model.encoder import EncoderModule, Pretrained, teacher_model
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.pocket.work import WorkFolder, digest
from pocketlm.progress import Deadline, Progress
from pocketlm.runtime.inputs import Text, tokens_of
from pocketlm.runtime.ngrams import ngram_words
from pocketlm.runtime.question import Question
from pocketlm.runtime.windows import QuestionInputs, Reading
from pocketlm.tasks.table import Task
from pocketlm.train.few_shot import FROZEN, SELF_TRAINING, school
from pocketlm.train.keras_teacher import keras_teacher
from pocketlm.train.lesson import Lesson, Taught, lesson, unlabelled_labels
from pocketlm.train.loop import History, gains_from_bf16
from pocketlm.train.neighbours import neighbours
from pocketlm.train.teach import (
    HIDDEN,
    OUTPUTS,
    ask,
    judge,
    keeps_hidden,
    load_taught,
    save_taught,
    teacher_schedule,
)
from pocketlm.train.used_pieces import used_pieces

# Part of the time left that fine-tuning may take.
TIME_SHARE = 0.5
# Change this when training changes what a teacher becomes: remembered teachers are then trained anew.
VERSION = 2
# The same of the ways to teach with few rows.
FEW_SHOT_VERSION = 1


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned encoder, or a Keras model. quality: its figures on dev. key: what it depends on, hashed.

    name: as it was given. sha256: of its weights as they were found, and its tokenizer.
    """

    name: str
    sha256: str
    model: TaskModel
    quality: dict[str, float]
    key: str
    seconds: float
    notes: tuple[str, ...]


class Helpers(Protocol):
    """Processes that ask and fine-tune a teacher. together: how many fine-tune at once."""

    @property
    def together(self) -> int:
        """How many processes fine-tune at once; 1 leaves it to this one."""
        ...

    def ask(self, model: TaskModel, texts: Sequence[Text], hidden: bool, autocast: bool) -> Taught:
        """What the teacher says of texts, as `train.teach.ask` has it."""
        ...

    def fine_tune(
        self, model: TaskModel, train: Sequence[Example], dev: Sequence[Example], task: Task, seed: int, mixup: float,
        deadline: Deadline, folder: Path,
    ) -> History:  # fmt: skip
        """Fine-tune the teacher in place, as `train.teach.fine_tune` does. folder: for what they leave."""
        ...


@dataclass(frozen=True)
class Classroom:
    """What teaching needs of a job.

    data_hash: of the training and dev rows. parallel: whether second texts are translations, which the teacher need not
    know. keep_words: whether its embeddings of pieces stay as they are while it is fine-tuned, so that the languages
    that it is not fine-tuned on are read as before (Wu and Dredze 2019, arXiv:1904.09077, section 5, on lower layers).
    ways: of `train.few_shot`, or () for plain fine-tuning alone. unlabelled: texts for self-training, none of them a
    test row's. mixup: as `Objective` has it. helpers: other processes that take part, or None.
    """

    task: Task
    outputs: tuple[Output, ...]
    train: Sequence[Example]
    dev: Sequence[Example]
    data_hash: str
    max_length: int
    seed: int
    work: WorkFolder
    progress: Progress
    deadline: Deadline
    ways: tuple[str, ...] = ()
    unlabelled: Sequence[str] = ()
    parallel: bool = False
    keep_words: bool = False
    mixup: float = 0.0
    helpers: Helpers | None = None

    @property
    def together(self) -> int:
        """How many processes fine-tune the teacher."""
        return 1 if self.helpers is None else self.helpers.together

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as it was pretrained."""
        return self.ways == (FROZEN,)


def prepare_teacher(room: Classroom, pretrained: Pretrained) -> Teacher:
    """The encoder fine-tuned on the job's labels, or as it was fine-tuned before."""
    schedule = teacher_schedule(len(room.train), room.outputs)
    key: dict[str, Any] = {
        "version": VERSION, "model": pretrained.digest, "data": room.data_hash, "seed": room.seed,
        "max_length": room.max_length, "schedule": vars(schedule), **({"keep_words": True} if room.keep_words else {}),
        **({"together": room.together} if room.together > 1 else {}),
    }  # fmt: skip
    if room.ways:
        key |= {"ways": room.ways, "unlabelled": digest(list(room.unlabelled)), "few_shot": FEW_SHOT_VERSION}
    step = room.work.step("teacher", key)
    torch.manual_seed(room.seed)
    model = teacher_model(pretrained, room.outputs, room.max_length)
    weights = step.folder / "teacher.pt"
    done = step.result
    if done is None or not weights.is_file():
        what = "reading the rows with" if room.frozen else "fine-tuning"
        room.progress.stage(f"{what} the teacher {pretrained.name}")
        began, deadline = time.monotonic(), room.deadline.share(TIME_SHARE)
        words = pretrained.backbone.get_input_embeddings()
        words.requires_grad_(not room.keep_words)
        with used_pieces(model, _texts_of(room)):
            notes = school(room, model, step.folder, deadline)
        words.requires_grad_(True)
        quality = judge(model, room.dev, room.task)
        done = {"quality": quality, "seconds": time.monotonic() - began, "notes": notes}
        if isinstance(model.inputs, QuestionInputs):
            done["reading"] = model.inputs.reading.to_json()
        if deadline.passed:
            # training that time cut short is used now, and not remembered as what this key gives
            key = {**key, "cut_after": notes}
        else:
            torch.save(model.module.state_dict(), weights)
            step.finish(done)
            (step.folder / "training.checkpoint").unlink(missing_ok=True)
    else:
        model.module.load_state_dict(torch.load(weights, weights_only=True))
        model.module.eval()
        if isinstance(model.inputs, QuestionInputs):
            model.inputs.reading = Reading.from_json(done["reading"])
    about = (done["quality"], digest(key), done["seconds"], tuple(done["notes"]))
    return Teacher(pretrained.name, pretrained.digest, model, *about)


def _texts_of(room: Classroom) -> list[Text]:
    """All texts that a teacher sees while it is trained."""
    more: Sequence[Text] = room.unlabelled if SELF_TRAINING in room.ways else ()
    return [*texts_of(room.train, room.outputs), *texts_of(room.dev, room.outputs), *more]


def trained_teacher(room: Classroom, name: str) -> Teacher:
    """A Keras model as it was trained."""
    room.progress.stage(f"asking the teacher {name}")
    began = time.monotonic()
    model, sha256, note = keras_teacher(name, room.outputs)
    quality = judge(model, room.dev, room.task)
    key = digest({"version": VERSION, "model": sha256, "outputs": [one.to_json() for one in room.outputs]})
    return Teacher(name, sha256, model, quality, key, time.monotonic() - began, (note,))


def word_neighbours(room: Classroom, pretrained: Pretrained) -> dict[str, list[str]]:
    """Words of like meaning for the training words, as the encoder saw them before it was fine-tuned."""
    words = sorted({word for one in room.train for text in (one.text, one.pair) for word in ngram_words(text)})
    step = room.work.step("words", {"model": pretrained.digest, "words": digest(words), "version": VERSION})
    if step.result is None:
        room.progress.stage("finding words of like meaning")
        step.finish(neighbours(pretrained, words))
    found: dict[str, list[str]] = step.result or {}
    return found


def taught_lesson(room: Classroom, teacher: Teacher, examples: Sequence[Example], unlabelled: Sequence[Text]) -> Lesson:
    """Examples and unlabelled texts, with what the teacher says of each if it is not the encoder as it was."""
    base = lesson(examples, room.outputs)
    tagging = any(output.kind == "tags" for output in room.outputs)
    more: list[Text] = [tuple(tokens_of(text)) if tagging else text for text in unlabelled]
    more = [one for one in more if _fits(teacher.model, one)]
    labels: dict[str, list[Any]] = {
        output.name: [*base.labels[output.name], *unlabelled_labels(len(more), output)] for output in room.outputs
    }
    whole = Lesson((*base.texts, *more), labels)
    if room.frozen:
        return whole
    distinct = list(dict.fromkeys(whole.texts))  # rows of rare sources come many times
    module, hidden = teacher.model.module, False
    if isinstance(module, EncoderModule):
        width = int(module.backbone.config.hidden_size)
        hidden = keeps_hidden(len(distinct), _mean_pieces(teacher.model, distinct), width)
    key = {
        "teacher": teacher.key,
        "distinct": digest(distinct),
        "version": VERSION,
        **({"hidden": True} if hidden else {}),
    }
    step = room.work.step("taught", key)
    files = [step.folder / OUTPUTS, *([step.folder / HIDDEN] if hidden else [])]
    if step.result is None or not all(path.is_file() for path in files):
        room.progress.stage(f"asking the teacher about {len(distinct):,} texts")
        autocast = gains_from_bf16()
        if room.helpers is not None:
            taught = room.helpers.ask(teacher.model, distinct, hidden, autocast)
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                taught = ask(teacher.model, distinct, hidden=hidden, progress=room.progress)
        save_taught(taught, step.folder)
        step.finish({"texts": len(distinct), "hidden": hidden})
    places = {text: place for place, text in enumerate(distinct)}
    return whole.with_teacher(load_taught(step.folder).at([places[text] for text in whole.texts]))


def _fits(model: TaskModel, text: Text) -> bool:
    """Whether a question leaves room for its context; any other text may be cut."""
    return not (isinstance(model.inputs, QuestionInputs) and isinstance(text, Question)) or model.inputs.fits(text)


def _mean_pieces(model: TaskModel, texts: Sequence[Text]) -> float:
    sample = model.inputs.encode(texts[:: max(1, len(texts) // 500)])
    return sum(one.length for one in sample) / max(1, len(sample))


def teacher_latency(model: TaskModel, texts: Sequence[Text], calls: int = 40) -> float:
    """Median milliseconds of one text on one thread in torch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spent = []
    try:
        for place in range(calls + 5):
            began = time.perf_counter()
            ask(model, [texts[place % len(texts)]])
            spent.append((time.perf_counter() - began) * 1e3)
    finally:
        torch.set_num_threads(threads)
    return sorted(spent[5:])[calls // 2]
