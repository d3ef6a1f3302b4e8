"""Moves from what is known to be good: to half its bytes, where a front of few recipes has most to gain, and beside it.

A step beside the best is as in an evolution of one (Beyer and Schwefel 2002, doi:10.1023/A:1015059928466): where few
recipes are tried it finds more than what a model of all settings asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pocketlm.recipe.recipe import Recipe
from pocketlm.search.family import Candidate
from pocketlm.search.space import Space

# Steps that are drawn before it is said that there is none.
DRAWN = 40


class Known(NamedTuple):
    """A recipe that was measured: its family, its settings in the study, its figure on dev, and its bytes."""

    family: str
    params: Mapping[str, Any]
    quality: float
    size: int


def halved(
    space: Space, known: Sequence[Known], untried: Callable[[Recipe], bool], hopeless: Callable[[Candidate], Any]
) -> dict[str, Any] | None:
    """The settings of a known recipe's rule of thumb for half its bytes, where most may be gained; None where nothing.

    A student of half the bytes is about as good at best: the front may gain as much as that is above the best that was
    found in at most so many bytes. hopeless: what of a candidate says that it is not to be tried.
    """

    def gain(one: Known) -> float:
        return one.quality - max((other.quality for other in known if other.size <= one.size // 2), default=0.0)

    for one in sorted(known, key=gain, reverse=True):
        params = space.usual(one.family, one.size // 2, one.params, hopeless) if gain(one) > 0 else None
        made = None if params is None else space.asked(params)
        if made is not None and untried(made.recipe):
            return params
    return None


def beside(
    space: Space,
    known: Sequence[Known],
    untried: Callable[[Recipe], bool],
    hopeless: Callable[[Candidate], Any],
    random: np.random.Generator,
) -> dict[str, Any] | None:
    """The settings of a recipe beside the best one, or as often beside another of the front; None where nothing is.

    The front is of quality and bytes. hopeless: what of a candidate says that it is not to be tried.
    """
    front = [one for one in known if all(_apart(one, other) for other in known)]
    if not front:
        return None
    best = max(front, key=lambda one: one.quality)
    for _ in range(DRAWN):
        one = best if random.random() < 0.5 else front[random.integers(len(front))]
        params = space.stepped(one.family, one.params, random)
        made = space.asked(params)
        if made is not None and untried(made.recipe) and not hopeless(made):
            return params
    return None


def _apart(one: Known, other: Known) -> bool:
    """Whether the other does not dominate it."""
    no_worse = other.quality >= one.quality and other.size <= one.size
    return not no_worse or (other.quality, other.size) == (one.quality, one.size)
