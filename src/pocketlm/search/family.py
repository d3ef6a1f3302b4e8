"""A kind of student: the recipes that rules of thumb give it, what of them a search may vary, and what they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pocketlm.budget import Budget
from pocketlm.knobs import Knob, is_quiet, knobs_of
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.facts import Facts

# Bytes of a file that are no weights: manifest, card, zip frames; of a graph its nodes too.
FRAME, GRAPH = 4_000, 25_000
# Bytes of a piece in the tokenizer's own file.
A_PIECE = 10

Steps = tuple[Any, ...]


@dataclass(frozen=True)
class Candidate:
    """A recipe with the bytes it is expected to take.

    ladder: a name that students of one kind and several sizes share, of which only the largest that is fast enough is
    worth training; "" for one that stands alone. family, size, values: what a search asked for, see `Space`.
    """

    recipe: Recipe
    expected_bytes: int
    ladder: str = ""
    family: str = ""
    size: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """A recipe by a rule of thumb, before it is filled.

    size: bytes to fill, None for all that are of use. enough: bytes that hold all there is of it with settings that
    need fewer; None where none do.
    """

    steps: Steps
    size: int | None
    ladder: str = ""
    enough: int | None = None


@dataclass(frozen=True)
class Filled:
    """Steps whose tables hold as many rows as fit, the bytes expected of them, and a name for people."""

    steps: Steps
    expected_bytes: int
    name: str


@dataclass(frozen=True)
class Family:
    """A kind of student.

    starts: by rules of thumb, cheap ones first, none where the budget has no room. filled: the same steps filled to so
    many bytes (None: all of use), or None where too few. knobs: of these facts, what settings may be in place of what
    their passes declare; None for those that stay as they are. order: of families, cheap to train ones first. passes:
    kinds of passes that its recipes have. without: settings of these that mean nothing here, whatever they are set to.
    chosen: those that `filled` chooses and cannot be told; where one is set the family is not tried. brimful: where so
    few bytes as were asked for hold none, it takes as many as the budget allows.
    """

    name: str
    starts: Callable[[Facts, Budget], list[Start]]
    filled: Callable[[Steps, Facts, int | None], Filled | None]
    knobs: Callable[[Facts], Mapping[str, Knob | None]]
    order: int
    passes: tuple[Any, ...]
    without: frozenset[str] = frozenset()
    chosen: frozenset[str] = frozenset()
    brimful: bool = True

    @property
    def has_graph(self) -> bool:
        """Whether its students are graphs; see `Recipe.has_graph`."""
        return str(self.passes[0].name).startswith("small-")

    def free(self, steps: Steps, facts: Facts) -> dict[str, Knob]:
        """{"pass.setting": what it may be} of these steps, quiet ones included."""
        own = self.knobs(facts)
        declared = {f"{step.name}.{name}": allowed for step in steps for name, allowed in knobs_of(step).items()}
        found = {name: own.get(name, allowed) for name, allowed in declared.items()}
        return {name: allowed for name, allowed in found.items() if allowed is not None}


def unheard(facts: Facts) -> dict[str, Knob | None]:
    """Settings of a training that say nothing: of texts or a teacher that are not heard, of blends of no texts."""
    found: dict[str, Knob | None] = {} if facts.taught and not facts.vectors else {"distill.unlabelled": None}
    found |= {} if facts.taught else {"distill.logits": None, "distill.hidden": None}
    found |= {} if facts.single or facts.tagging else {"distill.logits": None}
    return found | ({"distill.mixup": None} if facts.vectors or facts.asking else {})


def quiet_in(steps: Steps, name: str) -> bool:
    """Whether the setting "pass.setting" varies only where someone lets it."""
    kind, _, setting = name.partition(".")
    return any(is_quiet(step, setting) for step in steps if step.name == kind)


def value_in(steps: Steps, name: str) -> Any:
    """The setting "pass.setting" of the first pass of that name."""
    kind, _, setting = name.partition(".")
    return next(getattr(step, setting) for step in steps if step.name == kind)


def with_values(steps: Steps, values: Mapping[str, Any]) -> Steps:
    """The steps with these settings, each in every pass of its name. Raises ValueError as the passes do."""
    own: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        kind, _, setting = name.partition(".")
        own.setdefault(kind, {})[setting] = value
    return tuple(replace(step, **own[step.name]) if step.name in own else step for step in steps)
