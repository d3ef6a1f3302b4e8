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


def told_apart(recipes: Sequence[Recipe]) -> list[str]:
    """The recipes' names; where different ones share a name, with settings that tell them apart."""
    every = [_settings(one) for one in recipes]
    same: dict[str, list[dict[str, str]]] = {}
    for one, settings in zip(recipes, every, strict=True):
        same.setdefault(one.name, []).append(settings)
    telling = {name: _telling(several) for name, several in same.items()}
    said = [
        ", ".join(f"{name} {settings.get(name, 'none')}" for name in telling[one.name])
        for one, settings in zip(recipes, every, strict=True)
    ]
    return [f"{one.name} ({text})" if text else one.name for one, text in zip(recipes, said, strict=True)]


def _settings(recipe: Recipe) -> dict[str, str]:
    """{"pass.setting": value as it is shown}, of a pass that comes again "pass.setting.2"."""
    found: dict[str, str] = {}
    times: dict[str, int] = {}
    for step in recipe.to_json():
        times[step["pass"]] = times.get(step["pass"], 0) + 1
        again = f".{times[step['pass']]}" if times[step["pass"]] > 1 else ""
        for name, value in step.items():
            if name != "pass":
                found[f"{step['pass']}.{name}{again}"] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return found


def _telling(several: Sequence[Mapping[str, str]]) -> list[str]:
    """Settings that tell these apart: one where one does, else each that tells more than those before it."""

    def parts(names: Sequence[str]) -> int:
        return len({tuple(one.get(name) for name in names) for one in several})

    every = list(dict.fromkeys(name for one in several for name in one))
    most = parts(every)
    alone = next((name for name in every if parts([name]) == most), None)
    if alone is not None:
        return [alone] if most > 1 else []
    names: list[str] = []
    for name in every:
        names += [name] if parts([*names, name]) > max(1, parts(names)) else []
    return names


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
