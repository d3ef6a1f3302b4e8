"""What a block did before a pass changed anything: the dense model's stream beside the compressed one.

Targets are the dense model's outputs on its own inputs x*, so that a layer also makes up for what the layers before
it lost: min ‖W X* − Ŵ X‖² has the moments S = Σ x xᵀ and C = Σ x* xᵀ, and without limits on Ŵ its solution W C S⁻¹
(as GPTAQ, Li et al. 2025, arXiv:2504.02692).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.masks import damped
from pocketlm.compress.moments import Moments, tokens_of
from pocketlm.compress.walk import BlockView, first_tensor, precision
from pocketlm.model.anatomy import is_linear


@dataclass
class DenseStream:
    """Hidden states of the model as the pass was given it, a tensor a batch; `outputs` those after the block."""

    stack: str | None = None
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)

    def enter(self, view: BlockView) -> None:
        """Move to the next block of the walk, before it is changed."""
        stack = view.name.rpartition(".")[0]
        if stack != self.stack:
            self.stack, self.outputs = stack, [view.inputs[place] for place in range(len(view.calls))]
        self.inputs, self.outputs = self.outputs, []


def token_weights(hidden: Tensor) -> Tensor:
    """How much each token (…, tokens, width) counts: the inverse of its mean square, of mean 1.

    The blocks behind normalize each token, so errors count in proportion; unweighted, the few tokens with massive
    activations (Sun et al. 2024, arXiv:2402.17762) would be all that counts.
    """
    power = hidden.float().square().mean(-1)
    inverse = 1 / (power + 0.05 * power.median())
    return inverse / inverse.mean()


def both_moments(view: BlockView, stream: DenseStream, fast: bool) -> dict[str, tuple[Moments, Tensor]]:
    """Moments of the linears' inputs in the stream of the walk, tokens weighted, and C, by full name.

    Of those only whose inputs are one a token of the stream: no expert's, and no encoder's states.
    """
    found: dict[str, tuple[Moments, Tensor]] = {}
    for place, call in enumerate(view.calls):
        masks = view.masks[place]
        with precision(fast), _heard(view.module) as wanted:
            out = first_tensor(view.module(stream.inputs[place], *call.args, **call.kwargs))
        stream.outputs.append(out)
        weights = token_weights(out)
        scale = tokens_of(weights[..., None], masks).sqrt()
        with precision(fast), _heard(view.module) as given:
            view.run(place)
        seen: dict[int, str] = {}
        for name, inputs in given.items():
            twin, full = wanted[name], f"{view.name}.{name}"
            if inputs.shape != twin.shape or inputs.shape[:-1] != weights.shape:
                continue
            if id(inputs) in seen:  # q, k and v read one tensor: it is added once
                found[full] = found[seen[id(inputs)]]
                continue
            seen[id(inputs)] = full
            rows, others = (tokens_of(one, masks).float() * scale for one in (inputs, twin))
            moments, cross = found.setdefault(full, (Moments.empty(rows.shape[1]), torch.zeros_like(rows[0]).diag()))
            moments.add(rows, level=False)
            cross += others.t() @ rows
    return found


@contextmanager
def _heard(block: nn.Module) -> Iterator[dict[str, Tensor]]:
    """While open, what each linear layer of a block is given is put under its name."""
    found: dict[str, Tensor] = {}

    def listen(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[name] = given[0]

        return hook

    handles = [
        child.register_forward_pre_hook(listen(name)) for name, child in block.named_modules() if is_linear(child)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def corrected(weight: Tensor, s: Tensor, cross: Tensor, share: float, damping: float = 0.01) -> Tensor:
    """W moved by `share` of the way to W C S⁻¹, which makes up for what the layers before have lost."""
    moved: Tensor = torch.linalg.solve(damped(s, damping), ((weight @ (cross - s)) * share).t()).t()
    return weight + moved


def tune_block(
    view: BlockView, stream: DenseStream, tuned: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor], *,
    epochs: int, rate: float, fast: bool, sequences: int = 4,
) -> tuple[float, float]:  # fmt: skip
    """Adam on the parameters `tuned` until the block's outputs are near to the dense ones; weights off `masks` stay.

    The loss is the squared error over the squared size of each token. Returns it for the first and last epoch.
    """
    for parameter in tuned.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(tuned.values(), lr=rate, betas=(0.9, 0.95))
    parts = [
        (place, start) for place in range(len(view.calls)) for start in range(0, len(stream.outputs[place]), sequences)
    ]
    total, step, losses = epochs * len(parts), 0, []
    for _ in range(epochs):
        summed = 0.0
        for place, start in parts:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 8) * (1 - step / total)
            loss = _part_loss(view, stream, place, slice(start, start + sequences), fast)
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


def _part_loss(view: BlockView, stream: DenseStream, place: int, rows: slice, fast: bool) -> Tensor:
    """The relative squared error of some sequences of a batch."""
    count = len(stream.outputs[place])

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows] if value.dim() > 1 and len(value) == count > 1 else value
        if isinstance(value, tuple):
            return tuple(cut(one) for one in value)
        return value

    call = view.calls[place]
    kwargs = {name: cut(value) for name, value in call.kwargs.items()}
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        out = first_tensor(view.module(view.inputs[place][rows], *cut(tuple(call.args)), **kwargs)).float()
    wanted = stream.outputs[place][rows].float()
    weights = token_weights(wanted)
    keep = next((mask[rows] for mask in view.masks[place] if mask.shape == stream.outputs[place].shape[:-1]), None)
    if keep is not None:
        weights = weights * keep
    return ((out - wanted).square().mean(-1) * weights).sum() / (wanted.square().mean(-1) * weights).sum()
