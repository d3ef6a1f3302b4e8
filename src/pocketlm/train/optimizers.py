"""What moves the parameters: AdamW, and Muon, whose steps of matrices are made orthogonal.

Then no direction of a step drowns the others: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
networks"; scaled as Liu et al. 2025 (arXiv:2502.16982, eq. 4) have it, so that AdamW's rates and decay suit it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pocketlm.train.loop import Schedule

# Coefficients of the quintic iteration, and how often it is done: singular values end near 1, within 0.3.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Root mean square of a step of AdamW relative to its rate.
_STEP = 0.2


def optimizers_of(module: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """What moves the parameters: AdamW, and, where the schedule says so, Muon for matrices that are no embeddings."""
    own: set[int] = set()
    if schedule.muon:
        tables = {id(one.weight) for one in module.modules() if isinstance(one, nn.Embedding)}
        own = {id(one) for one in module.parameters() if one.ndim == 2 and id(one) not in tables}
    found: list[torch.optim.Optimizer] = []
    if others := _groups(module, schedule, lambda weight: id(weight) not in own):
        found.append(torch.optim.AdamW(others, betas=(0.9, schedule.second_moment), fused=True))
    if matrices := _groups(module, schedule, lambda weight: id(weight) in own):
        found.append(Muon(matrices))
    return found


def _groups(module: nn.Module, schedule: Schedule, mine: Callable[[nn.Parameter], bool]) -> list[dict[str, Any]]:
    """Parameters by learning rate and decay: heads may learn faster, vectors (biases, norms) are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad and mine(weight):
            head = schedule.head_rate is not None and "readout.heads" in name
            rate = schedule.head_rate if head and schedule.head_rate is not None else schedule.rate
            groups.setdefault((rate, schedule.decay if weight.ndim > 1 else 0.0), []).append(weight)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


class Muon(torch.optim.Optimizer):
    """An optimizer of matrices. rate, decay: as of AdamW. momentum: of the gradients, Nesterov's."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float = 1e-3, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            rate, decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - momentum)
                step = orthogonal(weight.grad.lerp(state["momentum"], momentum))
                weight.mul_(1 - rate * decay).add_(step, alpha=-rate * _STEP * max(weight.shape) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with singular values near 1 and its singular vectors, by Newton and Schulz's iteration."""
    first, second, third = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    found: Tensor = matrix.t() if tall else matrix
    found = found / (found.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = found @ found.t()
        found = first * found + (second * square + third * square @ square) @ found
    turned: Tensor = found.t() if tall else found
    return turned
