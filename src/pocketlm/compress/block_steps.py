"""Rounding one column to the grid of the sub-block it lies in."""

from __future__ import annotations

import torch
from torch import Tensor

from pocketlm.compress.block_grid import BlockGrid, inverse, middles
from pocketlm.model.ggml_types import BlockType


class SubStep:
    """Scale and minimum, (out,) each, of every row's sub-block."""

    def __init__(self, kind: BlockType, scale: Tensor, minimum: Tensor | None) -> None:
        self.kind, self.scale, self.inverse, self.minimum = kind, scale, inverse(scale), minimum
        self.low, self.high = kind.levels[0], kind.levels[-1]
        if not kind.even:
            self.levels, self.middles = torch.tensor(kind.levels, dtype=torch.float32), middles(kind.levels)

    def round(self, wanted: Tensor, still: Tensor | None, code: Tensor, value: Tensor) -> None:
        """Write the nearest code of each weight, and what it stands for; (out,) each. still: where 0 is to stay."""
        if self.kind.even:
            code.copy_(wanted) if self.minimum is None else torch.sub(wanted, self.minimum, out=code)
            code.mul_(self.inverse).round_().clamp_(self.low, self.high)
            if still is not None:
                code.masked_fill_(still, 0)
            torch.mul(code, self.scale, out=value)
            code.sub_(self.low)
        else:
            code.copy_(torch.bucketize(wanted * self.inverse, self.middles))
            torch.mul(self.levels[code.int()], self.scale, out=value)
        if self.minimum is not None:
            value.add_(self.minimum)


def sub_steps_of(grid: BlockGrid) -> list[SubStep]:
    """Of every sub-block of a grid, from left to right."""
    scale, minimum = grid.steps()
    minima = [None] * scale.shape[1] if minimum is None else minimum.t().contiguous().unbind()
    return [SubStep(grid.kind, *one) for one in zip(scale.t().contiguous().unbind(), minima, strict=True)]


def can_hold_zero(kind: BlockType) -> bool:
    """Whether a weight of exactly 0 stays one, whatever the scale."""
    return not kind.minimum and 0 in kind.levels
