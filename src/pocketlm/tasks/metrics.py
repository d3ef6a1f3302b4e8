"""Counts of right and wrong, and the figures made of them; every figure can be weighted by row.

Precision, recall and F1 follow scikit-learn with zero_division=0; spans follow seqeval's default mode
(CoNLL evaluation, Tjong Kim Sang and Buchholz 2000). Rows carry weights so that one pass serves the
bootstrap: `counts` are per row, weights (resamples, rows), and a figure is an array (resamples,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.tags import Span, tag_spans

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """True positives, predicted and gold counts of each label: arrays (..., labels)."""

    right: Floats
    predicted: Floats
    gold: Floats


def f1_parts(counts: Counts) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each label; 0 where undefined."""
    precision = _divide(counts.right, counts.predicted)
    recall = _divide(counts.right, counts.gold)
    return precision, recall, _divide(2 * counts.right, counts.predicted + counts.gold)


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)


def micro(counts: Counts) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 over all labels together."""
    return f1_parts(Counts(*(part.sum(axis=-1) for part in (counts.right, counts.predicted, counts.gold))))


def macro(counts: Counts, weighted: bool = False) -> tuple[Floats, Floats, Floats]:
    """Mean precision, recall and F1 of the labels that occur in gold or prediction; or weighted by gold counts."""
    occurs = (counts.gold + counts.predicted > 0).astype(np.float64)
    weight = counts.gold if weighted else occurs
    total = weight.sum(axis=-1)
    precision, recall, f1 = (_divide((part * weight).sum(axis=-1), total) for part in f1_parts(counts))
    return precision, recall, f1


def single_counts(gold: Ints, predicted: Ints, labels: int, weights: Floats) -> Counts:
    """Counts of one label a row. gold, predicted: (rows,); weights: (resamples, rows)."""
    hit = _one_hot(np.where(gold == predicted, gold, -1), labels)
    return Counts(weights @ hit, weights @ _one_hot(predicted, labels), weights @ _one_hot(gold, labels))


def _one_hot(places: Ints, labels: int) -> Floats:
    out = np.zeros((len(places), labels))
    known = places >= 0
    out[np.flatnonzero(known), places[known]] = 1
    return out


def multi_counts(gold: Floats, predicted: Floats, weights: Floats) -> Counts:
    """Counts of many labels a row. gold, predicted: (rows, labels) of 0 and 1."""
    return Counts(weights @ (gold * predicted), weights @ predicted, weights @ gold)


def spans(tags: Sequence[str]) -> set[Span]:
    """(type, first word, last word) of each span, as seqeval's get_entities reads BIO, IOB and IOBES tags."""
    return set(tag_spans(tags))


def span_counts(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], slots: Sequence[str]
) -> tuple[Floats, Floats, Floats]:
    """Right, predicted and gold spans of each slot in each row: three arrays (rows, slots)."""
    places = {slot: place for place, slot in enumerate(slots)}
    right, said, true = (np.zeros((len(gold), len(slots))) for _ in range(3))
    for row, (own, theirs) in enumerate(zip(gold, predicted, strict=True)):
        own_spans, their_spans = spans(own), spans(theirs)
        for table, found in ((right, own_spans & their_spans), (said, their_spans), (true, own_spans)):
            for slot, _, _ in found:
                table[row, places[slot]] += 1
    return right, said, true


def confusion(gold: Ints, predicted: Ints, labels: int) -> Ints:
    """How often each gold label (row) was called each label (column)."""
    known = (gold >= 0) & (predicted >= 0)
    flat = np.bincount(gold[known] * labels + predicted[known], minlength=labels * labels)
    return flat.reshape(labels, labels)
