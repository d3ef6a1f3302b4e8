"""8-bit weights and 8-bit activations, as integer matrix products of a runtime take them.

Weights: symmetric, a scale a row. Activations: asymmetric uint8, one scale for all of a layer's input, found as it
comes ("dynamic") or on calibration text ("static", from the least to the greatest value or between percentiles).
Equations: Jacob et al. 2018, arXiv:1712.05877.

On x86 processors without VNNI the product of unsigned activations and signed weights adds pairs in 16 bits
(vpmaddubsw), which saturates beyond 32767: with 8-bit weights it may, and answers differ from those elsewhere. With 7
bits it cannot, as 255 · 64 · 2 = 32640. `saturated_pairs` emulates it; for the target "any" it must find none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pocketlm.compress.context import Context
from pocketlm.compress.grid import grid_for
from pocketlm.compress.targets import Leaf, leaves, pack_layer, relative_error, select, share_ties
from pocketlm.compress.visits import QUANTIZED, repeats
from pocketlm.compress.walk import BlockView, precision, walk
from pocketlm.errors import ModelError
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.layers import InputRounding, PackedLinear
from pocketlm.model.pretrained import Model

# Bits of a weight by target.
TARGETS = {"any": 7, "vnni": 8}
# Values of an input that are kept a batch for percentiles, and tokens for the emulation.
SAMPLE = 20_000
TOKENS = 16
INT16 = 32767


def saturated_pairs(inputs: Tensor, weights: Tensor) -> int:
    """How many 16-bit sums of two neighbouring products are out of range, in products of these two.

    inputs: uint8 codes (tokens, in). weights: signed codes (out, in). An odd last column has no neighbour.
    """
    even = inputs.shape[1] // 2 * 2
    pairs = inputs[:, :even].int().view(len(inputs), 1, -1, 2)
    count = 0
    for rows in torch.split(weights[:, :even].int(), 128):
        sums = (pairs * rows.view(1, len(rows), -1, 2)).sum(-1)
        count += int(((sums > INT16) | (sums < -INT16 - 1)).sum())
    return count


@dataclass
class Seen:
    """What one layer's input was like. low, high: of a batch each. values: a sample. tokens: some whole ones."""

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    tokens: list[Tensor] = field(default_factory=list)

    def add(self, inputs: Tensor) -> None:
        """Take one batch's input into account, padding included, as the runtime does."""
        rows = inputs.detach().float().reshape(-1, inputs.shape[-1])
        if not len(rows):
            return
        self.low.append(float(rows.min()))
        self.high.append(float(rows.max()))
        self.values.append(rows.reshape(-1)[:: max(1, rows.numel() // SAMPLE)].clone())
        self.tokens.append(rows[:: max(1, len(rows) // TOKENS)][:TOKENS].clone())

    def bounds(self, percentile: float) -> tuple[float, float]:
        """Least and greatest value, both sides of 0; with a percentile below 100, without the rest at either end."""
        low, high = min(self.low), max(self.high)
        if percentile < 100:
            values = torch.cat(self.values).sort().values
            rest = int(len(values) * (100 - percentile) / 200)
            low, high = float(values[rest]), float(values[-1 - rest])
        return min(low, 0.0), max(high, 0.0)

    def codes(self, low: float, high: float, tokens: Tensor) -> Tensor:
        """Whole tokens (tokens, in) as uint8 codes of a range."""
        scale, zero = scale_and_zero(low, high)
        return ((tokens / scale).round() + zero).clamp(0, 255)

    def sampled_codes(self, bounds: tuple[float, float] | None) -> Tensor:
        """The whole tokens that were kept as codes (tokens, in), of fixed bounds or of each batch's own range."""
        batches = zip(self.low, self.high, self.tokens, strict=True)
        return torch.cat(
            [self.codes(*(bounds or (min(low, 0.0), max(high, 0.0))), tokens) for low, high, tokens in batches]
        )


@contextmanager
def watching(layers: dict[str, nn.Module]) -> Iterator[dict[str, Seen]]:
    """While open, what the layers are given is added to the result, by name."""
    seen: dict[str, Seen] = {name: Seen() for name in layers}

    def listen(name: str) -> Any:
        return lambda module, given: seen[name].add(given[0])

    handles = [layer.register_forward_pre_hook(listen(name)) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """Scale and zero of 256 steps from `low`, at most 0, to `high`, at least 0."""
    scale = max((high - low) / 255, 1e-12)
    return scale, round(-low / scale)


@dataclass(frozen=True)
class Int8:
    """Weights and the inputs they are multiplied with in 8 bits.

    activations: "dynamic" or "static". percentile: of a static range; 100 is from least to greatest value, which is
    the safe choice. target: "any" processor, with 7 bits of each weight used, or only those with "vnni", with 8.
    layers, exclude: groups such as "blocks", or name patterns. Embeddings and heads get 8-bit rows only: their inputs
    stay as they are.
    """

    name: ClassVar[str] = "int8"
    kind: ClassVar[str] = "quantize"
    activations: str = "dynamic"
    percentile: float = 100.0
    target: str = "any"
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.activations not in ("dynamic", "static"):
            raise ValueError(f"activations are 'dynamic' or 'static', got {self.activations!r}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile is above 50 and at most 100, got {self.percentile}")
        if self.target not in TARGETS:
            raise ValueError(f"target is {' or '.join(map(repr, TARGETS))}, got {self.target!r}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers in 8 bits."""
        chosen = select(model, self.layers, self.exclude)
        waiting = {layer.name: layer for layer in chosen if not repeats(model, layer, chosen)}
        saturated = [0]

        def visit(view: BlockView) -> None:
            mine = {name: layer for name, layer in view.linears().items() if name in waiting}
            with watching(mine) as seen, precision(context.fast):
                for place in range(len(view.calls)):
                    view.run(place)
            for name in mine:
                saturated[0] += self._linear(model, waiting.pop(name), seen[name], context)

        walk(
            model, context.calibrated(self.name), visit, fast=context.fast, statistics=False, disk=context.disk,
            progress=context.ticks(self.name),
        )  # fmt: skip
        for layer in waiting.values():
            self._plain(model, layer, context)
        for layer in chosen:
            if first := repeats(model, layer, chosen):
                context.journal.layer(layer.name, "shares", matrix=first)
        share_ties(model)
        self._report(saturated[0], context)
        return model

    def _report(self, saturated: int, context: Context) -> None:
        context.journal.note(
            f"target {self.target}: {saturated:,} 16-bit sums of pairs saturate on calibration inputs, emulated as a "
            f"processor without VNNI adds them"
        )

    def _linear(self, model: Model, layer: LayerInfo, seen: Seen, context: Context) -> int:
        """Put one linear layer in 8 bits, in place; how many sums saturate."""
        owner = pack_layer(model.module, layer.name)
        found = list(leaves(layer.name, owner))
        if [leaf.name for leaf in found] != [layer.name] or not isinstance(owner, PackedLinear):
            why = f"{QUANTIZED}, or is a product or a sum, whose parts can be rounded by round-to-nearest"
            context.journal.left(layer.name, why)
            return 0
        if not seen.low:
            context.journal.left(layer.name, "no calibration token reached it")
            return 0
        weight = self._round(found[0], layer, TARGETS[self.target], context)
        bounds = seen.bounds(self.percentile) if self.activations == "static" else None
        owner.rounding = InputRounding(True, *scale_and_zero(*bounds)) if bounds else InputRounding(False)
        return saturated_pairs(seen.sampled_codes(bounds), weight.codes.int() - 2 ** (weight.bits - 1))

    def _plain(self, model: Model, layer: LayerInfo, context: Context) -> None:
        """8-bit rows of what is in no block, in place."""
        owner = pack_layer(model.module, layer.name)
        found = list(leaves(layer.name, owner))
        for leaf in found:
            self._round(leaf, layer, 8, context)
        if not found:
            context.journal.left(layer.name, QUANTIZED)

    def _round(self, leaf: Leaf, layer: LayerInfo, bits: int, context: Context) -> GridWeight:
        grid = grid_for(leaf.matrix, bits, 0, True)
        weight = grid.weight(grid.codes(leaf.matrix))
        if not bool(weight.matrix().isfinite().all()):
            raise ModelError(f"layer {leaf.name}: its weights are beyond what float16 scales hold")
        leaf.put(weight)
        error = relative_error(leaf.matrix, weight.matrix())
        context.journal.layer(leaf.name, "quantized", error, bits=bits)
        context.journal.promise(layer.name, "bits", bits)
        return weight
