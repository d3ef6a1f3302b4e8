"""Block-wise reconstruction: a few steps of Adam on one block's factors, so that it gives what the dense block gave.

The loss is ‖h − ĥ‖² / ‖h − x‖² of the block's result against the dense model's, given the compressed model's input;
no gradient crosses a block (BRECQ, Li et al. 2021, arXiv:2102.05426).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pocketlm.compress.paired import DensePath
from pocketlm.compress.walk import BlockView
from pocketlm.model.pivots import PivotWeight
from pocketlm.model.weights import DenseWeight, ProductWeight

# Shares of the steps at which the rate rises to its whole.
WARM = 0.1


def factors_of(module: nn.Module) -> list[nn.Parameter]:
    """The plain factors of every product in the module."""
    found: dict[int, nn.Parameter] = {}
    for child in module.modules():
        if isinstance(child, ProductWeight):
            left = child.left.inner if isinstance(child.left, PivotWeight) else child.left
            for one in (left, child.right):
                if isinstance(one, DenseWeight):
                    found[id(one.values)] = one.values
    return list(found.values())


def reconstruct(view: BlockView, dense: DensePath, steps: int, rate: float, fast: bool, seed: int) -> float:
    """The mean loss of the last quarter of the steps; the block's factors are changed in place."""
    factors = factors_of(view.module)
    if not factors:
        return 0.0
    generator = torch.Generator().manual_seed(seed + view.index)
    losses: list[float] = []
    with _trained(factors), torch.enable_grad():
        optimizer = torch.optim.Adam([{"params": [one], "scale": _spread(one)} for one in factors], lr=rate)
        for step in range(steps):
            place = int(torch.randint(len(view.calls), (1,), generator=generator))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"] * _schedule(step, steps)
            loss = _loss(view, dense, place, fast)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
    tail = losses[-max(1, steps // 4) :]
    return sum(tail) / len(tail)


def _spread(values: Tensor) -> float:
    """How large a factor's entries are: its steps are in proportion."""
    return max(1e-6, float(values.detach().square().mean().sqrt()))


def _schedule(step: int, steps: int) -> float:
    rise = min(1.0, (step + 1) / max(1.0, WARM * steps))
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def _loss(view: BlockView, dense: DensePath, place: int, fast: bool) -> Tensor:
    hidden = dense.hidden[place]
    wanted = dense.outputs(view, place, fast).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        found = view.run(place).float()
    lost = (found - wanted).square()
    scale = (wanted - hidden.float()).square()
    mask = next((one for one in view.masks[place] if one.shape == lost.shape[:-1]), None)
    if mask is not None:
        lost, scale = lost[mask], scale[mask]
    return lost.sum() / scale.sum().clamp(min=1e-12)


@contextmanager
def _trained(factors: list[nn.Parameter]) -> Iterator[None]:
    for one in factors:
        one.requires_grad_(True)
    try:
        yield
    finally:
        for one in factors:
            one.requires_grad_(False)
            one.grad = None
