"""Tagging: one tag a word, whether tags make spans, such as named entities, or stand alone, as parts of speech do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.runtime.tags import label_scheme, scheme_of, span_tags, tag_spans, well_formed
from pocketlm.tasks.answers import Floats, Ints, Predictions, check_rows, distinct
from pocketlm.tasks.metrics import Counts, confusion, macro, micro, span_counts
from pocketlm.tasks.scores import Scores, figures_with_intervals, per_label

Tags = Sequence[Sequence[str]]


@dataclass(frozen=True)
class _Judged:
    """Right, predicted and gold spans, or words, of each label in each row: (rows, labels) each.

    right, words: (rows,) words whose tag is right, and all of them.
    """

    counts: tuple[Floats, Floats, Floats]
    right: Floats
    words: Floats
    labels: tuple[str, ...]

    def at(self, rows: NDArray[np.intp]) -> _Judged:
        """Some of the rows."""
        right, said, true = (part[rows] for part in self.counts)
        return replace(self, counts=(right, said, true), right=self.right[rows], words=self.words[rows])

    def measure(self, weights: Floats) -> dict[str, Floats]:
        """Every metric for each row of weights."""
        counts = Counts(*(weights @ part for part in self.counts))
        names = ("precision", "recall", "f1")
        return {
            "accuracy": weights @ self.right / (weights @ self.words),
            **{f"{name}_micro": value for name, value in zip(names, micro(counts), strict=True)},
            **{f"{name}_macro": value for name, value in zip(names, macro(counts), strict=True)},
        }


@dataclass(frozen=True)
class Tagging:
    """One tag a word.

    Where tags are of spans (BIO, IOB or IOBES), `tagging`: judged by F1 over exact spans, as conlleval and seqeval
    count them. Where they are plain labels, such as parts of speech, `word-tagging`: judged by the accuracy of
    words, and F1 is over words. accuracy: the share of words whose tag is right.
    """

    name: str = "tagging"
    main_metric: str = "f1_micro"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return dict.fromkeys(
            (
                "accuracy",
                "precision_micro",
                "recall_micro",
                "f1_micro",
                "precision_macro",
                "recall_macro",
                "f1_macro",
            ),
            True,
        )

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """The tags: every one of the scheme for the types that occur, or the plain ones as they are.

        Raises DataError without a span, or with fewer than two plain tags.
        """
        found = {tag for example in examples for tag in example.tags}
        if not found:
            raise DataError("the training rows have no tags at all; each word has one")
        scheme = scheme_of(found)
        if scheme is None:
            if len(found) < 2:
                raise DataError(f"the training rows have one tag only ({', '.join(found)}); two are needed")
            return (Output("tags", "tags", tuple(sorted(found))),)
        types = sorted({kind for example in examples for kind, _, _ in tag_spans(example.tags)})
        if not types:
            raise DataError("the training rows have the tag O only; some words must have tags such as B-PER")
        return (Output("tags", "tags", span_tags(types, scheme)),)

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        judged = _judge(*_answers(examples, predictions, outputs), outputs[0])
        return {name: float(value[0]) for name, value in judged.measure(np.ones((1, len(examples)))).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric with intervals, per type of span or per tag, and the confusions of plain tags."""
        gold, said = _answers(examples, predictions, outputs)
        judged = _judge(gold, said, outputs[0])
        one, times = distinct(judged.right, judged.words, *judged.counts)
        return Scores(
            len(examples),
            figures_with_intervals(judged.at(one).measure, times, seed),
            per_label(judged.labels, Counts(*(part.sum(axis=0) for part in judged.counts))),
            confusion=_confusion(gold, said, judged.labels) if label_scheme(outputs[0].labels) is None else None,
        )


def _answers(examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]) -> tuple[Tags, Tags]:
    """Gold and predicted tags of each row, both in the output's scheme and equally many.

    Words that a prediction says nothing of have the empty tag. Raises DataError for a row without tags.
    """
    check_rows(examples, predictions)
    bare = [place + 1 for place, example in enumerate(examples) if not example.tags]
    if bare:
        raise DataError(f"row {bare[0]} has no tags to judge by ({len(bare)} of {len(examples)} rows have none)")
    scheme = label_scheme(outputs[0].labels)
    gold = [list(one.tags) if scheme is None else well_formed(one.tags, scheme) for one in examples]
    said = [list(one[outputs[0].name]) for one in predictions]
    return gold, [
        [*theirs[: len(own)], *[""] * (len(own) - len(theirs))] for own, theirs in zip(gold, said, strict=True)
    ]


def _judge(gold: Tags, said: Tags, output: Output) -> _Judged:
    right = [sum(a == b for a, b in zip(own, theirs, strict=True)) for own, theirs in zip(gold, said, strict=True)]
    rows = (*gold, *said)
    if label_scheme(output.labels) is None:
        labels = sorted({tag for row in (*rows, output.labels) for tag in row} - {""})
        counts = _word_counts(gold, said, labels)
    else:
        types = {kind for row in rows for kind, _, _ in tag_spans(row)}
        labels = sorted(types | {tag[2:] for tag in output.labels if tag != "O"})
        counts = span_counts(gold, said, labels)
    return _Judged(counts, np.array(right, float), np.array([len(row) for row in gold], float), tuple(labels))


def _word_counts(gold: Tags, said: Tags, labels: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Right, predicted and gold words of each label in each row: three arrays (rows, labels)."""
    places = {label: place for place, label in enumerate(labels)}
    right, heard, true = (np.zeros((len(gold), len(labels))) for _ in range(3))
    for row, (own, theirs) in enumerate(zip(gold, said, strict=True)):
        for meant, tag in zip(own, theirs, strict=True):
            true[row, places[meant]] += 1
            if tag:
                heard[row, places[tag]] += 1
                right[row, places[tag]] += meant == tag
    return right, heard, true


def _confusion(gold: Tags, said: Tags, labels: Sequence[str]) -> dict[str, object]:
    """{"labels", "counts"} of words."""
    places = {label: place for place, label in enumerate(labels)}
    meant, heard = (_places(rows, places) for rows in (gold, said))
    return {"labels": list(labels), "counts": confusion(meant, heard, len(labels)).tolist()}


def _places(rows: Tags, places: dict[str, int]) -> Ints:
    return np.array([places.get(tag, -1) for row in rows for tag in row], np.int64)


TAGGING = Tagging()
WORD_TAGGING = Tagging("word-tagging", "accuracy")
