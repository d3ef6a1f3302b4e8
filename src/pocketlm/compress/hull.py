"""The lower convex hull of points in a plane (Andrew 1979): of what is bought, the steps whose price only rises."""

from __future__ import annotations

from collections.abc import Sequence


def lower_hull(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points, their first number rising, between which the slope only rises: first and last are there."""
    kept: list[int] = []
    for place, point in enumerate(points):
        while len(kept) > 1 and _slope(points[kept[-1]], point) <= _slope(points[kept[-2]], points[kept[-1]]):
            kept.pop()
        kept.append(place)
    return kept


def _slope(first: tuple[float, float], second: tuple[float, float]) -> float:
    return (second[1] - first[1]) / max(1, second[0] - first[0])
