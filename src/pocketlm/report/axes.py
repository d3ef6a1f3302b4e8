"""Scales of a plot: from a figure to a place on the page, and which figures get a tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """low, high: figures at its ends. begin, end: their places. log: whether equal steps are equal ratios."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a figure; figures outside stand at the nearer end."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)

    def ticks(self, most: int = 6) -> list[float]:
        """Round figures between the ends: at most `most`."""
        if not self.log:
            return _linear_ticks(self.low, self.high, most)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            found = [tick for tick in found if self.low <= tick <= self.high]
            if len(found) <= most:
                break
        if len(found) < 2:
            return _linear_ticks(self.low, self.high, 4)
        return found[:: math.ceil(len(found) / most)]


def log_axis(values: Sequence[float], begin: float, end: float) -> Axis:
    """A logarithmic axis with some room around positive `values`."""
    low, high = min(values), max(values)
    room = max(1.25, (high / low) ** 0.08)
    return Axis(low / room, high * room, begin, end, log=True)


def share_axis(values: Sequence[float], begin: float, end: float) -> Axis:
    """A linear axis around shares in [0, 1], not wider than it must be."""
    low, high = min(values), max(values)
    room = max(0.005, 0.12 * (high - low))
    bottom = min(max(0.0, low - room), 1.0)
    return Axis(bottom, max(min(1.0, high + room), bottom + room), begin, end)


def falling_axis(values: Sequence[float], begin: float, end: float) -> Axis:
    """A linear axis around figures that are better the lower: the least stand nearest to `end`."""
    low, high = min(values), max(values)
    room = max(0.02 * high, 0.12 * (high - low))
    return Axis(max(0.0, low - room), high + room, end, begin)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]
