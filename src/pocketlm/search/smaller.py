"""What is good, at half its bytes: there a front of few recipes has most to gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pocketlm.recipe.recipe import Recipe
from pocketlm.search.space import Space


class Known(NamedTuple):
    """A recipe that was measured: its family, its settings in the study, its figure on dev, and its bytes."""

    family: str
    params: Mapping[str, Any]
    quality: float
    size: int


def halved(
    space: Space, known: Sequence[Known], untried: Callable[[Recipe], bool], slow: Callable[[Recipe], str]
) -> dict[str, Any] | None:
    """The settings of a known recipe's rule of thumb for half its bytes, where most may be gained; None where nothing.

    A student of half the bytes is about as good at best: the front may gain as much as that is above the best that was
    found in at most so many bytes. slow: why a recipe takes too long, or "".
    """

    def gain(one: Known) -> float:
        return one.quality - max((other.quality for other in known if other.size <= one.size // 2), default=0.0)

    for one in sorted(known, key=gain, reverse=True):
        params = space.usual(one.family, one.size // 2, one.params, slow) if gain(one) > 0 else None
        made = None if params is None else space.asked(params)
        if made is not None and untried(made.recipe):
            return params
    return None
