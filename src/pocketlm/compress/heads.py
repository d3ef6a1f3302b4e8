"""In which order attention heads can go, and at what price: whole key heads, or query heads of all key heads alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlm.compress.columns import inverse, plain_cost, removal_cost, without
from pocketlm.compress.removal import Heads, spread


@dataclass(frozen=True)
class HeadStep:
    """What is left after a step. kept: query heads of each key head. parameters: removed so far. cost: so far."""

    kept: tuple[tuple[int, ...], ...]
    parameters: int
    cost: float

    @property
    def count(self) -> int:
        """Query heads left."""
        return sum(len(group) for group in self.kept)


class _Prices:
    """What query heads cost in all of a few attentions that lose the same ones."""

    def __init__(self, given: Sequence[tuple[Tensor, Tensor]], size: int, compensate: bool) -> None:
        self.size, self.compensate = size, compensate
        self.columns = torch.arange(len(given[0][0]))
        # Of each attention: WᵀGW, and S⁻¹ where others make up for what goes, S where not.
        self.given = [(gram, inverse(s) if compensate else s.double()) for gram, s in given]

    def _places(self, heads: Sequence[int]) -> Tensor:
        return torch.isin(self.columns, spread(heads, self.size)).nonzero().squeeze(1)

    def of(self, heads: Sequence[int]) -> float:
        """The price of these heads."""
        cost, places = removal_cost if self.compensate else plain_cost, self._places(heads)
        return sum(cost(gram, s, places) for gram, s in self.given)

    def remove(self, heads: Sequence[int]) -> None:
        """They are gone."""
        gone = self._places(heads)
        stay = torch.ones(len(self.columns), dtype=torch.bool)
        stay[gone] = False
        left = stay.nonzero().squeeze(1)
        if self.compensate:
            self.given = [without(gram, s, gone, left) for gram, s in self.given]
        else:
            self.given = [(gram[left][:, left], s[left][:, left]) for gram, s in self.given]
        self.columns = self.columns[left]


def head_curve(
    heads: Heads, given: Sequence[tuple[Tensor, Tensor]], parameters: tuple[int, int], compensate: bool = True
) -> list[HeadStep]:
    """Steps down to one head, each the cheapest a parameter of those that leave an attention of even groups.

    given: of each attention that loses the same heads, WᵀGW and S of its output layer. parameters: of a query head
    and of a key head.
    """
    prices = _Prices(given, heads.size, compensate)
    kept = tuple(tuple(range(group * heads.each, (group + 1) * heads.each)) for group in range(heads.groups))
    steps, removed, cost = [], 0, 0.0
    query, key = parameters
    while sum(len(group) for group in kept) > 1:
        choices = []
        if len(kept) > 1:
            each = [prices.of(group) for group in kept]
            place = each.index(min(each))
            choices.append((each[place], len(kept[0]) * query + key, kept[place]))
        if len(kept[0]) > 1:
            worst = tuple(min(group, key=lambda head: prices.of([head])) for group in kept)
            choices.append((prices.of(worst), len(kept) * query, worst))
        price, size, gone = min(choices, key=lambda one: one[0] / one[1])
        prices.remove(gone)
        kept = tuple(left for left in (tuple(one for one in group if one not in gone) for group in kept) if left)
        removed, cost = removed + size * len(given), cost + price
        steps.append(HeadStep(kept, removed, cost))
    return steps
