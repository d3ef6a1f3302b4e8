"""Ask models: logits of many texts, figures on dev, and what a teacher says, kept on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pocketlm.model.readout import states_and_logits
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.runtime.decode import Prediction, decode
from pocketlm.runtime.inputs import Text
from pocketlm.runtime.question import Question
from pocketlm.runtime.spans import answer_of
from pocketlm.runtime.vectors import correlation, vectors_of
from pocketlm.runtime.whole import in_parts, only_words
from pocketlm.runtime.windows import QuestionInputs
from pocketlm.tasks.table import Task
from pocketlm.train.lesson import Taught, lesson, tensors
from pocketlm.train.loop import History, Schedule, gains_from_bf16, train
from pocketlm.train.losses import Objective
from pocketlm.train.questions import found_spans, with_threshold

# Teacher states kept for hidden losses, float16; beyond this they cost more than they teach.
HIDDEN_BYTES = 1_200_000_000
OUTPUTS, HIDDEN = "outputs.npz", "hidden.npy"
# Epochs of fine-tuning for fewer than so many texts: some 1,000 to 2,000 steps.
EPOCHS = ((1_000, 20), (3_000, 10), (8_000, 5), (30_000, 6), (sys.maxsize, 3))


@torch.no_grad()
def ask(
    model: TaskModel,
    texts: Sequence[Text],
    *,
    hidden: bool = False,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Taught:
    """The model's logits (and last hidden states) of every text, in order; batches are sorted by length."""
    module: Any = model.module.eval()
    outputs = model.spec.outputs
    encoded = model.inputs.encode(texts)
    order = sorted(range(len(texts)), key=lambda place: encoded[place].length)
    logits: dict[str, list[NDArray[np.float32]]] = {o.name: [np.zeros(0, np.float32)] * len(texts) for o in outputs}
    states: list[NDArray[np.float16]] = [np.zeros((0, 0), np.float16)] * len(texts) if hidden else []
    for begin in range(0, len(order), batch_size):
        own = order[begin : begin + batch_size]
        batch = [encoded[place] for place in own]
        arrays = tensors(model.inputs.collate(batch))
        if hidden:
            last, said = states_and_logits(module, arrays)
            for row, place in enumerate(own):
                states[place] = last[row, : encoded[place].length].half().numpy()
        else:
            said = module(**arrays)
        for output in outputs:
            rows = said[output.name].float().numpy()
            edges = np.cumsum([one.words for one in batch])[:-1]
            parts = np.split(rows, edges) if output.kind == "tags" else rows
            if output.kind == "span":
                parts = [row[: one.length].copy() for row, one in zip(rows, batch, strict=True)]
            for place, part in zip(own, parts, strict=True):
                logits[output.name][place] = part
        if progress is not None:
            progress.step(begin + len(own), len(order))
    return Taught(logits, states)


def _ask_whole(model: TaskModel, texts: Sequence[Text]) -> Taught:
    """As `ask`, with long texts read to their end where words are all that is tagged, as the runtime does it."""
    if not only_words(model.spec.outputs):
        return ask(model, texts)
    parts = in_parts(model.inputs, model.spec.outputs, texts)
    every = [part for own in parts for part in own]
    ends = np.cumsum([len(own) for own in parts]).tolist()
    logits = {}
    for name, rows in ask(model, [part.text for part in every]).logits.items():
        new = [row[part.again :] for row, part in zip(rows, every, strict=True)]
        logits[name] = [np.concatenate(new[end - len(own) : end]) for end, own in zip(ends, parts, strict=True)]
    return Taught(logits)


def _decoded(said: Taught, texts: Sequence[Text], outputs: Sequence[Output]) -> list[Prediction]:
    """Logits decoded, as the runtime does it."""
    words = [0] * len(texts)
    joined: dict[str, NDArray[np.float32]] = {}
    for output in outputs:
        rows = said.logits[output.name]
        if output.kind == "tags":
            words = [len(own) for own in rows]
            joined[output.name] = np.concatenate(list(rows))
        else:
            joined[output.name] = np.stack(list(rows))
    return decode(texts, outputs, joined, words)


def answers(model: TaskModel, texts: Sequence[Text]) -> list[Prediction]:
    """What the model predicts of whole texts, as the runtime does it."""
    if not isinstance(model.inputs, QuestionInputs):
        return _decoded(_ask_whole(model, texts), texts, model.spec.outputs)
    reading, found = model.inputs.reading, found_spans(model.inputs, texts, partial(ask, model))
    return [
        answer_of(text.context, one, reading)
        for text, one in zip(texts, found, strict=True)
        if isinstance(text, Question)
    ]


def judge(model: TaskModel, examples: Sequence[Example], task: Task) -> dict[str, float]:
    """Every metric of the task, without intervals.

    Where questions may have no answer, with the threshold that is best on these examples; the model's inputs keep it.
    """
    texts, inputs = texts_of(examples, model.spec.outputs), model.inputs
    if isinstance(inputs, QuestionInputs) and not all(example.answers for example in examples):
        found = found_spans(inputs, texts, partial(ask, model))
        inputs.reading = with_threshold(inputs.reading, examples, found)
    return task.figures(examples, answers(model, texts), model.spec.outputs)


@dataclass(frozen=True)
class DevFigure:
    """The task's main metric of a model on dev, as a function of the model; breaks ties by the dev loss."""

    task: Task
    examples: Sequence[Example]

    def __call__(self, model: TaskModel) -> float:
        """The figure, in [0, 1]."""
        return judge(model, self.examples, self.task)[self.task.main_metric]


@dataclass(frozen=True)
class Likeness:
    """How like the teacher's a model's vectors are, as a function of the model.

    texts: of dev. taught: what the teacher says of them.
    """

    texts: Sequence[Text]
    taught: Sequence[Prediction]

    def __call__(self, model: TaskModel) -> float:
        """The correlation of the cosines of every two texts, at least 0."""
        said = ask(model, self.texts)
        return correlation(np.stack(list(said.logits["vector"])), vectors_of(self.taught))


def teacher_schedule(texts: int, outputs: Sequence[Output]) -> Schedule:
    """The schedule a teacher is fine-tuned with: few epochs on much text, more on little, no label smoothing.

    Where every word is a label, or is told from an answer, and texts are many, half the epochs teach as much.
    """
    epochs = next(epochs for most, epochs in EPOCHS if texts < most)
    words = any(output.kind in ("tags", "span") for output in outputs)
    epochs = -(-epochs // 2) if words and texts >= 3_000 else epochs
    return Schedule(
        epochs, rate=1e-4, head_rate=1e-3, batch_size=32 if texts >= 1_000 else 16, autocast=gains_from_bf16()
    )


def fine_tune(
    model: TaskModel,
    train_examples: Sequence[Example],
    dev_examples: Sequence[Example],
    task: Task,
    *,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    deadline: Deadline | None = None,
    mixup: float = 0.0,
) -> History:
    """Fine-tune a teacher in place on labels alone; it ends with its best epoch's weights. mixup: of `Objective`."""
    return train(
        model,
        lesson(train_examples, model.spec.outputs),
        Objective(mixup=mixup),
        teacher_schedule(len(train_examples), model.spec.outputs),
        DevFigure(task, dev_examples),
        seed=seed,
        checkpoint=checkpoint,
        progress=progress or Silent(),
        deadline=deadline,
    )


def keeps_hidden(texts: int, pieces: float, width: int) -> bool:
    """Whether a teacher's hidden states are worth their room."""
    return texts * pieces * width * 2 <= HIDDEN_BYTES


def save_taught(taught: Taught, folder: Path) -> None:
    """Write a teacher's outputs to files in a folder, each whole or not at all."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, rows in taught.logits.items():
        arrays[f"logits.{name}"] = np.concatenate([np.atleast_2d(row) for row in rows])
        arrays[f"sizes.{name}"] = np.array([len(row) if row.ndim == 2 else -1 for row in rows])
    if taught.hidden:
        sizes = [len(row) for row in taught.hidden]
        arrays["hidden.sizes"] = np.array(sizes)
        shape = sum(sizes), taught.hidden[0].shape[1]
        written = folder / "hidden.partial.npy"
        states = np.lib.format.open_memmap(written, "w+", np.float16, shape)  # a second copy of all is too much
        for row, end in zip(taught.hidden, np.cumsum(sizes), strict=True):
            states[end - len(row) : end] = row
        states.flush()
        os.replace(written, folder / HIDDEN)
    partial = folder / "outputs.partial.npz"
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    os.replace(partial, folder / OUTPUTS)


def load_taught(folder: Path) -> Taught:
    """What `save_taught` wrote; hidden states stay in their file, and are read as they are asked for."""
    with np.load(folder / OUTPUTS, allow_pickle=False) as stored:
        names = [key.removeprefix("logits.") for key in stored if key.startswith("logits.")]
        logits = {name: _unstack(stored[f"logits.{name}"], stored[f"sizes.{name}"]) for name in names}
        hidden: Sequence[NDArray[np.float16]] = ()
        if "hidden.sizes" in stored:
            states = np.asarray(np.load(folder / HIDDEN, mmap_mode="r", allow_pickle=False))
            hidden = np.split(states, np.cumsum(stored["hidden.sizes"])[:-1])
    return Taught(logits, hidden)


def _unstack(rows: NDArray[np.float32], sizes: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    if (sizes < 0).all():
        return list(rows)
    return np.split(rows, np.cumsum(sizes)[:-1])
