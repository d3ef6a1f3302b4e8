"""A recipe: an ordered tuple of passes with a name, as data a person would write by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.errors import RecipeError
from pocketlm.tables import Table, pass_from_json, pass_to_json


@dataclass(frozen=True)
class Recipe:
    """Passes in the order they run. name: for people."""

    steps: Sequence[Any]
    name: str = "recipe"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not self.steps:
            raise RecipeError(f"{self.name}: has no steps")

    @property
    def family(self) -> str:
        """The name of the first pass: of a student's recipe, the one that builds it."""
        return str(self.steps[0].name)

    def to_json(self) -> list[dict[str, Any]]:
        """The steps as plain data."""
        return [pass_to_json(step) for step in self.steps]

    @classmethod
    def from_json(cls, steps: Sequence[Mapping[str, Any]], table: Table, name: str = "recipe") -> Recipe:
        """The recipe that `to_json` described, its passes from `table`.

        Raises RecipeError for unknown passes or settings.
        """
        return cls(tuple(pass_from_json(step, table) for step in steps), name)
