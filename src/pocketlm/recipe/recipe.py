"""A recipe: an ordered tuple of passes with a name, as data a person would write by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

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

    @property
    def has_graph(self) -> bool:
        """Whether its student is a graph, which ONNX Runtime runs; n-grams and static embeddings need numpy alone."""
        return self.family.startswith("small-")

    def to_json(self) -> list[dict[str, Any]]:
        """The steps as plain data."""
        return [pass_to_json(step) for step in self.steps]

    @classmethod
    def from_json(cls, steps: Sequence[Mapping[str, Any]], table: Table, name: str = "recipe") -> Recipe:
        """The recipe that `to_json` described, its passes from `table`.

        Raises RecipeError for unknown passes or settings.
        """
        return cls(tuple(pass_from_json(step, table) for step in steps), name)


def recipe_in(path: str | Path, table: Table) -> Recipe:
    """The recipe in a YAML file: a list of passes of `table`, or a mapping with the key `steps`. Raises RecipeError."""
    try:
        value = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path}: cannot be read: {' '.join(str(error).split())}") from None
    name = str(path)
    if isinstance(value, Mapping):
        unknown = set(value) - {"steps", "name"}
        if unknown or "steps" not in value:
            raise RecipeError(f"recipe {path}: holds the keys steps and name; got {', '.join(map(str, value))}")
        name, value = value.get("name", name), value["steps"]
    if not isinstance(value, list):
        raise RecipeError(
            f"recipe {path}: is a list of passes such as '- pass: {next(iter(table))}'; got {type(value).__name__}"
        )
    return Recipe.from_json(value, table, name)
