"""Named entries in one explicit table per kind, loaded when asked for, open to other packages.

A table maps a name to "module:attribute". Third parties add entries through the packaging entry
point group `pocketlm.<kind>`; the built-in ones are found in the same way, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pocketlm.errors import RecipeError, UnknownNameError


def did_you_mean(name: object, allowed: list[str]) -> str:
    """The words " Did you mean 'x'?" for the nearest allowed name, or nothing; `name` is as someone wrote it."""
    near = get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


class Table(Mapping[str, Any]):
    """A read-only mapping from a name to what "module:attribute" holds, imported on first use."""

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._built_in = dict(entries)

    @cached_property
    def _targets(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=f"pocketlm.{self.kind}")}
        return {**found, **self._built_in}

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str) or name not in self._targets:
            names = sorted(self._targets)
            raise UnknownNameError(
                f"unknown {self.kind} {name!r}; there is {', '.join(names)}.{did_you_mean(name, names)}"
            )
        module, _, attribute = self._targets[name].partition(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)


def pass_to_json(step: Any) -> dict[str, Any]:
    """{"pass": name, setting: value, …} of a pass."""
    return {"pass": step.name, **asdict(step)}


def pass_from_json(value: Mapping[str, Any], table: Table) -> Any:
    """The pass of `table` described by `value`. Raises RecipeError for unknown settings, with the nearest name."""
    if not isinstance(value, Mapping) or "pass" not in value:
        shown = ", ".join(map(str, value)) if isinstance(value, Mapping) else repr(value)
        raise RecipeError(f"a recipe step needs the key 'pass'; got {shown or 'nothing'}")
    kind = table[value["pass"]]
    allowed = [one.name for one in fields(kind)]
    # YAML and JSON have lists where a pass, which can be a key, has tuples
    settings = {key: tuple(one) if isinstance(one, list) else one for key, one in value.items() if key != "pass"}
    for key in settings:
        if key not in allowed:
            raise RecipeError(
                f"pass {value['pass']}: unknown setting {key!r}; there is {', '.join(allowed)}."
                f"{did_you_mean(key, allowed)}"
            )
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"pass {value['pass']}: {error}") from None
