"""Which labels the held-out judgement of all other rows speaks against, and how many labels are wrong.

The share of wrong labels is estimated by confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068): a row
counts for class j where its chance of j is at least the mean chance of j among rows labelled j (eq. 1 to 3).

A weak judge doubts hard rows as well as wrong ones. So labels are changed on purpose, as the judge mixes classes up:
the doubt from which a row is named is the one that finds these best, and how many it finds is told. The share of wrong
labels is bounded from above as a part of a mixture is: rows with doubts above any limit are at least the wrong ones
that have such (Blanchard, Lee and Scott 2010, JMLR 11, theorem 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlm.check.judge import Floats, Ints, Judge
from pocketlm.tasks.intervals import share

# Labels changed on purpose, how often, and how wide the intervals of the bound are (99 %, as many limits are tried).
CHANGED, ROUNDS, WIDE = 0.1, 2, 2.58
_LIMITS = np.linspace(0.9, 0.1, 17)


@dataclass(frozen=True)
class Noise:
    """suspects: places of rows, the most doubtful first. said: the likeliest class beside the label, (rows,).

    estimate: share of wrong labels by the
    confident joint; at_most: its upper bound. found: share of the labels changed on purpose that are suspects; right:
    share of the suspects that were changed, which is less than true where some were wrong before. accuracy: of the
    judge on rows it has not seen.
    """

    suspects: Ints
    said: Ints
    estimate: float
    at_most: float
    found: float
    right: float
    accuracy: float


def find_noise(judge: Judge, labels: Ints, count: int, seed: int) -> Noise:
    """The noise in labels (rows,), numbers below `count`."""
    chances = judge.chances(labels, count)
    doubts, said = doubts_of(chances, labels)
    random = np.random.default_rng(seed)
    each, hits = [], []
    for _ in range(ROUNDS):
        other = changed_labels(chances, labels, random)
        each.append(doubts_of(judge.chances(other, count), other)[0])
        hits.append(other != labels)
    changed, hit = np.concatenate(each), np.concatenate(hits)
    limit, found, right = _limit(changed, hit)
    order = np.argsort(-doubts, kind="stable")
    suspects = order[doubts[order] >= limit]
    accuracy = float((chances.argmax(1) == labels).mean())
    return Noise(suspects, said, estimated(chances, labels), bound(doubts, changed[hit]), found, right, accuracy)


def _limit(doubts: Floats, hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The doubt, above 0, from which the F1 of rows against hits is best; what is found, and right, then."""
    order = np.argsort(-doubts, kind="stable")
    order = order[doubts[order] > 0]
    if not hits[order].any():
        return np.inf, 0.0, 0.0
    caught, named = np.cumsum(hits[order]), np.arange(1, len(order) + 1)
    best = int(np.argmax(caught / (named + hits.sum())))
    return float(doubts[order[best]]), float(caught[best] / hits.sum()), float(caught[best] / named[best])


def estimated(chances: Floats, labels: Ints) -> float:
    """The share of wrong labels by the confident joint."""
    count = chances.shape[1]
    sizes = np.bincount(labels, minlength=count)
    own = np.bincount(labels, chances[np.arange(len(labels)), labels], count)
    limits = np.where(sizes > 0, own / np.maximum(1, sizes), np.inf)
    counted = np.where(chances >= limits, chances, -1.0)
    known = counted.max(1) >= 0
    joint = np.zeros((count, count))
    np.add.at(joint, (labels[known], counted.argmax(1)[known]), 1)
    # rows of the joint are stretched to the labels' own counts (eq. 3)
    joint *= (sizes / np.maximum(1, joint.sum(1)))[:, None]
    return float(1 - joint.trace() / max(1.0, joint.sum()))


def doubts_of(chances: Floats, labels: Ints) -> tuple[Floats, Ints]:
    """The chance of the likeliest other class less that of the label, from -1 to 1; and that class: (rows,) each."""
    rows, others = np.arange(len(labels)), chances.copy()
    others[rows, labels] = -1
    doubts: Floats = others.max(1) - chances[rows, labels]
    return doubts, others.argmax(1)


def changed_labels(chances: Floats, labels: Ints, random: np.random.Generator) -> Ints:
    """Labels of which CHANGED are others; classes that are mixed up are exchanged oftener."""
    count = chances.shape[1]
    places = np.sort(random.permutation(len(labels))[: max(1, round(CHANGED * len(labels)))])
    mixed = np.zeros((count, count))
    np.add.at(mixed, labels, chances)
    np.fill_diagonal(mixed, 0)
    mixed /= np.maximum(mixed.sum(1, keepdims=True), 1e-12)
    edges = mixed.cumsum(1)[labels[places]]
    drawn = (random.random(len(places))[:, None] * edges[:, -1:] >= edges).sum(1)
    other = labels.copy()
    other[places] = np.minimum(drawn, count - 1)
    return other


def bound(doubts: Floats, wrong: Floats) -> float:
    """At most this share of rows has doubts as those of wrong labels: the least of what every limit allows."""
    least = 1.0
    for limit in np.quantile(wrong, 1 - _LIMITS):
        above = share(int((doubts >= limit).sum()), len(doubts), WIDE)
        caught = share(int((wrong >= limit).sum()), len(wrong), WIDE)
        least = min(least, above.high / max(caught.low, 1e-6))
    return least
