"""Codes of a grid that can be learned: a real number a weight, rounded in the forward pass and moved by signs.

Ŵ = s · (clamp(⌊u⌉, 0, 2^b − 1) − z). The gradient goes through ⌊·⌉ as if it were not there: ∂/∂u = s · ∂/∂Ŵ, of which
only the sign is used, so that every weight moves by the same share of a step (SignRound: Cheng et al. 2023,
arXiv:2309.05516, where u = W/s + z + V with V in [−½, ½]); ∂/∂ log s = s · Σ (code − z) ∂/∂Ŵ over the group.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.compress.grid import Grid, split_groups
from pocketlm.model.code_weights import GridWeight

# Share of the running sum of gradients that a step keeps, of scales and norms.
MOMENTUM = 0.9
# How far from the middle of its cell, which ends at 0.5, a code may start: only samples that agree take it further.
EDGE = 0.25


class LiveWeight(nn.Module):
    """A plain matrix that gradients reach, in a packed layer's place while it is learned."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.values.shape[0], self.values.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The matrix in float32."""
        return (self.values if rows is None else self.values[rows]).float()

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ in the precision of the values, or what autocast makes of it."""
        return F.linear(inputs if torch.is_autocast_enabled("cpu") else inputs.to(self.values.dtype), self.values)


class Offsets:
    """The learned codes of one matrix (out, in) from where `codes` and `matrix` put them.

    A code's real number starts as near to where the weight lies as `EDGE` allows. frozen: where the code of 0 stays.
    """

    def __init__(self, matrix: Tensor, grid: Grid, codes: Tensor, frozen: Tensor | None, fast: bool) -> None:
        self.columns, self.size, self.top = matrix.shape[1], grid.group_size, 2**grid.bits - 1
        self.grid, self.scale = grid, grid.scales.clone()[..., None]
        zeros = torch.full_like(grid.scales, 2 ** (grid.bits - 1)) if grid.zeros is None else grid.zeros
        self.zero = zeros[..., None]
        chosen = split_groups(codes.float(), self.size)
        near = split_groups(matrix, self.size) / self.scale + self.zero
        self.place = torch.minimum(torch.maximum(near, chosen - EDGE), chosen + EDGE)
        self.frozen = None if frozen is None else split_groups(frozen.float(), self.size) > 0
        self.centred = torch.empty_like(self.place)
        self.scale_sum = torch.zeros_like(self.scale)
        self.live = LiveWeight(torch.zeros(matrix.shape, dtype=torch.bfloat16 if fast else torch.float32))
        self.write()

    @torch.no_grad()
    def write(self) -> None:
        """Put the matrix that the codes stand for where the forward pass reads it."""
        torch.round(self.place, out=self.centred).clamp_(0, self.top).sub_(self.zero)
        if self.frozen is not None:
            self.centred.masked_fill_(self.frozen, 0)
        self.live.values.copy_((self.centred * self.scale).flatten(1)[:, : self.columns])

    @torch.no_grad()
    def step(self, rate: float, scale_rate: float) -> None:
        """Move every code by `rate` steps of the grid and every log-scale by `scale_rate`, against its gradient."""
        if self.live.values.grad is None:
            return
        gradient = split_groups(self.live.values.grad.float(), self.size)
        self.live.values.grad = None
        # no momentum: each sample has a vote of its own
        self.place.sub_(gradient.sign(), alpha=rate).clamp_(-0.49, self.top + 0.49)
        if scale_rate:
            self.scale_sum.mul_(MOMENTUM).add_(gradient.mul_(self.centred).sum(-1, keepdim=True))
            self.scale.mul_(torch.exp(self.scale_sum.sign() * -scale_rate)).clamp_(6.2e-5, 6e4)
        self.write()

    def snapshot(self) -> tuple[Tensor, Tensor]:
        """What `restore` takes to come back to where it is now."""
        return self.place.clone(), self.scale.clone()

    def restore(self, kept: tuple[Tensor, Tensor]) -> None:
        """Go back to a snapshot."""
        self.place, self.scale = kept
        self.write()

    def weight(self) -> GridWeight:
        """The codes and scales as they are stored."""
        codes = (self.centred + self.zero).flatten(1)[:, : self.columns].to(torch.uint8).contiguous()
        scales = self.scale[..., 0].half().float()
        return Grid(scales, self.grid.zeros, self.grid.bits, self.size).weight(codes)
