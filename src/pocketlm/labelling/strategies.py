"""Which rows a person labels next: one function a strategy, one table.

A strategy sees the standing of the work and returns rows, the one to ask first in front. Where nothing has been learnt
yet, those that need a model's doubts ask for typical rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pocketlm.labelling.features import Floats

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

# Labelled rows a class, on average, before a model's doubts say as much as being typical.
ENOUGH_A_CLASS = 40
# Doubtful rows among which different ones are chosen, for each that is asked.
WIDER = 4
NEIGHBOURS, MOST_CLUSTERS, ROUNDS = 20, 256, 8


@dataclass(frozen=True)
class Standing:
    """What a strategy may know. dense: (rows, dimensions) of unit length, all rows. free: rows that may be asked.

    labelled: rows that have a label. counts: (classes,) labelled rows of each. doubts: (free, classes) probabilities by
    the model of the labels so far, or None where there is none.
    """

    dense: Floats
    free: Ints
    labelled: Ints
    counts: Ints
    doubts: Doubles | None
    random: np.random.Generator


Strategy = Callable[[Standing, int], Ints]


def at_random(now: Standing, count: int) -> Ints:
    """Rows drawn at random: what the others must beat."""
    return now.random.permutation(now.free)[:count]


def farthest(now: Standing, count: int) -> Ints:
    """Each row the one farthest from all that are labelled or chosen. Sener and Savarese 2018, arXiv:1708.00489."""
    points = now.dense[now.free]
    chosen: list[int] = []
    near = np.full(len(points), -1.0, np.float32)
    if len(now.labelled):
        near = (points @ now.dense[now.labelled].T).max(axis=1)
    for _ in range(min(count, len(points))):
        first = not chosen and not len(now.labelled)
        place = int(now.random.integers(len(points))) if first else int(near.argmin())
        chosen.append(place)
        near = np.maximum(near, points @ points[place])
        near[chosen] = np.inf
    return now.free[chosen]


def typical(now: Standing, count: int) -> Ints:
    """The most typical row of each large cluster without a label. TypiClust: Hacohen et al. 2022, arXiv:2202.02794."""
    every = np.concatenate((now.labelled, now.free))
    points = now.dense[every]
    cluster = clusters(points, min(len(now.labelled) + count, MOST_CLUSTERS, len(every)), now.random)
    size, free = np.bincount(cluster), np.arange(len(every)) >= len(now.labelled)
    seen = np.bincount(cluster[~free], minlength=len(size)).astype(np.float64)
    left = np.bincount(cluster[free], minlength=len(size))
    chosen: list[int] = []
    while len(chosen) < min(count, len(now.free)):
        # the largest of those with the fewest labels; a cluster without free rows has no turn
        own = min(np.flatnonzero(left), key=lambda one: (seen[one], -size[one]))
        members = np.flatnonzero(cluster == own)
        order = members[np.argsort(-_typicality(points[members]), kind="stable")]
        chosen.append(int(next(place for place in order if free[place])))
        free[chosen[-1]] = False
        seen[own] += 1
        left[own] -= 1
    return every[chosen]


def margin(now: Standing, count: int) -> Ints:
    """Rows whose two likeliest classes are nearly as likely. Scheffer et al. 2001, "Active hidden Markov models"."""
    if now.doubts is None:
        return typical(now, count)
    return now.free[np.argsort(margins(now.doubts), kind="stable")[:count]]


def badge(now: Standing, count: int) -> Ints:
    """k-means++ over the gradients that rows would bring: doubtful and different. Ash et al. 2020, arXiv:1906.03671."""
    if now.doubts is None:
        return typical(now, count)
    errors = now.doubts.copy()
    errors[np.arange(len(errors)), errors.argmax(axis=1)] -= 1
    points = now.dense[now.free]
    long = (errors**2).sum(axis=1)  # of a gradient, errors ⊗ point, as points have length 1
    chosen = [int(long.argmax())]
    far = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        last = chosen[-1]
        inner = (errors @ errors[last]) * (points @ points[last])
        far = np.minimum(far, np.maximum(long + long[last] - 2 * inner, 0))
        far[chosen] = 0
        total = far.sum()
        if total <= 0:
            break
        chosen.append(int(now.random.choice(len(points), p=far / total)))
    return now.free[chosen]


def spread_margin(now: Standing, count: int) -> Ints:
    """The most doubtful row of each cluster of doubtful rows. Citovsky et al. 2021, arXiv:2107.14263.

    Rows that look like a class with few labels come first: their margins count less.
    """
    if now.doubts is None:
        return typical(now, count)
    rarely = (1 + now.counts) / (1 + now.counts).max()
    doubt = margins(now.doubts) * np.sqrt(rarely)[now.doubts.argmax(axis=1)]
    wide = np.argsort(doubt, kind="stable")[: WIDER * count]
    cluster = clusters(now.dense[now.free[wide]], min(count, len(wide)), now.random)
    _, first = np.unique(cluster, return_index=True)  # `wide` begins with the most doubtful
    chosen = wide[np.sort(first)]
    more = wide[~np.isin(wide, chosen)][: count - len(chosen)]  # clusters that came out empty
    return now.free[np.concatenate((chosen, more))]


def mixed(now: Standing, count: int) -> Ints:
    """`typical` until there are many labels a class, then half of the rows by it and half by `spread-margin`."""
    if now.doubts is None or len(now.labelled) < ENOUGH_A_CLASS * len(now.counts):
        return typical(now, count)
    usual = typical(now, count - count // 2)
    left = ~np.isin(now.free, usual)
    rest = replace(now, free=now.free[left], doubts=now.doubts[left])
    return np.concatenate((usual, spread_margin(rest, count // 2)))


STRATEGIES: dict[str, Strategy] = {
    "mixed": mixed,
    "typical": typical,
    "farthest": farthest,
    "margin": margin,
    "spread-margin": spread_margin,
    "badge": badge,
    "random": at_random,
}


def margins(doubts: Doubles) -> Doubles:
    """The likeliest class's probability less the next one's, of each row."""
    if doubts.shape[1] < 2:
        return np.ones(len(doubts))
    top = np.partition(doubts, -2, axis=1)
    return top[:, -1] - top[:, -2]


def clusters(points: Floats, count: int, random: np.random.Generator) -> Ints:
    """The cluster of each point of unit length, by spherical k-means from k-means++ seeds: (points,).

    Arthur and Vassilvitskii 2007; Dhillon and Modha 2001.
    """
    centres = points[_seeds(points, count, random)]
    for _ in range(ROUNDS):
        cluster = (points @ centres.T).argmax(axis=1)
        order = np.argsort(cluster, kind="stable")
        there, first = np.unique(cluster[order], return_index=True)
        sums = np.add.reduceat(points[order], first)
        centres[there] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    nearest: Ints = (points @ centres.T).argmax(axis=1)
    return nearest


def _seeds(points: Floats, count: int, random: np.random.Generator) -> list[int]:
    chosen = [int(random.integers(len(points)))]
    far = np.full(len(points), np.inf)
    while len(chosen) < count:
        far = np.minimum(far, np.maximum(1 - points @ points[chosen[-1]], 0))
        far[chosen[-1]] = 0
        total = far.sum()
        drawn = random.choice(len(points), p=far / total) if total > 0 else random.integers(len(points))
        chosen.append(int(drawn))
    return chosen


def _typicality(points: Floats) -> Doubles:
    """One over the mean distance to the nearest others, of each point."""
    if len(points) == 1:
        return np.ones(1)
    others = points[:2000]  # a cluster of more is as well known by some
    distance = np.sqrt(np.maximum(2 - 2 * (points @ others.T), 0))
    near = min(NEIGHBOURS + 1, distance.shape[1])  # itself, at no distance, is one of them
    typicality: Doubles = near / np.maximum(np.partition(distance, near - 1, axis=1)[:, :near].sum(axis=1), 1e-9)
    return typicality
