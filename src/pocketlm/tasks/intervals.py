"""Intervals of shares, of their differences and of a ranking: they hold for few rows, too."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Of 95 %, and of 99.9 %: the latter where many differences are looked at and only some are shown.
SURE, VERY_SURE = 1.96, 3.29


@dataclass(frozen=True)
class Share:
    """A value with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"

    def to_json(self) -> dict[str, float]:
        """Plain data, rounded."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def share(hits: int, count: int, z: float = SURE) -> Share:
    """The share of hits. Wilson 1927, "Probable inference, the law of succession, and statistical inference"."""
    if not count:
        return Share(0.0, 0.0, 1.0)
    rate = hits / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    return Share(rate, max(0.0, middle - half) if hits else 0.0, min(1.0, middle + half) if hits < count else 1.0)


def difference(one: tuple[int, int], other: tuple[int, int], z: float = SURE) -> Share:
    """The first share less the second, each as hits and count. Newcombe 1998, Statistics in Medicine 17, method 10."""
    first, second = share(*one, z), share(*other, z)
    value = first.value - second.value
    low = math.hypot(first.value - first.low, second.high - second.value)
    high = math.hypot(first.high - first.value, second.value - second.low)
    return Share(value, max(-1.0, value - low), min(1.0, value + high))


def ranking(own: NDArray[np.float64], others: NDArray[np.float64], z: float = SURE) -> Share:
    """How often a value of `own` is larger than one of `others`, ties half: the area under the curve.

    Its interval after Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve".
    """
    ordered = np.sort(others)
    below, up_to = (np.searchsorted(ordered, own, side) for side in ("left", "right"))
    area = float((below + up_to).mean() / (2 * len(others)))
    first, second = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (len(own) - 1) * (first - area**2) + (len(others) - 1) * (second - area**2)
    half = z * math.sqrt(max(0.0, spread) / (len(own) * len(others)))
    return Share(area, max(0.0, area - half), min(1.0, area + half))


def half_width(rate: float, count: int, z: float = SURE) -> float:
    """How far the interval of a share goes to each side, on average."""
    found = share(round(rate * count), count, z)
    return (found.high - found.low) / 2
