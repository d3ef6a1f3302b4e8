"""GPTQ: quantize column by column, and let the columns still to come make up for each one's error.

Of a layer with inputs X, S = XXᵀ + λI and S⁻¹ = UᵀU (U upper triangular): column j is rounded to its group's grid, and
w_k −= (w_j − ŵ_j) U_jk / U_jj for every later k (Frantar et al. 2022, arXiv:2210.17323). Columns are taken by falling
S_jj; grids are fixed before, clipped to the least squared error weighted by S_jj, so that the order costs nothing to
store. Codes and scales are then refined in turn (refine.py). A row that plain rounding serves better keeps plain
rounding. What was zeroed by pruning stays zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.blockwise import quantize_model
from pocketlm.compress.context import Context
from pocketlm.compress.feedback import BLOCK, Feedback, fed_codes, row_errors
from pocketlm.compress.grid import Grid, grid_for
from pocketlm.compress.refine import refined
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.targets import relative_error, setting_for, zeros_of
from pocketlm.compress.upstream import Drift
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import Model


class GridRounder:
    """Rounds the columns of a matrix (out, in), in `order`, to a grid that was fixed before."""

    def __init__(self, grid: Grid, shape: torch.Size, order: Tensor) -> None:
        scale, zero = (one.expand(shape)[:, order].t().contiguous() for one in grid.columns(shape[1]))
        self.steps, self.top = list(zip(scale.unbind(), zero.unbind(), strict=True)), 2**grid.bits - 1

    def begin(self, start: int, end: int, wanted: Tensor) -> None:
        """Nothing: the grid is as it is."""

    def column(self, number: int, wanted: Tensor, still: Tensor | None, code: Tensor, value: Tensor) -> None:
        """The nearest code of each weight, and (code - zero) · scale."""
        step, origin = self.steps[number]
        torch.div(wanted, step, out=code).add_(origin).round_().clamp_(0, self.top)
        if still is not None:
            torch.where(still, origin, code, out=code)
        torch.sub(code, origin, out=value).mul_(step)


def feedback_codes(
    matrix: Tensor, grid: Grid, upper: Tensor, order: Tensor, frozen: Tensor | None = None, block: int = BLOCK
) -> Tensor:
    """Codes (out, in), uint8, on a grid, as `fed_codes`. frozen: (out, in), true where the code of 0 is to stay."""
    return fed_codes(matrix, GridRounder(grid, matrix.shape, order), upper, order, frozen, block)


@dataclass(frozen=True)
class Solved:
    """A layer's codes on its grid. error: relative, of its output. plain: of round-to-nearest on the same grid.

    kept: rows that keep plain rounding. damping: that the solve took.
    """

    grid: Grid
    codes: Tensor
    error: float
    plain: float
    kept: int
    damping: float

    @property
    def weight(self) -> GridWeight:
        """As it is stored."""
        return self.grid.weight(self.codes)


def solve(target: Tensor, grid: Grid, feedback: Feedback, frozen: Tensor | None = None, refine: int = 0) -> Solved:
    """GPTQ of a matrix (out, in), row by row never worse than rounding to nearest on `grid`.

    refine: rounds of scales by least squares and codes by coordinate descent; without, the grid stays as it is.
    """
    s = feedback.s
    near = grid.codes(target)
    if frozen is not None:
        near = torch.where(frozen, grid.columns(target.shape[1])[1].expand(target.shape).to(torch.uint8), near)
    plain = row_errors(target - grid.weight(near).matrix(), s)
    codes = feedback_codes(target, grid, feedback.upper, feedback.order, frozen)
    finer = grid
    if refine:
        finer, codes = refined(target, grid, codes, feedback.damped, frozen, refine)
    mine = row_errors(target - finer.weight(codes).matrix(), s)
    worse = plain < mine
    codes = torch.where(worse[:, None], near, codes)
    if finer is not grid:
        grid = replace(finer, scales=torch.where(worse[:, None], grid.scales, finer.scales))
    total = row_errors(target, s).sum().clamp(min=1e-30)
    error = torch.where(worse, plain, mine).sum() / total
    return Solved(grid, codes, float(error), float(plain.sum() / total), int(worse.sum()), feedback.damping)


@dataclass(frozen=True)
class Gptq:
    """Quantize with second-order error feedback, as calibration shows each layer's inputs.

    bits: 2 to 8, or a mapping from layer patterns to bits. group_size: columns that share a scale; 0: a row; a last
    group may be shorter. symmetric: whether the grid is centred on 0. act_order: take columns by falling activation.
    damping: share of the mean of diag S that is added to it. clip: search the clipping of each group. refine: rounds of
    scales by least squares and codes by coordinate descent after it. correct: share, 0 to 1, of the error of earlier
    layers that a layer is fitted to make up for; costs a second forward pass. The method as its paper has it: refine 0
    and correct 0. A layer's input is measured once those before it in its block are done. layers, exclude: groups
    ("blocks", "embeddings", "head", "all") or name patterns; embeddings are rounded to nearest.
    """

    name: ClassVar[str] = "gptq"
    kind: ClassVar[str] = "quantize"
    held: ClassVar[str] = "bits"
    tied: ClassVar[float] = 0.0
    bits: int | Mapping[str, int] = 4
    group_size: int = 64
    symmetric: bool = False
    act_order: bool = True
    damping: float = 0.01
    clip: bool = True
    refine: int = 3
    correct: float = 0.5
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bits(self.bits, self.group_size)
        if not 0 <= self.damping <= 1:
            raise ValueError(f"damping is a share from 0 to 1, got {self.damping}")
        if not 0 <= self.correct <= 1:
            raise ValueError(f"correct is a share from 0 to 1, got {self.correct}")
        if self.refine < 0:
            raise ValueError(f"refine is a number of rounds, at least 0, got {self.refine}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""
        return quantize_model(self, model, context)

    def setting(self, name: str) -> int:
        """The layer's bits."""
        bits: int = setting_for(self.bits, name)
        return bits

    def together(self, setting: int) -> int:
        """Columns in any order."""
        return 1

    def fit(self, matrix: Tensor, setting: int, feedback: Feedback | None, drift: Drift | None) -> Solved:
        """A matrix quantized, corrected by `drift`; rounded to nearest where there is no feedback."""
        if feedback is None:
            grid = grid_for(matrix, setting, self.group_size, self.symmetric, self.clip)
            codes = grid.codes(matrix)
            lost = relative_error(matrix, grid.weight(codes).matrix())
            return Solved(grid, codes, lost, lost, 0, 0.0)
        target, frozen = matrix, zeros_of(matrix)
        if drift is not None:
            target = drift.target(matrix, feedback.s, self.correct, self.damping)
            target = target if frozen is None else target.masked_fill(frozen, 0.0)
        grid = grid_for(target, setting, self.group_size, self.symmetric, self.clip, feedback.s.diagonal())
        return solve(target, grid, feedback, frozen, self.refine)
