"""Tune a block so that it puts out what the dense one did, with the weights that a pass left it.

The loss is Σ_t ‖B̂(x̂)_t − B(x)_t‖² over tokens, each weighted by the inverse of its size, and no gradient crosses a
block (BRECQ, Li et al. 2021, arXiv:2102.05426).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pocketlm.compress.walk import BlockView, first_tensor, part_of, stream_mask


def token_weights(hidden: Tensor) -> Tensor:
    """How much each token (…, tokens, width) counts: the inverse of its mean square, of mean 1.

    The blocks behind normalize each token, so errors count in proportion; unweighted, the few tokens with massive
    activations (Sun et al. 2024, arXiv:2402.17762) would be all that counts.
    """
    power = hidden.float().square().mean(-1)
    inverse = 1 / (power + 0.05 * power.median())
    return inverse / inverse.mean()


def tune_block(
    view: BlockView, goal: list[Tensor], tuned: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor], *,
    epochs: int, rate: float, fast: bool, sequences: int = 4,
) -> tuple[float, float]:  # fmt: skip
    """Adam on the parameters `tuned` until the block's outputs are near to the dense ones; weights off `masks` stay.

    The loss is the squared error over the squared size of each token. Returns it for the first and last epoch.
    """
    for parameter in tuned.values():
        parameter.data = parameter.data.clone()  # a draft shares its model's weights
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(tuned.values(), lr=rate, betas=(0.9, 0.95))
    parts = [(place, start) for place in range(len(view.calls)) for start in range(0, len(goal[place]), sequences)]
    total, step, losses = epochs * len(parts), 0, []
    for _ in range(epochs):
        summed = 0.0
        for place, start in parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 8) * (1 - step / total)
            loss = _part_loss(view, goal, place, slice(start, start + sequences), fast)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for name, mask in masks.items():
                gradient = tuned[name].grad
                if gradient is not None:
                    gradient.mul_(mask)
            optimizer.step()
            summed, step = summed + loss.item(), step + 1
        losses.append(summed / len(parts))
    for parameter in tuned.values():
        parameter.requires_grad_(False)
        parameter.grad = None
    return losses[0], losses[-1]


def _part_loss(view: BlockView, goal: list[Tensor], place: int, rows: slice, fast: bool) -> Tensor:
    """The relative squared error of some sequences of a batch."""
    call = part_of(view.calls[place], rows, len(goal[place]))
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        out = first_tensor(view.module(view.inputs[place][rows], *call.args, **call.kwargs)).float()
    wanted = goal[place][rows].float()
    weights = token_weights(wanted)
    mask = stream_mask(view, place)
    if mask is not None:
        weights = weights * mask[rows]
    return ((out - wanted).square().mean(-1) * weights).sum() / (wanted.square().mean(-1) * weights).sum()
