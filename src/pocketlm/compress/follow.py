"""What a block's layers should add so that a smaller model follows the one it was made from.

The whole model's hidden states run beside the smaller one's. A layer that adds to the stream of hidden states is
fitted in closed form to what it added in the whole model plus what the stream has lost so far, given the inputs it has
now (as GPTAQ, Li et al. 2025, arXiv:2504.02692, corrects quantized layers): min ‖Y − WX‖², Y = out + (h − ĥ).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.sublayers import Sublayer
from pocketlm.compress.walk import BlockView, first_tensor, precision
from pocketlm.model.pretrained import Model


@dataclass
class Fit:
    """Sums over tokens: s of x xᵀ (in, in), cross of y xᵀ (out, in), y without the layer's bias."""

    s: Tensor
    cross: Tensor


@contextmanager
def _heard(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """While open, the last input and output of each of these layers of a block."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def listen(name: str) -> Any:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = (given[0], output)

        return hook

    handles = [module.get_submodule(name).register_forward_hook(listen(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


class Follower:
    """Runs the whole model's blocks beside those of the smaller one, one block at a time.

    whole: the model before anything was removed. parts: of a block, in the order they run and all that add to the
    stream. stream: whether what the stream has lost counts, or each layer is only to do what it did.
    """

    def __init__(self, whole: Model, fast: bool, stream: bool) -> None:
        self.whole, self.fast, self.stream = whole, fast, stream
        self.hidden: list[Tensor] = []
        self.stack = ""
        self.added: list[list[Tensor]] = []
        self.before: list[Tensor] = []

    def enter(self, view: BlockView, parts: Sequence[Sublayer]) -> None:
        """Run the whole model's block on its own hidden states; what its parts add is kept until the next."""
        if parts[0].stack != self.stack:
            self.stack, self.hidden = parts[0].stack, [view.inputs[place] for place in range(len(view.calls))]
        block = self.whole.module.get_submodule(view.name)
        names = [one.part.output for one in parts]
        self.added, self.before = [], self.hidden
        after = []
        for place, call in enumerate(view.calls):
            with precision(self.fast), _heard(block, names) as heard:
                after.append(first_tensor(block(self.hidden[place], *call.args, **call.kwargs)))
            self.added.append([heard[name][1] for name in names])
        self.hidden = after

    def fit(self, view: BlockView, parts: Sequence[Sublayer], number: int) -> Fit:
        """What the part of this number should do, given the block as it is now."""
        names = [one.part.output for one in parts[: number + 1]]
        layer: Any = view.module.get_submodule(names[-1])
        fit = Fit(torch.zeros(layer.in_features, layer.in_features), torch.zeros(layer.out_features, layer.in_features))
        for place in range(len(view.calls)):
            with precision(self.fast), _heard(view.module, names) as heard:
                view.run(place)
            inputs, wanted = heard[names[-1]][0].float(), self.added[place][number].float()
            if self.stream:
                wanted = wanted + self.before[place].float() - view.inputs[place].float()
                for before, name in enumerate(names[:-1]):
                    wanted = wanted + self.added[place][before].float() - heard[name][1].float()
            if layer.bias is not None:
                wanted = wanted - layer.bias
            mask = next((one for one in view.masks[place] if one.shape == inputs.shape[:-1]), None)
            inputs, wanted = (
                (one.reshape(-1, one.shape[-1]) if mask is None else one[mask]) for one in (inputs, wanted)
            )
            fit.s += inputs.t() @ inputs
            fit.cross += wanted.t() @ inputs
        return fit
