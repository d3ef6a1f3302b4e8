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
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pocketlm.errors import RecipeError, UnknownNameError


def did_you_mean(name: object, allowed: list[str], alike: float = 0.5) -> str:
    """The words " Did you mean 'x'?" for the nearest allowed name, or nothing; `name` is as someone wrote it."""
    near = get_close_matches(str(name), allowed, n=1, cutoff=alike)
    return f" Did you mean {near[0]!r}?" if near else ""


class Table(Mapping[str, Any]):
    """A read-only mapping from a name to what "module:attribute" holds, imported on first use.

    called: what messages call an entry, where that is not its kind.
    """

    def __init__(self, kind: str, entries: Mapping[str, str], called: str = "") -> None:
        self.kind, self.called = kind, called or kind
        self._built_in = dict(entries)

    @cached_property
    def _targets(self) -> dict[str, str]:
        found = {point.name: point.value for point in entry_points(group=f"pocketlm.{self.kind}")}
        return {**found, **self._built_in}

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str) or name not in self._targets:
            names = sorted(self._targets)
            raise UnknownNameError(
                f"unknown {self.called} {name!r}; there is {', '.join(names)}.{did_you_mean(name, names)}"
            )
        module, _, attribute = self._targets[name].partition(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)


def unfit(value: Any, hint: Any) -> str | None:
    """What a setting of this type is where the value is no such thing, else None. Types that are not plain take all."""
    if get_origin(hint) is Literal:
        return None if value in get_args(hint) else f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) in (Union, UnionType):
        found = [unfit(value, one) for one in get_args(hint)]
        return None if None in found else " or ".join(dict.fromkeys(one for one in found if one))
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        each = get_args(hint)[0]
        # what is no list is for the pass to judge: some take a lone value, too
        several = value if isinstance(value, tuple | list) else ()
        return next((f"a list, each {odd}" for one in several if (odd := unfit(one, each))), None)
    for kind, (types, what) in _KINDS.items():
        if hint is kind:
            fits = isinstance(value, types) and (kind is bool or not isinstance(value, bool))
            return None if fits else what
    return None


_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"), int: ((int,), "a whole number"), float: ((int, float), "a number"),
    str: ((str,), "a text"), type(None): ((type(None),), "none"),
}  # fmt: skip


def settings_of(kind: Any) -> dict[str, Any]:
    """{setting: its type} of a pass; Any where the types of a pass from elsewhere are not there to be found."""
    try:
        hints = get_type_hints(kind)
    except (NameError, TypeError, AttributeError):
        hints = {}
    return {one.name: hints.get(one.name, Any) for one in fields(kind)}


def pass_to_json(step: Any) -> dict[str, Any]:
    """{"pass": name, setting: value, …} of a pass."""
    return {"pass": step.name, **asdict(step)}


def pass_from_json(value: Mapping[str, Any], table: Table) -> Any:
    """The pass of `table` described by `value`. Raises RecipeError for unknown settings, with the nearest name."""
    if not isinstance(value, Mapping) or "pass" not in value:
        shown = ", ".join(map(str, value)) if isinstance(value, Mapping) else repr(value)
        raise RecipeError(f"a recipe step needs the key 'pass'; got {shown or 'nothing'}")
    kind = table[value["pass"]]
    allowed = settings_of(kind)
    # YAML and JSON have lists where a pass, which can be a key, has tuples
    settings = {key: tuple(one) if isinstance(one, list) else one for key, one in value.items() if key != "pass"}
    for key in settings:
        if key not in allowed:
            raise RecipeError(
                f"pass {value['pass']}: unknown setting {key!r}; there is {', '.join(allowed)}."
                f"{did_you_mean(key, list(allowed))}"
            )
        what = unfit(settings[key], allowed[key])
        if what:
            raise RecipeError(f"pass {value['pass']}: {key} is {what}, got {settings[key]!r}")
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"pass {value['pass']}: {error}") from None
