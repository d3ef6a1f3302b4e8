"""The learning curve on rows held out, and what more labels would bring by a power law fitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.labelling.features import Floats
from pocketlm.labelling.learner import learn
from pocketlm.tasks.intervals import share
from pocketlm.tasks.scores import Figure

Doubles = NDArray[np.float64]

# Rows whose worth is projected, and held-out rows and points below which nothing is.
AHEAD, FEWEST_HELD, FEWEST_POINTS = 50, 20, 4
# The whole interval of the projected gain is below this, on so many held-out rows: labels have stopped helping.
NOTHING, ENOUGH_HELD = 0.01, 50
MOST_POINTS = 10
RESAMPLES = 200


@dataclass(frozen=True)
class Curve:
    """Models of the first `sizes` labelled rows. right: (sizes, held-out rows), 1 where a model is right of a row."""

    sizes: tuple[int, ...]
    right: Doubles
    seed: int = 0

    @property
    def held(self) -> int:
        """Rows that it is measured on."""
        return int(self.right.shape[1])

    @cached_property
    def figures(self) -> list[Figure]:
        """Accuracy of each model with its 95 % interval."""
        return [share_of(int(row.sum()), len(row)) for row in self.right]

    @cached_property
    def gain(self) -> Figure | None:
        """What AHEAD more rows would add to the accuracy, or None where there is too little to say.

        Fitted at once to all points; its interval is of the held-out rows drawn anew, the same ones at all points.
        """
        if self.held < FEWEST_HELD or len(self.sizes) < FEWEST_POINTS:
            return None
        weights = np.random.default_rng(self.seed).multinomial(self.held, [1 / self.held] * self.held, RESAMPLES)
        errors = 1 - np.concatenate((np.full((1, self.held), 1.0), weights)) @ self.right.T / self.held
        now = self.sizes[-1]
        before, after = power_law(self.sizes, errors, (now, now + AHEAD))
        low, high = np.quantile((before - after)[1:], [0.025, 0.975])
        return Figure(float(before[0] - after[0]), float(low), float(high))

    @property
    def flat(self) -> bool:
        """Whether labels have stopped helping, as far as can be told."""
        return self.gain is not None and self.held >= ENOUGH_HELD and self.gain.high < NOTHING

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        points = [
            {"rows": size, "accuracy": one.value, "low": one.low, "high": one.high}
            for size, one in zip(self.sizes, self.figures, strict=True)
        ]
        gain = None if self.gain is None else vars(self.gain)
        return {"held_out": self.held, "points": points, "ahead": AHEAD, "gain": gain, "flat": self.flat}


def learning_curve(
    rows: Floats, gold: Sequence[int], held: Floats, held_gold: Sequence[int], seed: int = 0
) -> Curve | None:
    """The curve of labelled rows in the order they were labelled, on held-out rows; None without either.

    A held-out row of a class that no labelled row has is a mistake of every model, as it would be in use.
    """
    sizes = sizes_up_to(len(gold))
    if not sizes or not len(held_gold):
        return None
    truth, right = np.asarray(held_gold), []
    for size in sizes:
        known, places = np.unique(np.asarray(gold[:size]), return_inverse=True)
        model = learn(rows[:size], places.tolist(), len(known))
        right.append(known[model.probabilities(held).argmax(axis=1)] == truth)
    return Curve(sizes, np.array(right, np.float64), seed)


def sizes_up_to(most: int) -> tuple[int, ...]:
    """At most MOST_POINTS numbers of rows up to `most`, each some 1.4 times the one before."""
    sizes: list[int] = []
    now = float(most)
    while round(now) >= 4 and len(sizes) < MOST_POINTS:
        sizes.append(round(now))
        now /= 1.4
    return tuple(sorted(set(sizes)))


def share_of(right: int, n: int) -> Figure:
    """The share right / n with its interval, which holds for few rows and for all right, too."""
    found = share(right, n)
    return Figure(found.value, found.low, found.high)


def power_law(sizes: Sequence[int], errors: Doubles, at: Sequence[int]) -> Doubles:
    """Errors at other sizes by floor + a · size^-b, a ≥ 0, the best of a grid by least squares: (at, curves).

    errors: (curves, sizes). Larger sizes weigh more: their errors vary less, and they are nearer to what is asked.
    Hestness et al. 2017, arXiv:1712.00409.
    """
    n, weight = np.asarray(sizes, np.float64), np.sqrt(np.asarray(sizes, np.float64))
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(at), len(errors)))
    for power in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5):
        shape = n**-power
        for part in (0.0, 0.25, 0.5, 0.75, 0.9):
            floor = part * errors.min(axis=1)
            scale = np.maximum(((errors - floor[:, None]) * shape * weight).sum(1) / (shape**2 * weight).sum(), 0)
            lost = (weight * (errors - floor[:, None] - scale[:, None] * shape) ** 2).sum(1)
            better = lost < best
            best[better] = lost[better]
            for place, size in enumerate(at):
                found[place, better] = (floor + scale * size**-power)[better]
    return found
