"""Uniform grids: scales and zeros of groups, codes, and the weight they make. Pure functions on tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pocketlm.model.code_weights import GridWeight

# How far a clipped grid may shrink, and in how many steps that is searched: every so many first, then between.
LEAST_SHRINK = 0.5
STEPS, STRIDE = 24, 3
# Values whose clipping is searched together.
CACHED = 1 << 16


@dataclass(frozen=True)
class Grid:
    """Scales and zeros, a group each: (rows, groups), values as stored. zeros: None for a symmetric grid."""

    scales: Tensor
    zeros: Tensor | None
    bits: int
    group_size: int

    def codes(self, matrix: Tensor) -> Tensor:
        """The nearest codes of (rows, columns), as uint8."""
        scale, zero = self.columns(matrix.shape[1])
        return (matrix / scale + zero).round().clamp(0, 2**self.bits - 1).to(torch.uint8)

    def columns(self, columns: int) -> tuple[Tensor, Tensor]:
        """Scale and zero of every column: (rows, columns) each, or what broadcasts to it."""
        zeros = torch.full_like(self.scales, 2 ** (self.bits - 1)) if self.zeros is None else self.zeros
        if self.scales.shape[1] == 1:
            return self.scales, zeros
        return tuple(one.repeat_interleave(self.group_size, 1)[:, :columns] for one in (self.scales, zeros))  # type: ignore[return-value]

    def weight(self, codes: Tensor) -> GridWeight:
        """Codes on this grid as a weight."""
        zeros = self.zeros
        if zeros is not None:
            whole = bool((zeros == zeros.round()).all()) and float(zeros.min()) >= 0 and float(zeros.max()) <= 255
            zeros = zeros.to(torch.uint8 if whole else torch.float16)
        return GridWeight(codes, self.scales.half(), zeros, self.bits, self.group_size)


def split_groups(matrix: Tensor, group_size: int) -> Tensor:
    """(rows, columns) as (rows, groups, group_size); a last group that is short is filled with zeros."""
    groups = -(-matrix.shape[1] // group_size)
    return F.pad(matrix, (0, groups * group_size - matrix.shape[1])).view(len(matrix), groups, group_size)


def grid_for(
    matrix: Tensor, bits: int, group_size: int, symmetric: bool, clip: bool = False, importance: Tensor | None = None
) -> Grid:
    """The grid of every group of `group_size` columns (of the whole row for 0, of the whole matrix for -1).

    From least to greatest value; with `clip`, shrunk to where the squared error, weighted by the columns'
    `importance` (columns,), is least. 0 is always on the grid.
    """
    whole = matrix.reshape(1, -1) if group_size == -1 else matrix
    size = whole.shape[1] if group_size <= 0 else group_size
    parts = split_groups(whole, size)
    weights = torch.ones_like(parts[:1]) if importance is None or group_size == -1 else split_groups(
        importance[None].float(), size
    )  # fmt: skip
    if clip:
        # a few rows at a time stay in the processor's cache through all steps
        rows = max(1, CACHED // parts[0].numel())
        found = [_clipped(part, bits, symmetric, weights) for part in torch.split(parts, rows)]
        best = (torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found]))
    else:
        best = _grid(_edges(parts), bits, symmetric, 1.0)
    scales, zeros = best
    return Grid(scales, None if symmetric else zeros, bits, size if group_size > 0 else max(1, matrix.shape[1]))


def _clipped(parts: Tensor, bits: int, symmetric: bool, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero of each group, shrunk to where the loss is least."""
    edges = _edges(parts)
    best, place = _grid(edges, bits, symmetric, 1.0), torch.zeros_like(edges[0])
    least = _loss(parts, best, bits, weights)

    def attempt(steps: Tensor) -> None:
        nonlocal best, place, least
        tried = _grid(edges, bits, symmetric, 1 - (1 - LEAST_SHRINK) * steps / STEPS)
        loss = _loss(parts, tried, bits, weights)
        better = (loss < least) & (steps >= 0) & (steps <= STEPS)
        least, place = torch.where(better, loss, least), torch.where(better, steps, place)
        best = (torch.where(better, tried[0], best[0]), torch.where(better, tried[1], best[1]))

    for step in range(STRIDE, STEPS + 1, STRIDE):
        attempt(torch.full_like(place, step))
    coarse = place
    for away in range(1, STRIDE):
        attempt(coarse - away)
        attempt(coarse + away)
    return best


def _edges(parts: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest value of each group, 0 among them."""
    return parts.amin(-1).clamp(max=0), parts.amax(-1).clamp(min=0)


def _grid(edges: tuple[Tensor, Tensor], bits: int, symmetric: bool, shrink: float | Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero of each group between its edges, shrunk, as float16 will hold them."""
    low, high = edges[0] * shrink, edges[1] * shrink
    if symmetric:
        scale = torch.maximum(-low / 2 ** (bits - 1), high / (2 ** (bits - 1) - 1))
        zero = torch.full_like(scale, 2 ** (bits - 1))
    else:
        scale = (high - low) / (2**bits - 1)
        zero = (-low / scale.clamp(min=1e-8)).round().clamp(0, 2**bits - 1)
    # the least scale float16 holds with full precision: a group of zeros needs some scale
    return scale.clamp(min=6.2e-5).half().float(), zero


def _loss(parts: Tensor, grid: tuple[Tensor, Tensor], bits: int, weights: Tensor) -> Tensor:
    scale, zero = (one[..., None] for one in grid)
    found = (parts / scale).add_(zero).round_().clamp_(0, 2**bits - 1).sub_(zero).mul_(scale)
    return found.sub_(parts).square_().mul_(weights).sum(-1)
