"""Activation-aware scales before rounding: input channels that carry much are given finer steps.

s_j = (mean |x_j|)^α / (mean |w_j|)^(1−α) or s_j = (mean |x_j|)^α, α from a grid by the error of the layers that read
the channel, ‖(W − Q(W · s) / s) X‖² = tr((W − Ŵ) S (W − Ŵ)ᵀ) (AWQ: Lin et al. 2023, arXiv:2306.00978). 1/s goes into
the layer before where it can (`folding`), else it is kept beside the weight. The scaled weight is then rounded to a
grid clipped to the least error weighted by the diagonal of S; a group for which no scales do better keeps none, so
that the layer's error is never above that of clipped rounding alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.folding import (
    Group,
    Source,
    fold,
    input_groups,
    plain_values,
    scaled_moments,
    shared_scales,
    source_of,
)
from pocketlm.compress.grid import Grid, grid_for
from pocketlm.compress.moments import Moments
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.targets import leaves, pack_layer, relative_error, select, setting_for, share_ties
from pocketlm.compress.visits import QUANTIZED
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import ScaledWeight

FOLDED, KEPT, NONE = "folded", "beside the weight", "none"


@dataclass(frozen=True)
class Rounder:
    """How matrices are rounded. bits: of each reader. Calling it gives the weight on its grid."""

    group_size: int
    symmetric: bool

    def grid(self, matrix: Tensor, bits: int, moments: Moments, clip: bool) -> Grid:
        """The grid for a matrix whose inputs have these moments."""
        importance = moments.mean.diagonal().clamp(min=1e-12)
        return grid_for(matrix, bits, self.group_size, self.symmetric, clip, importance)

    def weight(self, matrix: Tensor, bits: int, moments: Moments, clip: bool) -> GridWeight:
        """The matrix on that grid."""
        grid = self.grid(matrix, bits, moments, clip)
        return grid.weight(grid.codes(matrix))

    def error(self, matrix: Tensor, bits: int, moments: Moments, scales: Tensor, clip: bool) -> float:
        """‖(W − Q(W · s) / s) X‖²; moments: of X, not divided by the scales."""
        found = self.weight(matrix * scales, bits, scaled_moments(moments, scales), clip).matrix() / scales
        lost = matrix - found
        return float(((lost @ moments.s) * lost).sum())


def search_scales(
    matrices: list[tuple[Tensor, int]], moments: Moments, rounder: Rounder, source: Source | None, steps: int
) -> Tensor:
    """The scales (in,) with the least summed error of matrices (each with its bits) that read one input; maybe ones."""
    ones = torch.ones(matrices[0][0].shape[1])
    activity = (moments.abssum / max(1, moments.tokens)).clamp(min=1e-4)
    size = torch.cat([matrix for matrix, _ in matrices]).abs().mean(0).clamp(min=1e-5)

    def total(scales: Tensor, clip: bool) -> float:
        return sum(rounder.error(matrix, bits, moments, scales, clip) for matrix, bits in matrices)

    best, least = ones, total(ones, False)
    for step in range(1, steps + 1):
        alpha = step / steps
        for tried in (activity.pow(alpha), activity.pow(alpha) / size.pow(1 - alpha)):
            scales = tried / (tried.max() * tried.min()).sqrt()
            scales = 1 / (1 / shared_scales(source, scales)).half().float()  # as it would be stored beside the weight
            error = total(scales, False)
            if error < least and bool(scales.isfinite().all()):
                best, least = scales, error
    # the search is without clipping, which takes long; what is kept is what is better with it
    return best if best is ones or total(best, True) < total(ones, True) else ones


@dataclass(frozen=True)
class ActivationAware:
    """Scale input channels by how much they carry, clip, and round to a grid.

    bits: 2 to 8, or a mapping from layer patterns to bits. group_size: columns that share a scale; 0: a row.
    symmetric: whether the grid is centred on 0. steps: values of α that are tried. clip: search the clipping.
    keep: whether scales that no layer before can take are kept beside the weight; otherwise such layers have none.
    layers, exclude: groups such as "blocks", or name patterns, of layers in blocks.
    """

    name: ClassVar[str] = "awq"
    kind: ClassVar[str] = "quantize"
    bits: int | Mapping[str, int] = 4
    group_size: int = 64
    symmetric: bool = False
    steps: int = 10
    clip: bool = True
    keep: bool = True
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bits(self.bits, self.group_size)
        if self.group_size < 0:
            raise ValueError(f"group_size is a number of columns or 0 for a row, got {self.group_size}")
        if self.steps < 1:
            raise ValueError(f"steps are at least 1, got {self.steps}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers scaled and quantized."""
        chosen = {layer.name for layer in select(model, self.layers, self.exclude)}

        def visit(view: BlockView) -> None:
            done: dict[str, tuple[str, Moments, Tensor]] = {}
            for group in reversed(input_groups(view)):  # rows of the layer before change before its own search
                done |= self._scale(model, view, group, chosen)
            for name in view.linears():
                if name in chosen and name in done:
                    self._round(model, name, *done[name], context)

        walk(
            model, context.calibrated(self.name), visit, fast=context.fast, disk=context.disk,
            progress=context.ticks(self.name),
        )  # fmt: skip
        for name in sorted(chosen - context.journal.layers.keys()):
            context.journal.left(name, "is in no block, or no calibration token reached it")
        share_ties(model)
        return model

    def _scale(
        self, model: Model, view: BlockView, group: Group, chosen: set[str]
    ) -> dict[str, tuple[str, Moments, Tensor]]:
        """Scale the readers of one input, in place: by name, where 1/s went, the moments from now on, and s."""
        values = [plain_values(model.module.get_submodule(name)) for name in group.names]
        ones = torch.ones(len(group.moments.absmax))
        untouched = {name: (NONE, group.moments, ones) for name in group.names}
        plain = [one for one in values if one is not None]
        source = source_of(model.spec.model_type, view, group)
        mine = [name in chosen for name in group.names]
        if len(plain) < len(values) or not any(mine) or (source is None and not self.keep):
            return untouched
        matrices = [
            (one.detach().float(), setting_for(self.bits, name))
            for one, name, own in zip(plain, group.names, mine, strict=True)
            if own
        ]
        rounder = Rounder(self.group_size, self.symmetric)
        scales = search_scales(matrices, group.moments, rounder, source, self.steps)
        if torch.equal(scales, ones):
            return untouched
        if source is not None:
            fold(view.module, source, scales)
        moments = scaled_moments(group.moments, scales)
        with torch.no_grad():
            for one, own in zip(plain, mine, strict=True):
                if own or source is not None:
                    one.data = one * scales
        return {name: (FOLDED if source else KEPT, moments, scales) for name in group.names}

    def _round(self, model: Model, name: str, where: str, moments: Moments, scales: Tensor, context: Context) -> None:
        layer, bits = pack_layer(model.module, name), setting_for(self.bits, name)
        rounder, found = Rounder(self.group_size, self.symmetric), list(leaves(name, layer, moments))
        for leaf in found:
            assert leaf.moments is not None
            weight = rounder.weight(leaf.matrix, bits, leaf.moments, self.clip)
            error = relative_error(leaf.matrix, weight.matrix(), leaf.moments)
            leaf.put(ScaledWeight(weight, (1 / scales).half()) if where == KEPT else weight)
            context.journal.layer(leaf.name, "quantized", error, bits=bits, scales=where)
        if found:
            context.journal.promise(name, "bits", bits)
        else:
            context.journal.left(name, QUANTIZED)
