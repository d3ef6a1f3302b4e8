"""Several processes that train one model, each with its part of every batch, as data-parallel training does it.

Li et al. 2020, arXiv:2006.15704: every process has the whole model and sums up gradients with the others before each
step. A part's loss weighs as many rows as it has: of losses that are means over rows the sum is the gradient of the
whole batch; of means over words or places it is that of nearly the same loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

# Processes draw different noise: their seeds are so far apart.
APART = 7_919


@dataclass(frozen=True)
class Peers:
    """This process among those of the process group. rank: its place. count: how many there are, 1 without a group."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Peers:
        """As torch.distributed has been set up in this process."""
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def seed(self) -> int:
        """What is added to the seed of this process's noise."""
        return APART * self.rank

    def part_of(self, batch: Sequence[int], loss: Callable[[list[int]], Tensor]) -> Tensor:
        """The loss of this process's part of a batch, weighed by its rows; 0 where it has none."""
        own = list(batch[self.rank :: self.count])
        if self.count == 1:
            return loss(own)
        return loss(own) * (len(own) / len(batch)) if own else torch.zeros(())

    def sum_gradients(self, module: nn.Module) -> None:
        """Every process's gradients become their sum."""
        if self.count == 1:
            return
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        reached = torch.tensor([float(weight.grad is not None) for weight in weights])
        dist.all_reduce(reached, op=dist.ReduceOp.MAX)
        # what no process reached stays without a gradient, as in one process
        weights = [weight for weight, any_ in zip(weights, reached.tolist(), strict=True) if any_]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])
        dist.all_reduce(flat)
        at = 0
        for weight in weights:
            assert weight.grad is not None
            weight.grad.copy_(flat[at : at + weight.numel()].view_as(weight))
            at += weight.numel()

    def any(self, own: bool) -> bool:
        """Whether it is so in any process: all of them have to stop together."""
        if self.count == 1:
            return own
        flag = torch.tensor([float(own)])
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())

    def of_the_first(self, own: float) -> float:
        """The figure of the first process, which decides for all."""
        if self.count == 1:
            return own
        figure = torch.tensor([own], dtype=torch.float64)
        dist.broadcast(figure, 0)
        return float(figure.item())
