"""What the inputs of linear layers are like on calibration data, accumulated while the model runs.

S = Σ x xᵀ over the tokens that are no padding (Frantar et al. 2022, arXiv:2210.17323, eq. 1 with H = 2S); of an expert,
over the tokens that were routed to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.errors import CalibrationError
from pocketlm.model.anatomy import is_linear
from pocketlm.model.experts import RoutedExperts

# Columns of S that are summed together.
STRIP = 256
# How many times the median energy of tokens one of them may have in S.
LARGEST = 16.0


@dataclass
class Moments:
    """What one linear layer's input is like. s: Σ x xᵀ, float32 (in, in). tokens: how many. absmax, abssum: (in,)."""

    s: Tensor
    tokens: int
    absmax: Tensor
    abssum: Tensor

    @classmethod
    def empty(cls, width: int) -> Moments:
        """Of no token yet."""
        return cls(torch.zeros(width, width), 0, torch.zeros(width), torch.zeros(width))

    @classmethod
    def unknown(cls, width: int) -> Moments:
        """Of a layer that no token reached: every input alike, so that a method falls back on the weights alone."""
        return cls(torch.eye(width), 0, torch.ones(width), torch.ones(width))

    def add(self, inputs: Tensor, level: bool = True) -> None:
        """Take (tokens, in) more into account; level: in S, those with massive activations no more than `LARGEST`."""
        if not len(inputs):
            return
        exact = inputs.float()
        weights = massive_weights(exact) if level else None
        add_outer(self.s, exact if weights is None else exact * weights.sqrt()[:, None])
        magnitude = exact.abs()
        self.absmax = torch.maximum(self.absmax, magnitude.amax(0))
        self.abssum += magnitude.sum(0)
        self.tokens += len(inputs)

    @property
    def mean(self) -> Tensor:
        """S over tokens: (in, in)."""
        return self.s / max(1, self.tokens)

    @property
    def norms(self) -> Tensor:
        """‖x_j‖₂ of every input feature: (in,), as Wanda takes it."""
        return self.s.diagonal().sqrt()

    def ridged(self, share: float) -> Moments:
        """With a share of the mean of diag S added to it: as if inputs came from every direction, too."""
        return replace(self, s=self.s + share * self.s.diagonal().mean() * torch.eye(len(self.s)))

    def through(self, right: Tensor) -> Moments:
        """Moments of x Rᵀ, for the layer that reads a low-rank factor's output. right: (rank, in)."""
        inner = Moments.empty(right.shape[0])
        inner.s, inner.tokens = right @ self.s @ right.t(), self.tokens
        spread = inner.s.diagonal().clamp(min=0).div(max(1, self.tokens)).sqrt()
        inner.absmax, inner.abssum = spread * 4, spread * self.tokens * 0.8
        return inner


def massive_weights(inputs: Tensor) -> Tensor | None:
    """Weights (tokens,) of the rows of inputs that keep any from counting more than `LARGEST` median ones; or None.

    The first token of a text often carries activations a thousand times the others' energy (Sun et al. 2024,
    arXiv:2402.17762). Norms hide them from the loss; unweighted they alone would decide what a layer is fitted to.
    """
    energy = torch.linalg.vector_norm(inputs.float(), dim=1).square()
    most = LARGEST * energy.median()
    return (most / energy).clamp(max=1.0) if bool(most > 0) and bool((energy > most).any()) else None


def add_outer(s: Tensor, inputs: Tensor) -> None:
    """Add XᵀX of inputs X (tokens, in) to the symmetric `s` in place.

    In float32 whatever the inputs are, as a sum rounded to bfloat16 need not be positive definite; above the diagonal
    only, and mirrored, which makes up for most of what that costs.
    """
    with torch.autocast("cpu", enabled=False):
        exact = inputs.float()
        for start in range(0, len(s), STRIP):
            end = start + STRIP
            s[start:end, start:].addmm_(exact[:, start:end].t(), exact[:, start:])
            s[end:, start:end] = s[start:end, end:].t()


@dataclass
class Statistics:
    """Moments of linear layers by name; layers that read the same tensor share theirs."""

    moments: dict[str, Moments] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Moments:
        if name not in self.moments:
            raise CalibrationError(f"layer {name}: no calibration token reached it")
        return self.moments[name]

    def __contains__(self, name: str) -> bool:
        return name in self.moments and self.moments[name].tokens > 0


@contextmanager
def collecting(
    named: Mapping[str, nn.Module], statistics: Statistics, masks: Sequence[Tensor], memory: Tensor | None = None
) -> Iterator[None]:
    """While open, the inputs of the linear layers in `named` are added to `statistics`.

    named: layers, and mixtures of experts that route tokens to some of them. masks: of the batch, true where no padding
    is; one whose shape an input has says which of its tokens count. memory: an encoder's output that a decoder reads.
    """
    last: list[Any] = [None, None]
    routed: dict[int, Tensor] = {}

    def listen(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs = given[0]
            own = statistics.moments.get(name)
            if last[0] is inputs and last[1] is not None and (own is None or own is last[1]):
                statistics.moments[name] = last[1]  # q, k and v read one tensor: it is added once
                return
            if own is None:
                own = statistics.moments[name] = Moments.empty(inputs.shape[-1])
            if id(module) in routed:
                own.add(inputs[routed[id(module)]])
            else:  # masks are in the order encoder, decoder: where both have one shape, the reader's own counts
                own.add(tokens_of(inputs, masks if memory is None or inputs is memory else masks[::-1]))
            last[0], last[1] = inputs, own

        return hook

    def route(module: RoutedExperts, given: tuple[Tensor, ...]) -> None:
        hidden, routes, weights = given
        real = counted(hidden, masks)
        for number, tokens, _ in module.routed(routes, weights):
            routed.update({id(child): real[tokens] for child in module[number].modules() if is_linear(child)})

    handles = [module.register_forward_pre_hook(listen(name)) for name, module in named.items() if is_linear(module)]
    handles += [one.register_forward_pre_hook(route) for one in named.values() if isinstance(one, RoutedExperts)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def counted(inputs: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """Which of the inputs (…, features) are no padding: bool (…)."""
    for mask in masks:
        if inputs.shape[:-1] in (mask.shape, (mask.numel(),)):
            return mask.reshape(inputs.shape[:-1])
    return torch.ones(inputs.shape[:-1], dtype=torch.bool)


def tokens_of(inputs: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """The inputs that are no padding, as (tokens, features)."""
    kept = counted(inputs, masks)
    return inputs.reshape(-1, inputs.shape[-1]) if bool(kept.all()) else inputs[kept]
