"""What a setting of a pass may be in a search: declared beside its default, as `depth: int = knob(2, Whole(1, 6))`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pocketlm.errors import RecipeError
from pocketlm.tables import did_you_mean
from pocketlm.units import parse_size

if TYPE_CHECKING:
    from numpy.random import Generator

# The setting of a search that is written as budgets are.
SIZE = "search.size"
KEY, QUIET, DECISIVE = "pocketlm.knob", "pocketlm.quiet", "pocketlm.decisive"
# A move goes so far at most: this share of a range, or steps of it; in a logarithmic one this factor.
MOVED, STEPS, TIMES = 0.25, 2, 2.0


@dataclass(frozen=True)
class Whole:
    """A whole number from low to high, both included. step: between two of them. log: even in its logarithm."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high or self.step < 1 or (self.log and (self.low < 1 or self.step != 1)):
            raise ValueError(f"a range goes up, in steps of at least 1, and a logarithmic one from 1 on: {self}")

    def nearest(self, value: Any) -> int:
        """The allowed value nearest to this one."""
        step: int = round((value - self.low) / self.step)
        return self.low + self.step * max(0, min((self.high - self.low) // self.step, step))

    def moved(self, value: Any, random: Generator) -> int:
        """A value a little more or less than this one."""
        if self.log:
            return self.nearest(value * TIMES ** random.uniform(-1, 1))
        return self.nearest(value + self.step * int(random.integers(1, STEPS + 1) * random.choice((-1, 1))))

    def drawn(self, random: Generator) -> int:
        """Any value."""
        if self.log:
            return self.nearest(self.low * (self.high / self.low) ** random.random())
        return self.low + self.step * int(random.integers((self.high - self.low) // self.step + 1))

    def place(self, value: Any) -> float:
        """How far up the range a value is, from 0 to 1."""
        return _place(value, self.low, self.high, self.log)

    def narrowed(self, values: Sequence[Any]) -> Choice:
        """Only these. Raises ValueError for one that is no whole number in the range."""
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
                raise ValueError(f"{value!r} is no whole number from {self.low} to {self.high}")
        return Choice(tuple(values))

    def between(self, low: Any, high: Any) -> Whole:
        """Only from low to high. Raises ValueError where these are no part of the range."""
        if not all(isinstance(one, int) for one in (low, high)) or not self.low <= low <= high <= self.high:
            raise ValueError(f"{low}..{high} is no part of {self.low}..{self.high}")
        return Whole(low, high, self.step, self.log)


@dataclass(frozen=True)
class Real:
    """A number from low to high. log: even in its logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.high < math.inf or (self.log and self.low <= 0):
            raise ValueError(f"a range goes up, and a logarithmic one from above 0: {self}")

    def nearest(self, value: Any) -> float:
        """The allowed value nearest to this one."""
        return min(self.high, max(self.low, float(value)))

    def moved(self, value: Any, random: Generator) -> float:
        """A value a little more or less than this one."""
        if self.log:
            return self.nearest(value * TIMES ** random.uniform(-1, 1))
        return self.nearest(value + MOVED * (self.high - self.low) * random.uniform(-1, 1))

    def drawn(self, random: Generator) -> float:
        """Any value."""
        share = random.random()
        if self.log:
            return self.nearest(self.low * (self.high / self.low) ** share)
        return self.nearest(self.low + share * (self.high - self.low))

    def place(self, value: Any) -> float:
        """How far up the range a value is, from 0 to 1."""
        return _place(value, self.low, self.high, self.log)

    def narrowed(self, values: Sequence[Any]) -> Choice:
        """Only these. Raises ValueError for one that is no number in the range."""
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
                raise ValueError(f"{value!r} is no number from {self.low:g} to {self.high:g}")
        return Choice(tuple(float(value) for value in values))

    def between(self, low: Any, high: Any) -> Real:
        """Only from low to high. Raises ValueError where these are no part of the range."""
        if not all(isinstance(one, int | float) for one in (low, high)) or not self.low <= low <= high <= self.high:
            raise ValueError(f"{low}..{high} is no part of {self.low:g}..{self.high:g}")
        return Real(float(low), float(high), self.log)


@dataclass(frozen=True)
class Choice:
    """One of some values: texts, numbers, True, False or None."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("there is nothing to choose from")

    def nearest(self, value: Any) -> Any:
        """This value where it is one of them, else of numbers the nearest, else the first."""
        if value in self.values:
            return value
        numbers = [one for one in self.values if isinstance(one, int | float) and not isinstance(one, bool)]
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            return min(numbers, key=lambda one: abs(one - value))
        return self.values[0]

    def moved(self, value: Any, random: Generator) -> Any:
        """The value before or after this one."""
        place = self.values.index(value) + int(random.choice((-1, 1)))
        return self.values[abs(place) if place < len(self.values) else max(0, place - 2)]

    def drawn(self, random: Generator) -> Any:
        """Any of the values."""
        return self.values[int(random.integers(len(self.values)))]

    def place(self, value: Any) -> float:
        """How far along the values one of them is, from 0 to 1; the only one is in the middle."""
        return _place(self.values.index(value), 0, len(self.values) - 1, False)

    def narrowed(self, values: Sequence[Any]) -> Choice:
        """Only these. Raises ValueError for one that is none of them."""
        for value in values:
            if value not in self.values:
                shown = [str(one) for one in self.values]
                raise ValueError(f"{value!r} is none of {', '.join(shown)}.{did_you_mean(value, shown)}")
        return Choice(tuple(values))

    def between(self, low: Any, high: Any) -> Choice:
        """Those from low to high. Raises ValueError where there is none."""
        try:
            return Choice(tuple(one for one in self.values if low <= one <= high))
        except (TypeError, ValueError):
            raise ValueError(f"none of {', '.join(map(str, self.values))} is from {low} to {high}") from None


Knob = Whole | Real | Choice
# What a setting may be by someone's wish: some values, or from one to another.
Wanted = tuple[Any, ...] | slice


def _place(value: float, low: float, high: float, log: bool) -> float:
    if high <= low:
        return 0.5  # where settings are that other kinds of students have not
    return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)


def meeting(allowed: Knob, wanted: Wanted) -> Knob | None:
    """What of the knob is wanted, or None where nothing is."""
    if isinstance(wanted, slice):
        low, high = wanted.start, wanted.stop
        if not isinstance(allowed, Choice):
            low, high = max(low, allowed.low), min(high, allowed.high)
        try:
            return allowed.between(low, high)
        except ValueError:
            return None
    kept = [value for value in wanted if _is_allowed(allowed, value)]
    return allowed.narrowed(kept) if kept else None


def _is_allowed(allowed: Knob, value: Any) -> bool:
    try:
        allowed.narrowed((value,))
    except ValueError:
        return False
    return True


def knob(default: Any, allowed: Knob, *, quiet: bool = False, decisive: bool = False) -> Any:
    """A field of a pass with this default, which a search may set to what is allowed.

    quiet: only where someone says so: each more that varies leaves fewer trials to what decides more. decisive: it
    decides more than most settings, as rates of learning do (Greff et al. 2017, arXiv:1503.04069), so that what one
    value comes to tells little of another.
    """
    return field(default=default, metadata={KEY: allowed, QUIET: quiet, DECISIVE: decisive})


def is_quiet(kind: Any, setting: str) -> bool:
    """Whether a setting of a pass or its class stays as it is unless someone lets it vary."""
    return any(one.metadata.get(QUIET, False) for one in fields(kind) if one.name == setting)


def decisive_of(kind: Any) -> list[str]:
    """The settings of a pass or its class that were declared decisive."""
    return [one.name for one in fields(kind) if one.metadata.get(DECISIVE, False)]


def knobs_of(kind: Any) -> dict[str, Knob]:
    """{setting: what it may be} of a pass or its class: those fields that were declared with `knob`."""
    return {one.name: one.metadata[KEY] for one in fields(kind) if KEY in one.metadata}


def parse_setting(text: str) -> tuple[str, Wanted]:
    """("quantize.bits", (4, 8)) of "quantize.bits=4,8", and a slice(low, high) of "distill.rate=1e-4..1e-2".

    Raises RecipeError for another form, and UnitError for a size that is none.
    """
    name, equals, given = text.partition("=")
    name, given = name.strip(), given.strip()
    value = _size if name == SIZE else _value
    if not equals or "." not in name or not given:
        raise RecipeError(f"set {text!r}: write PASS.SETTING=VALUE, several with commas, or LOW..HIGH for a range")
    if ".." in given:
        low, _, high = given.partition("..")
        wanted = slice(value(low), value(high))
        if all(isinstance(one, int | float) for one in (wanted.start, wanted.stop)) and wanted.start > wanted.stop:
            raise RecipeError(f"set {text!r}: the range goes down; write {high.strip()}..{low.strip()}")
        return name, wanted
    return name, tuple(value(one) for one in given.split(","))


def _size(text: str) -> Any:
    """Bytes, written as such or as "100kB"."""
    value = _value(text)
    return parse_size(value) if isinstance(value, str) else value


def _value(text: str) -> Any:
    """A number, true, false, none, or the text itself."""
    text = text.strip()
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
