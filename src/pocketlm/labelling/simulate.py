"""Strategies replayed on rows whose labels are known: what each would have reached with so many of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError
from pocketlm.labelling.features import Features, Floats
from pocketlm.labelling.learner import Learner, learn
from pocketlm.labelling.rows import alike
from pocketlm.labelling.strategies import STRATEGIES, Standing

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

HELD_OUT = 0.3


@dataclass(frozen=True)
class Replay:
    """How strategies are compared. most: labelled rows at the end. batch: rows between two fits. seeds: how many."""

    strategies: tuple[str, ...]
    most: int = 200
    batch: int = 10
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.batch < 1 or self.most < self.batch or self.seeds < 1:
            raise DataError("a replay has at least 1 seed and 1 row a batch, and not more in a batch than in all")


def replay(
    texts: Sequence[str], labels: Sequence[str], known: Features, how: Replay, said: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """{"sizes", "held_out", "curves": {strategy: {"accuracy": (seeds, sizes), "gain": over random, with intervals}}}.

    Of every seed HELD_OUT of the rows are held out at random, the same ones for every strategy, and only judge.
    Intervals are over seeds and held-out rows together: both are drawn anew.
    """
    names, gold = np.unique(np.asarray(labels), return_inverse=True)
    first, rows = alike(texts), known.both
    held_count = round(HELD_OUT * len(texts))
    right: dict[str, list[Doubles]] = {name: [] for name in dict.fromkeys((*how.strategies, "random"))}
    for seed in range(how.seeds):
        order = np.random.default_rng(seed).permutation(len(texts))
        held, pool = order[:held_count], np.sort(order[held_count:])
        # one of each that say almost the same, and none that says what a held-out row says
        _, one_each = np.unique(first[pool], return_index=True)
        pool = pool[one_each]
        pool = pool[~np.isin(first[pool], first[held])]
        if len(pool) < how.most:
            raise DataError(f"{len(pool)} different rows are too few to replay {how.most} labels")
        for name, own in right.items():
            own.append(_run(name, rows, known, gold, (pool, held), how, seed))
            if said is not None:
                said(f"{name}, seed {seed + 1}: {100 * own[-1].mean(axis=1)[-1]:.1f} % with {how.most} rows")
    sizes = list(range(how.batch, how.most + 1, how.batch))
    stacked = {name: np.stack(own) for name, own in right.items()}
    plain = stacked["random"]
    curves = {
        name: {"accuracy": own.mean(axis=2).round(4).tolist(), **_over(own, plain)} for name, own in stacked.items()
    }
    return {"rows": len(texts), "classes": len(names), "held_out": held_count, "sizes": sizes, "curves": curves}


def _run(
    name: str, rows: Floats, known: Features, gold: Ints, places: tuple[Ints, Ints], how: Replay, seed: int
) -> Doubles:
    """(sizes, held-out rows): where the models after each batch are right."""
    pool, held = places
    random = np.random.default_rng((seed, 1))
    labelled, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    model: Learner | None = None
    right = []
    while len(labelled) + how.batch <= how.most:
        free = pool[~np.isin(pool, labelled)]
        doubts = model.probabilities(rows[free]) if model is not None and len(counts) > 1 else None
        now = Standing(known.dense, free, labelled, counts, doubts, random)
        labelled = np.concatenate((labelled, STRATEGIES[name](now, how.batch)))
        seen, own = np.unique(gold[labelled], return_inverse=True)
        counts = np.bincount(own)
        model = learn(rows[labelled], own.tolist(), len(seen))
        right.append(seen[model.probabilities(rows[held]).argmax(axis=1)] == gold[held])
    return np.array(right, np.float64)


def _over(own: Doubles, plain: Doubles) -> dict[str, Any]:
    """The mean gain over random at each size, and over the whole curve, with 95 % intervals."""
    difference = own - plain  # (seeds, sizes, held-out rows)
    random, seeds, held = np.random.default_rng(0), len(own), own.shape[2]
    drawn = np.stack([
        np.mean([
            difference[seed][:, random.integers(held, size=held)].mean(axis=1)
            for seed in random.integers(seeds, size=seeds)
        ], axis=0)
        for _ in range(300)
    ])  # fmt: skip
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    whole = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    gains = difference.mean(axis=(0, 2))
    return {
        "gain": [
            {"value": round(float(value), 4), "low": round(float(a), 4), "high": round(float(b), 4)}
            for value, a, b in zip(gains, low, high, strict=True)
        ],
        "mean_gain": {
            "value": round(float(gains.mean()), 4),
            "low": round(float(whole[0]), 4),
            "high": round(float(whole[1]), 4),
        },
    }
