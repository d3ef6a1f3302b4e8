"""What a model learns from: texts, their labels as numbers, and what a teacher says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.runtime.inputs import Encoded, Inputs, Text
from pocketlm.runtime.question import Question
from pocketlm.runtime.windows import QuestionInputs, placed

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Taught:
    """A teacher's outputs, one array a text.

    logits: {output name: arrays of shape (labels,), (words, labels) for tags, or (pieces, labels) for a span}.
    hidden: arrays of shape (pieces, width), float16, or () where they were not kept.
    """

    logits: Mapping[str, Sequence[Floats]]
    hidden: Sequence[NDArray[np.float16]] = ()

    def at(self, places: Sequence[int]) -> Taught:
        """What was said of the texts at these places, as often as they occur."""
        logits = {name: [rows[place] for place in places] for name, rows in self.logits.items()}
        return Taught(logits, [self.hidden[place] for place in places] if self.hidden else ())


@dataclass(frozen=True)
class Lesson:
    """Texts with labels as numbers; an unlabelled text has label -1 (single), NaN (multi), no tags or no places.

    labels: {output name: one label number, (labels,) of 0/1, (words,) tag numbers, or the answer's begin and end in
    characters of the context, (-1, -1) where it has none, a text}.
    """

    texts: tuple[Text, ...]
    labels: Mapping[str, Sequence[NDArray[np.float32] | NDArray[np.int64] | int]]
    taught: Taught | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def with_teacher(self, taught: Taught) -> Lesson:
        """The same texts with a teacher's outputs."""
        return replace(self, taught=taught)

    def at(self, places: Sequence[int]) -> Lesson:
        """The texts at these places, as often as they occur, with all that is known of them."""
        labels = {name: [rows[place] for place in places] for name, rows in self.labels.items()}
        taught = None if self.taught is None else self.taught.at(places)
        return Lesson(tuple(self.texts[place] for place in places), labels, taught)


def lesson(examples: Sequence[Example], outputs: Sequence[Output]) -> Lesson:
    """Examples as numbers, in order; of pairs, which no model reads as one text, every text once."""
    if any(output.kind == "vector" for output in outputs) and any(example.pair for example in examples):
        examples = [Example(str(text)) for text in dict.fromkeys(texts_of(examples, outputs))]
    labels = {output.name: [_number(example, output) for example in examples] for output in outputs}
    return Lesson(tuple(texts_of(examples, outputs)), labels)


def in_windows(examples: Sequence[Example], inputs: QuestionInputs, where: str) -> list[Example]:
    """Each question once for every window of its context; only a window that holds an answer whole has it.

    Raises DataError, which names `where` and the row, for a question that leaves no room for its context.
    """
    found: list[Example] = []
    for place, example in enumerate(examples, 1):
        try:
            windows = inputs.windows([Question(example.text, example.pair)])[0]
        except DataError as error:
            raise DataError(f"{where}, row {place}: {error}") from None
        for part, _ in windows:
            inside = [(start - part.at, end - part.at) for start, end in example.answers]
            held = tuple((start, end) for start, end in inside if start >= 0 and end <= len(part.context))
            found.append(replace(example, pair=part.context, answers=held))
    return found


def join(first: Lesson, second: Lesson) -> Lesson:
    """The texts of both, `first`'s before. Both have a teacher or neither; hidden states stay where both have them."""
    labels = {name: [*own, *second.labels[name]] for name, own in first.labels.items()}
    whole = Lesson((*first.texts, *second.texts), labels)
    if first.taught is None or second.taught is None:
        return whole
    logits = {name: [*own, *second.taught.logits[name]] for name, own in first.taught.logits.items()}
    both = first.taught.hidden and second.taught.hidden
    hidden = [*first.taught.hidden, *second.taught.hidden] if both else ()
    return whole.with_teacher(Taught(logits, hidden))


def _number(example: Example, output: Output) -> NDArray[np.float32] | NDArray[np.int64] | int:
    places = {label: place for place, label in enumerate(output.labels)}
    if output.kind == "tags":
        return np.array([places.get(tag, 0) for tag in example.tags], np.int64)
    if output.kind == "span":
        return np.array(example.answers[0] if example.answers else (-1, -1), np.int64)
    if output.kind == "multi":
        if not example.labels:
            return np.full(len(places), np.nan, np.float32)
        return np.array([label in example.labels for label in output.labels], np.float32)
    # a vector has no label: what it should be, only a teacher can say
    return places.get(example.labels[0], -1) if example.labels else -1


def have_labels(given: Lesson, outputs: Sequence[Output]) -> NDArray[np.bool_]:
    """Of each text whether it has every label; a vector is none."""
    found = np.ones(len(given), bool)
    for output in outputs:
        rows = given.labels[output.name]
        if output.kind == "single":
            found &= np.asarray(rows, np.int64) >= 0
        elif output.kind != "vector":
            found &= [bool(len(row)) and not np.isnan(row).any() for row in cast("Sequence[NDArray[Any]]", rows)]
    return found


def with_labels(given: Lesson, outputs: Sequence[Output]) -> Lesson:
    """The texts that have every label; all where none has."""
    told = np.flatnonzero(have_labels(given, outputs))
    return given.at(told.tolist()) if 0 < len(told) < len(given) else given


def unlabelled_labels(texts: int, output: Output) -> list[NDArray[np.float32] | NDArray[np.int64] | int]:
    """The labels of so many texts without any."""
    nothing = np.zeros(0, np.int64) if output.kind == "span" else _number(Example(""), output)
    return [nothing] * texts


@dataclass(frozen=True)
class Batch:
    """One batch as tensors.

    arrays: the module's arguments. labels: {output: (texts,), (texts, labels) or (words,), or (texts, 2) pieces of a
    span}, -100 or NaN is none. teacher: {output: (texts or words, labels), or (texts, pieces, 2)}, NaN where the
    teacher saw less; hidden: (texts, pieces, width)
    or None, with hidden_texts: (texts,) true where the teacher split the text in as many pieces.
    """

    arrays: dict[str, Tensor]
    labels: dict[str, Tensor]
    teacher: dict[str, Tensor]
    hidden: Tensor | None
    hidden_texts: Tensor | None


def tensors(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
    """The same arrays as tensors, sharing memory."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def make_batch(
    given: Lesson, outputs: Sequence[Output], encoded: Sequence[Encoded], inputs: Inputs, places: Sequence[int]
) -> Batch:
    """The batch of the texts at `places`; tags and teacher rows are cut to the words the model reads."""
    own = [encoded[place] for place in places]
    labels = {o.name: _batch_labels(given, o, own, places) for o in outputs}
    taught = given.taught
    teacher = {} if taught is None else {o.name: _batch_logits(taught, o, own, places) for o in outputs}
    hidden = texts = None
    if taught is not None and taught.hidden:
        hidden, texts = _batch_hidden(taught, own, places)
    return Batch(tensors(inputs.collate(own)), labels, teacher, hidden, texts)


def _batch_labels(given: Lesson, output: Output, own: Sequence[Encoded], places: Sequence[int]) -> Tensor:
    column = given.labels[output.name]
    if output.kind == "multi":
        return torch.from_numpy(np.stack([np.asarray(column[place]) for place in places]))
    if output.kind in ("single", "vector"):
        numbers = np.array([column[place] for place in places], np.int64)
        return torch.from_numpy(np.where(numbers < 0, -100, numbers))
    if output.kind == "span":
        return torch.from_numpy(
            np.array(
                [_pieces(one, np.asarray(column[place])) for place, one in zip(places, own, strict=True)], np.int64
            )
        )
    parts = [_fit(np.asarray(column[place]), one.words, -100) for place, one in zip(places, own, strict=True)]
    return torch.from_numpy(np.concatenate(parts))


def _batch_logits(taught: Taught, output: Output, own: Sequence[Encoded], places: Sequence[int]) -> Tensor:
    column = taught.logits[output.name]
    if output.kind == "span":
        return _batch_spans([column[place] for place in places], own)
    if output.kind != "tags":
        return torch.from_numpy(np.stack([column[place] for place in places]))
    parts = [_fit(column[place], one.words, np.nan) for place, one in zip(places, own, strict=True)]
    return torch.from_numpy(np.concatenate(parts))


def _pieces(one: Encoded, span: NDArray[np.generic]) -> tuple[int, int]:
    """The pieces that a span of characters begins and ends with; the first piece where the context has no answer.

    -100 where nothing is known: the text is unlabelled, or the answer is not wholly in what the model reads.
    """
    start, end = (int(place) for place in span) if len(span) else (-2, -2)
    if start == -1:
        return 0, 0
    return (placed(one, start, end) if start >= 0 else None) or (-100, -100)


def _batch_spans(rows: Sequence[Floats], own: Sequence[Encoded]) -> Tensor:
    """(texts, pieces, 2): a teacher's logits where it split the text into as many pieces, NaN elsewhere."""
    out = np.full((len(own), max(one.length for one in own), 2), -1e4, np.float32)
    for place, (row, one) in enumerate(zip(rows, own, strict=True)):
        if len(row) == one.length:
            out[place, : one.length] = row
        else:
            out[place] = np.nan
    return torch.from_numpy(out)


def _fit(rows: NDArray[np.generic], count: int, fill: float) -> NDArray[np.generic]:
    """The first `count` rows, filled up where there are fewer."""
    if len(rows) >= count:
        return rows[:count]
    return np.concatenate([rows, np.full((count - len(rows), *rows.shape[1:]), fill, rows.dtype)])


def _batch_hidden(taught: Taught, own: Sequence[Encoded], places: Sequence[int]) -> tuple[Tensor, Tensor]:
    width = max(one.length for one in own)
    states = np.zeros((len(own), width, taught.hidden[places[0]].shape[1]), np.float32)
    same = np.zeros(len(own), bool)
    for row, (place, one) in enumerate(zip(places, own, strict=True)):
        if len(taught.hidden[place]) == one.length:
            states[row, : one.length] = taught.hidden[place]
            same[row] = True
    return torch.from_numpy(states), torch.from_numpy(same)
