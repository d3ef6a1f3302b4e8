"""Move the numbers of blocks one by one, each to where tr((W − Ŵ) S (W − Ŵ)ᵀ) is least with all others as they are.

Ŵ is linear in every scale, minimum and code: along a direction v of a row, with slope r = S (w − ŵ), the best change is
vᵀr / vᵀSv, and of the numbers that can be stored the one nearest to it is the best (coordinate descent, as for codes
alone in Nair and Suggala 2024, arXiv:2406.17542). No step raises the error.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pocketlm.compress.block_grid import BlockGrid, halved
from pocketlm.compress.block_steps import sub_steps_of
from pocketlm.model.ggml_types import BlockType


def descended(
    target: Tensor, grid: BlockGrid, codes: Tensor, s: Tensor, order: Tensor, frozen: Tensor | None = None
) -> tuple[BlockGrid, Tensor]:
    """Grid and codes (out, in), uint8, after each number was moved once, a block's scales before its codes.

    target: (out, in). s: (in, in), damped. order: columns, whole blocks at a time. frozen: (out, in), true where 0 is
    to stay.
    """
    kind = grid.kind
    work = _Work(target, grid, codes, s, frozen)
    for start in order[:: kind.length].tolist():
        work.block(start)
    parts = {name: one.t().contiguous() for name, one in work.parts.items()}
    return BlockGrid(kind, **parts), work.codes.t().to(torch.uint8).contiguous()


class _Work:
    """What is moved, a column as a row: its values lie side by side."""

    def __init__(self, target: Tensor, grid: BlockGrid, codes: Tensor, s: Tensor, frozen: Tensor | None) -> None:
        self.kind, self.s = grid.kind, s
        self.diagonal = s.diagonal().tolist()
        self.parts = {name: one.t().contiguous() for name, one in grid.parts.items()}
        self.codes = codes.t().float().contiguous()
        self.still = None if frozen is None else frozen.t().contiguous()
        self.values = grid.weight(codes).matrix().t().contiguous()
        self.slope = s @ (target.t() - self.values)

    def block(self, start: int) -> None:
        """Move the numbers of the block whose first column this is."""
        span = slice(start, start + self.kind.length)
        before, local = self.values[span].clone(), self.slope[span].clone()
        self._scales(start, local)
        self._codes(start, local)
        self.slope.addmm_(self.s[:, span], self.values[span] - before, alpha=-1)

    def _scales(self, start: int, local: Tensor) -> None:
        kind, block = self.kind, start // self.kind.length
        levels = _levels(kind, self.codes[start : start + kind.length])
        scale, sign = self.parts["scales"], float(kind.minimum)
        for place in range(kind.length // kind.sub if kind.scale_range else 0):
            sub, here = start // kind.sub + place, slice(place * kind.sub, (place + 1) * kind.sub)
            assert kind.scale_range is not None
            direction = levels[here] * scale[block]
            self._move("sub_scales", sub, direction, start, here, local, _whole(kind.scale_range))
            if kind.minimum_range is not None:
                direction = (sign * self.parts["minima"][block]).expand(kind.sub, -1)
                self._move("sub_minima", sub, direction, start, here, local, _whole(kind.minimum_range))
        whole = slice(0, kind.length)
        self._move("scales", block, levels * self._subs("sub_scales", start), start, whole, local, halved)
        if kind.minimum:
            ones = (sign * self._subs("sub_minima", start)).expand(kind.length, levels.shape[1])
            self._move("minima", block, ones, start, whole, local, halved)

    def _subs(self, name: str, start: int) -> Tensor:
        """The whole numbers of a block's sub-blocks, a column each; ones where the type has none."""
        if name not in self.parts:
            return torch.ones(1, 1)
        first = start // self.kind.sub
        subs = self.parts[name][first : first + self.kind.length // self.kind.sub]
        return subs.repeat_interleave(self.kind.sub, 0)

    def _move(
        self, name: str, place: int, direction: Tensor, start: int, here: slice, local: Tensor,
        stored: Callable[[Tensor], Tensor],
    ) -> None:  # fmt: skip
        """Move a number of every row along `direction`, (columns, out), of the block's columns `here`."""
        columns = slice(start + here.start, start + here.stop)
        curvature = ((self.s[columns, columns] @ direction) * direction).sum(0)
        gain = (direction * local[here]).sum(0)
        old = self.parts[name][place]
        found = stored(old + torch.where(curvature > 0, gain / curvature.clamp(min=1e-30), torch.zeros_like(gain)))
        change = direction * (found - old)
        self.parts[name][place] = found
        self.values[columns] += change
        local.addmm_(self.s[start : start + self.kind.length, columns], change, alpha=-1)

    def _codes(self, start: int, local: Tensor) -> None:
        kind, end = self.kind, start + self.kind.length
        steps = sub_steps_of(self._grid(start))
        value = torch.empty_like(local[0])
        for place in range(kind.length):
            column = start + place
            wanted = local[place].div_(self.diagonal[column]).add_(self.values[column])
            still = None if self.still is None else self.still[column]
            steps[place // kind.sub].round(wanted, still, self.codes[column], value)
            local[place + 1 :].addr_(self.s[column, column + 1 : end], value - self.values[column], alpha=-1)
            self.values[column] = value

    def _grid(self, start: int) -> BlockGrid:
        """The grid of one block as it is now."""
        block, subs = start // self.kind.length, self.kind.length // self.kind.sub
        first = {name: block * subs if name.startswith("sub_") else block for name in self.parts}
        many = {name: subs if name.startswith("sub_") else 1 for name in self.parts}
        return BlockGrid(
            self.kind, **{name: one[first[name] : first[name] + many[name]].t() for name, one in self.parts.items()}
        )


def _whole(limits: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    return lambda values: values.round().clamp(*limits)


def _levels(kind: BlockType, codes: Tensor) -> Tensor:
    """What codes stand for before scaling."""
    if kind.even:
        return codes + kind.levels[0]
    return torch.tensor(kind.levels, dtype=torch.float32)[codes.int()]
