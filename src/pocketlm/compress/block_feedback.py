"""Blocks of ggml's types with second-order error feedback: each block's grid is searched once its turn has come.

By then its weights hold what the blocks before it have lost, and errors in it count by 1 / U_jj², what a column's error
costs once the columns after it have made up for it as they can (feedback.py). As a block's columns share a scale, only
whole blocks are reordered. Scales and codes are then moved one by one (block_descent.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlm.compress.block_descent import descended
from pocketlm.compress.block_grid import BlockGrid, grid_for_blocks, joined
from pocketlm.compress.block_steps import SubStep, sub_steps_of
from pocketlm.compress.feedback import Feedback, fed_codes, row_errors
from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.ggml_types import BlockType


class BlockRounder:
    """Rounds columns in an order of whole blocks, each to a grid that is searched when the block's turn comes.

    weights: what a squared error in each column costs, in that order: (columns,).
    """

    def __init__(self, kind: BlockType, weights: Tensor) -> None:
        self.kind, self.weights = kind, weights
        self.grids: list[BlockGrid] = []
        self.steps: list[SubStep] = []
        self.first = 0

    def begin(self, start: int, end: int, wanted: Tensor) -> None:
        """Search the block's grid."""
        grid = grid_for_blocks(wanted.t().contiguous(), self.kind, self.weights[start:end])
        self.grids.append(grid)
        self.steps, self.first = sub_steps_of(grid), start

    def column(self, number: int, wanted: Tensor, still: Tensor | None, code: Tensor, value: Tensor) -> None:
        """The nearest code of each weight, and what it stands for."""
        self.steps[(number - self.first) // self.kind.sub].round(wanted, still, code, value)

    def grid(self, order: Tensor) -> BlockGrid:
        """The grid of all blocks, which came in `order` (columns,), where they lie."""
        places = order[:: self.kind.length] // self.kind.length
        return joined([self.grids[place] for place in places.argsort().tolist()])


@dataclass(frozen=True)
class SolvedBlocks:
    """A matrix in blocks. error: relative, of its output. plain: rounded to nearest on grids searched by diag S alone.

    kept: rows that keep plain rounding. damping: that the solve took.
    """

    weight: BlockWeight
    error: float
    plain: float
    kept: int
    damping: float


def nearest_blocks(target: Tensor, kind: BlockType, weights: Tensor, frozen: Tensor | None = None) -> BlockWeight:
    """A matrix (out, in) rounded to nearest, squared errors counting by their columns' weights: (in,)."""
    grid = grid_for_blocks(target, kind, weights)
    codes = grid.codes(target)
    return grid.weight(codes if frozen is None else codes.masked_fill(frozen, -kind.levels[0]))


def solve_blocks(
    target: Tensor, kind: BlockType, feedback: Feedback, frozen: Tensor | None = None, refine: int = 0
) -> SolvedBlocks:
    """A matrix (out, in) in blocks with error feedback, row by row never worse than rounding to nearest.

    feedback: with columns in an order of whole blocks. refine: rounds of moving scales and codes one by one.
    """
    s = feedback.s
    near = nearest_blocks(target, kind, feedback.damped.diagonal(), frozen)
    plain = row_errors(target - near.matrix(), s)
    rounder = BlockRounder(kind, feedback.upper.diagonal().pow(-2))
    codes = fed_codes(target, rounder, feedback.upper, feedback.order, frozen, kind.length)
    grid, damped = rounder.grid(feedback.order), feedback.damped
    for _ in range(refine):
        grid, codes = descended(target, grid, codes, damped, feedback.order, frozen)
    weight = grid.weight(codes)
    mine = row_errors(target - weight.matrix(), s)
    worse = plain < mine
    for name, theirs in near.named_buffers():
        weight.get_buffer(name)[worse] = theirs[worse]
    total = row_errors(target, s).sum().clamp(min=1e-30)
    error = torch.where(worse, plain, mine).sum() / total
    return SolvedBlocks(weight, float(error), float(plain.sum() / total), int(worse.sum()), feedback.damping)
