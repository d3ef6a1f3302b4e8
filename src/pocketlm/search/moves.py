"""Moves from what is known: to the recipe that the front of quality and bytes is expected to gain most by.

The expected hypervolume improvement (Emmerich et al. 2006, doi:10.1109/TEVC.2005.859463), where the bytes of a recipe
are known before it is trained and its quality is guessed by a Gaussian process, times the chance that it keeps every
limit (Gardner et al. 2014, Bayesian optimization with inequality constraints).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from pocketlm.recipe.recipe import Recipe
from pocketlm.search.family import Candidate
from pocketlm.search.space import Space
from pocketlm.search.surrogate import Floats, Places, Surrogate

# Recipes that a move is the best of. Such a share of them are some steps from one of the front, most of these of any
# bytes; of the others some are rules of thumb of any bytes, and the rest is any recipe.
POOL, NEAR, STEPS, RESIZED, USUAL = 150, 0.6, 2, 0.7, 0.3
# The best of all counts as if so many times the bytes were allowed: it is what is chosen where they are limited.
BEYOND = 4.0
# Beyond such a share of a limit it is no matter by how much it was missed.
FAR = 0.5
NORMAL = NormalDist()


class Known(NamedTuple):
    """A recipe that was tried: its family, its settings in the study, its figure on dev, and its bytes.

    over: by which share of a limit it missed the budget, 0 or below where it keeps it. whole: else it was left after a
    part of its training, and all of its figures are guesses.
    """

    family: str
    params: Mapping[str, Any]
    quality: float
    size: int
    over: float = 0.0
    whole: bool = True


def promising(
    space: Space, known: Sequence[Known], pending: Sequence[Candidate], untried: Callable[[Recipe], bool],
    hopeless: Callable[[Candidate], Any], random: np.random.Generator,
) -> dict[str, Any] | None:  # fmt: skip
    """The settings of the recipe by which the front may gain most; None where nothing is known, or all was tried.

    pending: what is being tried, which is believed to reach what is expected of it (Ginsbourger et al. 2010). hopeless:
    what of a candidate says that it is not to be tried.
    """
    seen = _Seen(space, known)
    if not seen.measured:
        return None
    if pending:
        seen.believe(pending)
    pool = _pool(space, seen.good, random)
    if not pool:
        return None
    gains = seen.gains([one for _, one in pool])
    ranked = (pool[place] for place in np.argsort(-gains, kind="stable"))
    return next((params for params, one in ranked if untried(one.recipe) and not hopeless(one)), None)


class _Seen:
    """What the recipes that were tried tell of others.

    measured: those that were, each with its candidate. good: those of them that keep the limits; all where none does.
    """

    def __init__(self, space: Space, known: Sequence[Known]) -> None:
        made = [(one, candidate) for one in known if (candidate := space.asked(one.params)) is not None]
        self.space, self.where = space, Places(space.knobs, space.decisive)
        self.measured = [(one, candidate) for one, candidate in made if one.whole]
        self.kept = [one for one, _ in self.measured if one.over <= 0]
        self.good = self.kept or [one for one, _ in self.measured]
        self.points = [(float(one.size), one.quality) for one in self.good]
        self._quality = [(self.where.of(candidate), one.quality) for one, candidate in made]
        self._over = [(self.where.of(candidate), max(-FAR, min(FAR, one.over))) for one, candidate in self.measured]

    def believe(self, pending: Sequence[Candidate]) -> None:
        """Take what is being tried for what is expected of it."""
        places = [self.where.of(one) for one in pending]
        quality, over = self._guess(self._quality).of(places)[0], self._guess(self._over).of(places)[0]
        for one, place, figure, missed in zip(pending, places, quality.tolist(), over.tolist(), strict=True):
            if missed <= 0 or not self.kept:
                self.points.append((self.bytes(one), figure))
            self._quality.append((place, figure))
            self._over.append((place, missed))

    def gains(self, asked: Sequence[Candidate]) -> Floats:
        """What the front is expected to gain by each; where nothing keeps the limits, its chance to."""
        places, sizes = [self.where.of(one) for one in asked], [self.bytes(one) for one in asked]
        expected = zip(sizes, *(one.tolist() for one in self._guess(self._quality).of(places)), strict=True)
        most = self.space.budget.max_size or max(*sizes, *(size for size, _ in self.points))
        worst = BEYOND * most, min(one.quality for one, _ in self.measured)
        gains = np.array([gain(self.points, one, worst) if one[0] <= most else 0.0 for one in expected])
        if len(self.kept) == len(self.measured):
            return gains
        over = zip(*self._guess(self._over).of(places), strict=True)
        chances = np.array([NORMAL.cdf(-mean / error) for mean, error in over])
        return chances * gains if self.kept else chances

    def bytes(self, candidate: Candidate) -> float:
        """What it is expected to take, as much more or less as the known one of its kind nearest to it took."""
        alike = [(one, own) for one, own in self.measured if own.family == candidate.family]
        if not alike:
            return candidate.expected_bytes
        place = self.where.of(candidate)
        one, own = min(alike, key=lambda known: math.dist(self.where.of(known[1]), place))
        return candidate.expected_bytes * one.size / own.expected_bytes

    def _guess(self, figures: Sequence[tuple[Sequence[float], float]]) -> Surrogate:
        return Surrogate([place for place, _ in figures], len(self.where.settings), [figure for _, figure in figures])


def gain(
    points: Sequence[tuple[float, float]], expected: tuple[float, float, float], worst: tuple[float, float]
) -> float:
    """The area over quality and the logarithm of bytes that the front is expected to gain by a recipe.

    points: (bytes, quality) of what was measured. expected: bytes of the recipe, its quality and that one's standard
    deviation. worst: (bytes, quality) beyond which nothing counts.
    """
    size, mean, error = expected
    most, least = worst
    steps = [size, *sorted({one for one, _ in points if size < one < most}), most]
    found = 0.0
    for low, high in pairwise(steps):
        if high > low:
            level = max((quality for one, quality in points if one <= low), default=least)
            found += math.log(high / low) * _above(max(level, least), mean, error)
    return found


def _above(level: float, mean: float, error: float) -> float:
    """By how much a figure is expected to be above a level: the expected improvement (Jones et al. 1998)."""
    far = (mean - level) / error
    return error * (far * NORMAL.cdf(far) + NORMAL.pdf(far))


def _pool(space: Space, known: Sequence[Known], random: np.random.Generator) -> list[tuple[dict[str, Any], Candidate]]:
    """Recipes near to the front and anywhere, each with its settings in the study."""
    front = [one for one in known if all(_apart(one, other) for other in known)]
    found = []
    for _ in range(POOL):
        one = front[random.integers(len(front))]
        params: dict[str, Any] | None
        if random.random() < NEAR:
            params = _near(space, one, random)
        elif random.random() < USUAL:
            size = int(space.knobs[one.family]["size"].drawn(random))
            params = space.usual(one.family, size, one.params, _able)
        else:
            params = space.drawn(random)
        made = None if params is None else space.asked(params)
        if params is not None and made is not None:
            found.append((params, made))
    return found


def _able(_: Candidate) -> None:
    """Nothing is hopeless yet: what that takes to find out is spent on the most promising alone."""


def _near(space: Space, one: Known, random: np.random.Generator) -> dict[str, Any]:
    """Some steps from a recipe, and mostly of any bytes."""
    params = dict(one.params)
    for _ in range(random.integers(STEPS + 1)):
        params = space.stepped(one.family, params, random)
    size = f"{one.family}/size"
    if size in params and random.random() < RESIZED:
        params[size] = space.knobs[one.family]["size"].drawn(random)
    return params


def _apart(one: Known, other: Known) -> bool:
    """Whether the other does not dominate it."""
    no_worse = other.quality >= one.quality and other.size <= one.size
    return not no_worse or (other.quality, other.size) == (one.quality, one.size)
