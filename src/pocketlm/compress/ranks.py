"""Which rank each layer gets: the same share of each, or the least predicted loss under one budget for all.

Every layer offers points (weights stored, loss expected), one a rank and one for leaving it as it is. On the lower
convex hull of each, budget is spent where a weight buys the most loss (Everett's Lagrange multipliers, 1963); what is
left over afterwards buys single steps. Pure functions on plain numbers.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pocketlm.compress.factors import cost
from pocketlm.compress.hull import lower_hull


@dataclass(frozen=True)
class Choice:
    """What a layer may become. rank: 0 leaves it as it is. weights: stored then. loss: expected then."""

    rank: int
    weights: int
    loss: float


def choices(shape: tuple[int, int], squares: Sequence[float], pivoted: bool, multiple: int = 1) -> list[Choice]:
    """A layer's choices from its σ² (greatest first): only those that store less than the layer itself."""
    tail, losses = 0.0, []
    for square in reversed(squares):
        losses.append(tail)
        tail += float(square)
    losses.reverse()  # losses[r - 1]: what is lost at rank r
    whole = shape[0] * shape[1]
    ranks = [one for one in range(1, min(shape)) if one % multiple == 0 or one == 1]
    found = [Choice(one, cost(shape, one, pivoted), losses[one - 1]) for one in ranks]
    return [one for one in found if one.weights < whole] + [Choice(0, whole, 0.0)]


def hull(points: Sequence[Choice]) -> list[Choice]:
    """The lower convex hull: from the fewest weights on, each step buying less loss a weight than the one before."""
    front: list[Choice] = []
    for point in sorted(points, key=lambda one: (one.weights, one.loss)):
        if not front or point.loss < front[-1].loss:
            front.append(point)
    return [front[place] for place in lower_hull([(one.weights, one.loss) for one in front])]


def _gain(before: Choice, after: Choice) -> float:
    return (before.loss - after.loss) / max(1, after.weights - before.weights)


def allocate(offers: Mapping[str, Sequence[Choice]], budget: int) -> dict[str, Choice]:
    """A choice of every layer with at most `budget` weights in all, of the least expected loss but for one hull step.

    Where even the least choices need more, those.
    """
    hulls = {name: hull(points) for name, points in offers.items()}
    place = dict.fromkeys(hulls, 0)
    spent = sum(points[0].weights for points in hulls.values())
    queue = [(-_gain(points[0], points[1]), name) for name, points in hulls.items() if len(points) > 1]
    heapq.heapify(queue)
    while queue:
        _, name = heapq.heappop(queue)
        points, now = hulls[name], place[name]
        more = points[now + 1].weights - points[now].weights
        if spent + more > budget:
            continue
        spent, place[name] = spent + more, now + 1
        if now + 2 < len(points):
            heapq.heappush(queue, (-_gain(points[now + 1], points[now + 2]), name))
    chosen = {name: hulls[name][now] for name, now in place.items()}
    return _spend(offers, chosen, budget - spent)


def _spend(offers: Mapping[str, Sequence[Choice]], chosen: dict[str, Choice], left: int) -> dict[str, Choice]:
    """What is left buys, layer by layer, the best choice it can pay for: those off the hull count here, too."""
    for name, now in sorted(chosen.items(), key=lambda item: -item[1].loss):
        fitting = [one for one in offers[name] if one.weights <= now.weights + left and one.loss < now.loss]
        if fitting:
            best = min(fitting, key=lambda one: (one.loss, one.weights))
            left -= best.weights - now.weights
            chosen[name] = best
    return chosen
