"""What of a compressed model can still learn, and how it is put back: plain weights, scales, norms and biases.

Codes stay as they are: of a quantized weight its scales (and steps, levels and zeros where these are floats) learn,
which is the end-to-end training of EfficientQAT (Chen et al. 2024, arXiv:2407.11062). Pruned zeros stay zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.learned_grid import Through
from pocketlm.model.layers import InputRounding, PackedLinear
from pocketlm.train.heal import RateGroup

# What may learn: everything; only scales, norms and biases; only norms and biases.
CHOICES = ("all", "scales", "norms")
# Buffers that learn where they are floats.
SCALES = ("scales", "zeros", "row_steps", "column_steps", "levels", "column_scales")
# Below this share of zeros a matrix was not pruned: its few zeros are free to move.
PRUNED = 0.02


@dataclass
class Scale:
    """A float16 buffer that learns as a float32 parameter. owner: its module."""

    owner: nn.Module
    name: str
    parameter: nn.Parameter


@dataclass
class Trainable:
    """What learns while this is in use. layers: names of the modules it belongs to."""

    weights: list[nn.Parameter]
    vectors: list[nn.Parameter]
    scales: list[Scale]
    masks: list[tuple[nn.Parameter, Tensor]]
    layers: tuple[str, ...] = ()
    hooks: list[Any] = field(default_factory=list)
    rounded: list[Any] = field(default_factory=list)

    def groups(self, rate: float, scale_rate: float, decay: float) -> list[RateGroup]:
        """Parameters by rate. scale_rate: of scales, relative to their mean size."""
        found = [RateGroup(self.weights, rate, decay), RateGroup(self.vectors, rate)]
        for one in self.scales:
            size = float(one.parameter.detach().abs().mean())
            found.append(RateGroup([one.parameter], scale_rate * max(size, 1e-8)))
        return [group for group in found if group.parameters]

    @property
    def count(self) -> int:
        """How many numbers learn."""
        return sum(one.numel() for one in self.tensors())

    def tensors(self) -> Iterator[nn.Parameter]:
        """Every parameter."""
        yield from self.weights
        yield from self.vectors
        yield from (one.parameter for one in self.scales)

    def keep_zeros(self) -> None:
        """Put pruned weights back to zero."""
        with torch.no_grad():
            for weight, mask in self.masks:
                weight.masked_fill_(mask, 0.0)

    def values(self) -> list[Tensor]:
        """A copy of everything, to restore."""
        return [one.detach().clone() for one in self.tensors()]

    def restore(self, values: list[Tensor]) -> None:
        """Put back what `values` gave."""
        with torch.no_grad():
            for one, value in zip(self.tensors(), values, strict=True):
                one.copy_(value)

    def store(self) -> None:
        """End: scales become the float16 buffers they were, rounded; nothing learns any more."""
        for scale in self.scales:
            buffer = scale.owner._buffers.get(scale.name)
            if buffer is not None:
                del scale.owner._parameters[scale.name]
                scale.owner._buffers[scale.name] = scale.parameter.detach().to(buffer.dtype)
        for layer in self.rounded:
            layer.rounding = layer.rounding.rounding
        for handle in self.hooks:
            handle.remove()
        for one in self.tensors():
            one.requires_grad_(False)


def trainable(module: nn.Module, choice: str, free: Collection[nn.Parameter] = ()) -> Trainable:
    """Make the parts of `module` that `choice` names learn; `store` ends it. free: whose zeros need not stay."""
    loose = {id(one) for one in free}
    found = Trainable([], [], [], [])
    named: set[str] = set()
    seen: set[int] = set()
    for path, child in module.named_modules():
        scales = list(_scales(child)) if choice != "norms" else []
        held = {id(scale.parameter) for scale in scales}
        own = [one for one in _own(child, choice) if id(one) not in seen | held]
        for parameter in own:
            # of its own, as a draft shares its model's weights; small steps are lost in 16 bits
            parameter.data = parameter.data.to(torch.float32, copy=True)
            seen.add(id(parameter))
            parameter.requires_grad_(True)
            if parameter.ndim > 1:
                found.weights.append(parameter)
                _hold_zeros(parameter, found, 1.0 if id(parameter) in loose else PRUNED)
            else:
                found.vectors.append(parameter)
        for scale in scales:
            _hold_zeros(scale.parameter, found, 0.0 if scale.name == "levels" else 1.0)
        found.scales += scales
        if isinstance(child, PackedLinear) and isinstance(child.rounding, InputRounding):
            found.rounded.append(child)
        if own or scales:
            named.add(path.split(".stored")[0])
    for layer in found.rounded:
        layer.rounding = Through(layer.rounding)
    found.layers = tuple(sorted(named))
    return found


def _own(child: nn.Module, choice: str) -> list[nn.Parameter]:
    """Floating-point parameters of the module itself that the choice lets learn: vectors, or all."""
    own = [one for one in child.parameters(recurse=False) if one.is_floating_point()]
    return own if choice == "all" else [one for one in own if one.ndim <= 1]


def _hold_zeros(weight: nn.Parameter, found: Trainable, least: float) -> None:
    """Zeros stay, and their gradients do not count, where they are a larger share than `least`."""
    zero = weight.detach() == 0
    if float(zero.float().mean()) > least:
        found.masks.append((weight, zero))
        found.hooks.append(weight.register_hook(lambda given: given.masked_fill(zero, 0.0)))  # type: ignore[no-untyped-call]


def _scales(child: nn.Module) -> Iterator[Scale]:
    """What scales codes: a learned grid's steps; of a stored form its float16 buffers, as parameters before them."""
    for name in (*SCALES, "steps"):
        buffer, learned = child._buffers.get(name), child._parameters.get(name)
        if learned is not None:
            yield Scale(child, name, learned)
        elif buffer is not None and buffer.is_floating_point():
            parameter = nn.Parameter(buffer.float())
            child._parameters[name] = parameter  # found before the buffer of the same name
            yield Scale(child, name, parameter)
