"""A loss on logits, a few places at a time, whose gradient is taken at once.

Of a vocabulary of 50,000 the logits of 2,048 places are 400 MB, and a loss goes over them several times. A part of
them stays in the processor's cache, its log shares are made once, and only the gradient is kept for the way back
(as fused losses do: Hsu et al. 2024, arXiv:2410.10989).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Numbers of a part: 25 MB in float32, which the allocator of the C library uses again without asking the system.
NUMBERS = 1 << 22 | 1 << 21

Loss = Callable[[Tensor, slice], Tensor]


def in_parts(logits: Tensor, loss: Loss) -> Tensor:
    """The sum of loss(logits[part], part) over parts of the places. logits: (places, classes)."""
    found: Tensor = _Parts.apply(logits, loss)  # type: ignore[no-untyped-call]
    return found


class _Parts(torch.autograd.Function):
    """The sum, and the gradient it found on its way."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, loss: Loss) -> Tensor:
        """The sum of all parts' losses."""
        total, step = torch.zeros(()), max(1, NUMBERS // logits.shape[-1])
        asked = ctx.needs_input_grad[0]
        gradient = torch.empty_like(logits) if asked else None
        for at in range(0, len(logits), step):
            part = slice(at, min(at + step, len(logits)))
            own = logits[part].detach().requires_grad_(asked)
            with torch.set_grad_enabled(asked):
                value = loss(own, part)
            if gradient is not None:
                (gradient[part],) = torch.autograd.grad(value, own)
            total += value.detach()
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None]:
        """What was found, times what comes from above."""
        gradient, ctx.gradient = ctx.gradient, None  # written over: it serves once
        return gradient.mul_(given), None
