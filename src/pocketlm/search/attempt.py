"""One recipe tried: measured, left after a part of its training, or failed; here, or wherever a crew tries it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from pocketlm.errors import NoEffect, PocketLMError, UserError
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.trial import Trial
from pocketlm.train.loop import Pace, Paused

# A student is looked at after this share of its first training; of those that take at most so many times its bytes,
# it goes on if it is among the best part. Fewer than so many tell nothing.
RUNG, ALIKE, PART, FEWEST = 1 / 3, 1.1, 1 / 2, 3

# Trains, exports and measures a recipe at a pace, or remembers that it did.
Run = Callable[[Recipe, Pace | None], Trial]


@dataclass(frozen=True)
class Gate:
    """Whether a student goes on after a part of its training.

    size: bytes that are expected of it. seen: (bytes, figure on dev) of others after as much of theirs. always: it goes
    on whatever it reaches.
    """

    size: int
    seen: tuple[tuple[int, float], ...] = ()
    always: bool = False

    def promising(self, figure: float) -> bool:
        """Whether it is worth the rest of its training."""
        rivals = [other for own, other in self.seen if own <= ALIKE * self.size]
        better = sum(other > figure for other in rivals)
        return self.always or len(rivals) < FEWEST or better < PART * len(rivals)


@dataclass(frozen=True)
class Attempt:
    """What became of a recipe. rung: the figure on dev after a part of its training, None where it was not taken.

    refused: it failed because of what the recipe says.
    """

    status: Literal["measured", "paused", "failed"]
    why: str
    trial: Trial | None = None
    rung: float | None = None
    refused: bool = False


def attempt(run: Run, recipe: Recipe, gate: Gate | None) -> Attempt:
    """Try a recipe. gate: None for one that was tried before, or is tried whatever it reaches."""
    reached: list[float] = []

    def pace(epoch: int, epochs: int, figure: float) -> bool:
        if gate is None or epoch != math.ceil(RUNG * epochs):
            return True
        reached.append(figure)
        return gate.promising(figure)

    rung = None
    try:
        trial = run(recipe, None if gate is None else pace)
    except Paused as paused:
        rung = reached[-1] if reached else paused.figure
        why = f"left after a third of its training, at {paused.figure:.4f} on dev: others of its size are better"
        return Attempt("paused", why, rung=rung)
    except PocketLMError as error:
        told = reached[-1] if reached else None
        return Attempt("failed", str(error), rung=told, refused=isinstance(error, UserError | NoEffect))
    if gate is not None and not reached:  # it was trained before, and looked at as any other
        looks = trial.details.get("looks", ())
        reached += [figure for epoch, epochs, figure in looks if epoch == math.ceil(RUNG * epochs)]
    return Attempt("measured", "", trial, reached[-1] if reached else None)


class Crew(Protocol):
    """Whoever tries recipes. width: how many at once."""

    @property
    def width(self) -> int:
        """How many recipes are tried at once."""
        ...

    @property
    def at_once(self) -> bool:
        """Whether a recipe is being tried from when it is begun, or only when its end is waited for."""
        ...

    def begin(self, recipe: Recipe, gate: Gate | None) -> Callable[[], Attempt]:
        """Begin to try a recipe; what comes back waits for the end."""
        ...

    def remembers(self, recipe: Recipe) -> bool:
        """Whether a recipe was measured before, so that trying it takes next to no time."""
        ...


@dataclass(frozen=True)
class Here:
    """This process, which tries one recipe after the other.

    known: whether a recipe was measured before. width: recipes that are asked for ahead, as others do.
    """

    run: Run
    known: Callable[[Recipe], bool]
    width: int = 1
    at_once: bool = False

    def begin(self, recipe: Recipe, gate: Gate | None) -> Callable[[], Attempt]:
        """The recipe is tried when its end is waited for."""
        return lambda: attempt(self.run, recipe, gate)

    def remembers(self, recipe: Recipe) -> bool:
        """Whether a recipe was measured before."""
        return self.known(recipe)
