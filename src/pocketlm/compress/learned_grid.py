"""A weight that is rounded while it learns, and learns the step of its grid: LSQ.

Ŵ = s · ⌊clamp(W/s, −Q_N, Q_P)⌉; the gradient goes straight through the rounding to W where it was not clamped, and to s

    ∂Ŵ/∂s = −W/s + ⌊W/s⌉ inside,  −Q_N or Q_P outside,  times g = 1/√(N·Q_P)

(Esser et al. 2019, arXiv:1902.08153, eq. 3 and section 2.2), N the weights that share s.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.compress.grid import Grid, split_groups
from pocketlm.model.code_weights import GridWeight, StepWeight
from pocketlm.model.layers import InputRounding

# The least step that float16 holds with full precision.
LEAST_STEP = 6.2e-5


class _Round(torch.autograd.Function):
    """Ŵ of latent weights (rows, groups, size) and steps (rows or 1, groups, 1); low and high broadcast to them."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, steps: Tensor, low: Tensor, high: Tensor, gain: float) -> Tensor:
        """The rounded weights."""
        step = steps.half().float().clamp(min=LEAST_STEP)  # as it will be stored
        ratio = latent / step
        ctx.save_for_backward(ratio, low, high)
        ctx.gain, ctx.shape = gain, steps.shape
        return torch.minimum(torch.maximum(ratio, low), high).round() * step

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Straight through where not clamped; of the step, eq. 3."""
        ratio, low, high = ctx.saved_tensors
        inside = (ratio > low) & (ratio < high)
        codes = torch.minimum(torch.maximum(ratio, low), high).round()
        of_step = given * (codes - ratio * inside) * ctx.gain
        return given * inside, of_step.sum_to_size(ctx.shape), None, None, None


def lsq(latent: Tensor, steps: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Weights (rows, groups, size) rounded to steps (rows or 1, groups, 1), with the gradients of LSQ."""
    shared = latent.numel() / steps.numel()
    gain = 1 / (shared * float(high.float().mean().clamp(min=1))) ** 0.5
    found: Tensor = _Round.apply(latent, steps, low, high, gain)  # type: ignore[no-untyped-call]
    return found


class LearnedGrid(nn.Module):
    """A weight on a grid while it is trained; `weight()` is what is stored in the end, of exactly the same values."""

    centres: Tensor

    def __init__(self, matrix: Tensor, grid: Grid) -> None:
        super().__init__()
        self.latent = nn.Parameter(matrix.clone())
        self.steps = nn.Parameter(grid.scales.half().float().clamp(min=LEAST_STEP))
        self.bits, self.group_size = grid.bits, grid.group_size
        zeros = torch.full_like(grid.scales, 2 ** (grid.bits - 1)) if grid.zeros is None else grid.zeros.float()
        self.register_buffer("centres", zeros)
        self.symmetric = grid.zeros is None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.latent.shape[0], self.latent.shape[1]

    def _bounds(self, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Steps, least and greatest code less the centre, (rows or 1, groups, 1)."""
        steps: Tensor = self.steps
        centres = self.centres
        if rows is not None and len(steps) > 1:
            steps, centres = steps[rows], centres[rows]
        centres = centres[..., None]
        return steps[..., None], -centres, 2**self.bits - 1 - centres

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The rounded matrix, or only these of its rows."""
        latent = self.latent if rows is None else self.latent[rows]
        count, columns = latent.shape
        parts = latent[:, None] if self.steps.shape[1] == 1 else split_groups(latent, self.group_size)
        steps, low, high = self._bounds(rows)
        return lsq(parts, steps, low, high).reshape(count, -1)[:, :columns]

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ."""
        return F.linear(inputs, self.matrix().to(inputs.dtype))

    @torch.no_grad()
    def weight(self) -> GridWeight:
        """The weight to store: its matrix is this one's."""
        scales = self.steps.detach().half().float().clamp(min=LEAST_STEP)
        grid = Grid(scales, None if self.symmetric else self.centres, self.bits, self.group_size)
        scale, zero = grid.columns(self.shape[1])
        codes = (self.latent / scale).clamp(-zero, 2**self.bits - 1 - zero).round() + zero
        return grid.weight(codes.to(torch.uint8))

    @classmethod
    def resumed(cls, stored: GridWeight) -> LearnedGrid:
        """A grid that goes on from a stored one, its zeros as they are."""
        zeros: Any = stored.zeros
        scales: Any = stored.scales
        zeros = None if zeros is None else zeros.float()
        return cls(stored.matrix(), Grid(scales.float(), zeros, stored.bits, stored.group_size))


class _Straight(torch.autograd.Function):
    """The nearest whole number, or the nearest float16, with the gradient straight through."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, half: bool) -> Tensor:
        """The rounded values."""
        return values.half().float() if half else values.round()

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None]:
        """As it came."""
        return given, None


class LearnedSteps(nn.Module):
    """A `StepWeight` that goes on learning: ⌊W/(r c)⌉ · r · c with the gradients of LSQ to W, r and c; unclamped."""

    def __init__(self, stored: StepWeight) -> None:
        super().__init__()
        rows: Any = stored.row_steps
        columns: Any = stored.column_steps
        self.latent = nn.Parameter(stored.matrix())
        self.row_steps, self.column_steps = nn.Parameter(rows.float()), nn.Parameter(columns.float())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.latent.shape[0], self.latent.shape[1]

    def _parts(self, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, row steps (rows, 1) and column steps, as they will be stored."""
        latent, row = (self.latent, self.row_steps) if rows is None else (self.latent[rows], self.row_steps[rows])
        row, column = _straight(row, True)[:, None], _straight(self.column_steps, True)
        return _straight(latent / (row * column), False).clamp(-32768, 32767), row, column

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The rounded matrix, or only these of its rows."""
        codes, row, column = self._parts(rows)
        return codes * row * column

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ."""
        return F.linear(inputs, self.matrix().to(inputs.dtype))

    @torch.no_grad()
    def weight(self) -> StepWeight:
        """The weight to store: its matrix is this one's."""
        codes, row, column = self._parts(None)
        return StepWeight(codes.to(torch.int16), row[:, 0].half(), column.half())


def _straight(values: Tensor, half: bool) -> Tensor:
    found: Tensor = _Straight.apply(values, half)  # type: ignore[no-untyped-call]
    return found


class Through(nn.Module):
    """Rounds inputs as `rounding` does, with the gradient straight through."""

    def __init__(self, rounding: InputRounding) -> None:
        super().__init__()
        self.rounding = rounding

    def forward(self, inputs: Tensor) -> Tensor:
        """The rounded inputs."""
        with torch.no_grad():
            rounded: Tensor = self.rounding(inputs)
        return inputs + (rounded - inputs).detach()
