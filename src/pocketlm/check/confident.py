"""Confident learning: which labels the held-out judgement of all other rows speaks against, and how many are wrong.

Northcutt, Jiang and Chuang 2021, arXiv:1911.00068: a row counts for class j where its chance of j is at least the mean
chance of j among rows labelled j (eq. 1 and 2); rows that count for another class than their label are suspects.

A weak judge suspects hard rows as well as wrong ones, so its hit rate is measured: labels are changed on purpose, as
the judge mixes classes up, and it is counted how many of these are suspected. The share of wrong labels is bounded from
above as a part of a mixture is: doubts above any limit are at least those of the wrong labels (Blanchard, Lee and Scott
2010, JMLR 11, theorem 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlm.check.intervals import share
from pocketlm.check.judge import Floats, Ints, Judge

# Labels changed on purpose, how often, and how wide the intervals of the bound are (99 %, as many limits are tried).
CHANGED, ROUNDS, WIDE = 0.1, 2, 2.58
_LIMITS = np.linspace(0.9, 0.1, 17)


@dataclass(frozen=True)
class Noise:
    """suspects: places of rows, the most doubtful first. said: the class each row's chances speak for.

    doubts: chance of the likeliest other class less that of the label, (rows,). estimate: share of wrong labels by the
    confident joint; at_most: its upper bound. found: share of the labels changed on purpose that are suspects; right:
    share of the suspects that were changed, which is less than true where some were wrong before. accuracy: of the
    judge on rows it has not seen.
    """

    suspects: Ints
    said: Ints
    doubts: Floats
    estimate: float
    at_most: float
    found: float
    right: float
    accuracy: float


def find_noise(judge: Judge, labels: Ints, count: int, seed: int) -> Noise:
    """The noise in labels (rows,), numbers below `count`.

    Of the suspects, those are kept whose doubts are from the limit by which changed labels are found best.
    """
    chances = judge.chances(labels, count)
    suspects, said, estimate = suspected(chances, labels)
    doubts = doubts_of(chances, labels)
    random = np.random.default_rng(seed)
    wrong, named, hits = [], [], []
    for _ in range(ROUNDS):
        places, other = changed_labels(chances, labels, random)
        again = judge.chances(other, count)
        own, known = doubts_of(again, other), suspected(again, other)[0]
        wrong.append(own[places])
        named.append(own[known])
        hits.append(np.isin(known, places))
    changed = np.concatenate(wrong)
    limit, found, right = _limit(np.concatenate(named), np.concatenate(hits), len(changed))
    suspects = suspects[doubts[suspects] >= limit]
    order = suspects[np.argsort(-doubts[suspects], kind="stable")]
    accuracy = float((chances.argmax(1) == labels).mean())
    return Noise(order, said, doubts, estimate, bound(doubts, changed), found, right, accuracy)


def _limit(doubts: Floats, hits: NDArray[np.bool_], changed: int) -> tuple[float, float, float]:
    """The doubt from which the F1 of suspects against changed labels is best; what is found, and right, then."""
    if not hits.any():
        return -1.0, 0.0, 0.0
    order = np.argsort(-doubts, kind="stable")
    caught, named = np.cumsum(hits[order]), np.arange(1, len(order) + 1)
    best = int(np.argmax(caught / (named + changed)))
    return float(doubts[order[best]]), float(caught[best] / changed), float(caught[best] / named[best])


def suspected(chances: Floats, labels: Ints) -> tuple[Ints, Ints, float]:
    """Places of the suspects, the class each row speaks for, and the share of wrong labels by the confident joint."""
    count = chances.shape[1]
    sizes = np.bincount(labels, minlength=count)
    own = np.bincount(labels, chances[np.arange(len(labels)), labels], count)
    limits = np.where(sizes > 0, own / np.maximum(1, sizes), np.inf)
    counted = np.where(chances >= limits, chances, -1.0)
    said = np.where(counted.max(1) >= 0, counted.argmax(1), -1)
    suspects = np.flatnonzero((said >= 0) & (said != labels))
    joint = np.zeros((count, count))
    known = said >= 0
    np.add.at(joint, (labels[known], said[known]), 1)
    # rows of the joint are stretched to the labels' own counts (eq. 3)
    joint *= (sizes / np.maximum(1, joint.sum(1)))[:, None]
    wrong = 1 - joint.trace() / max(1.0, joint.sum())
    return suspects, np.where(said >= 0, said, chances.argmax(1)), float(wrong)


def doubts_of(chances: Floats, labels: Ints) -> Floats:
    """The chance of the likeliest other class less that of the label, (rows,), from -1 to 1."""
    rows, others = np.arange(len(labels)), chances.copy()
    others[rows, labels] = -1
    doubts: Floats = others.max(1) - chances[rows, labels]
    return doubts


def changed_labels(chances: Floats, labels: Ints, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Places of the labels that are changed, and all labels then; classes that are mixed up are exchanged oftener."""
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
    return places, other


def bound(doubts: Floats, wrong: Floats) -> float:
    """At most this share of rows has doubts as those of wrong labels: the least of what every limit allows."""
    least = 1.0
    for limit in np.quantile(wrong, 1 - _LIMITS):
        above = share(int((doubts >= limit).sum()), len(doubts), WIDE)
        caught = share(int((wrong >= limit).sum()), len(wrong), WIDE)
        least = min(least, above.high / max(caught.low, 1e-6))
    return least
