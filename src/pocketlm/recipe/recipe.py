"""A recipe: an ordered tuple of passes with a name, as data a person would write by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.compress.passes import Pass, pass_from_json, pass_to_json
from pocketlm.errors import RecipeError


@dataclass(frozen=True)
class Recipe:
    """Passes in the order they run. name: for people. family: what kind of student it makes."""

    name: str
    steps: tuple[Pass, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise RecipeError(f"recipe {self.name}: has no steps")

    @property
    def family(self) -> str:
        """The name of the pass that builds the student."""
        return self.steps[0].name

    def to_json(self) -> list[dict[str, Any]]:
        """The steps as plain data."""
        return [pass_to_json(step) for step in self.steps]

    @classmethod
    def from_json(cls, name: str, steps: Sequence[Mapping[str, Any]]) -> Recipe:
        """The recipe that `to_json` described. Raises RecipeError for unknown passes or settings."""
        return cls(name, tuple(pass_from_json(step) for step in steps))
