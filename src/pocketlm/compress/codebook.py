"""Quantization to levels that need not lie evenly: normal-float, or learnt from the weights by Lloyd's algorithm.

NFk (Dettmers et al. 2023, arXiv:2305.14314): levels are quantiles of a normal distribution, scaled to [-1, 1], with
an exact 0; a group's scale is its largest magnitude. k-means (Lloyd 1982; on weights, Han et al. 2016,
arXiv:1510.00149): levels minimize Σ h (w − l)², where h is 1, or the mean square of the weight's input on
calibration text, which is the diagonal of the layer's own error. Group scales are then fitted to the codes by least
squares, s = Σ h w l / Σ h l², and codes, levels and scales take turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.grid import split_groups
from pocketlm.compress.moments import Moments
from pocketlm.compress.parallel import Task
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.targets import Leaf, relative_error, select, setting_for, zeros_of
from pocketlm.compress.visits import visit_leaves
from pocketlm.model.code_weights import CodebookWeight
from pocketlm.model.pretrained import Model

ITERATIONS = 30
# Turns of fitting scales after the first levels: more change the third digit of the error.
TURNS = 3
# Below this, float16 loses digits.
LEAST_SCALE = 6.2e-5


def normal_levels(bits: int) -> Tensor:
    """The 2^bits levels of NFk, ascending from -1 to 1, one of them 0; those of NF4 for 4 bits."""
    count, normal = 2**bits, NormalDist()
    outer = 1 - (1 / (2 * (count - 1)) + 1 / (2 * count)) / 2
    above = [normal.inv_cdf(float(one)) for one in torch.linspace(outer, 0.5, count // 2 + 1, dtype=torch.float64)[:-1]]
    below = [-normal.inv_cdf(float(one)) for one in torch.linspace(outer, 0.5, count // 2, dtype=torch.float64)[:-1]]
    levels = torch.tensor(sorted([*above, 0.0, *below]), dtype=torch.float64)
    return (levels / levels.max()).float()


def lloyd(values: Tensor, weights: Tensor, levels: Tensor, keep_zero: bool, iterations: int = ITERATIONS) -> Tensor:
    """Levels (rows, count) that lower Σ weights · (values − nearest level)² of each row; never more of it than before.

    values, weights: (rows, many). levels: where to begin, ascending. keep_zero: one level is exactly 0.
    """
    values, order = values.sort(1)
    weights = weights.expand(values.shape).gather(1, order).double()
    zero = torch.zeros(len(values), 1, dtype=torch.float64)
    mass = torch.cat([zero, weights.cumsum(1)], 1)
    moment = torch.cat([zero, (weights * values).cumsum(1)], 1)
    ends = torch.tensor([[0, values.shape[1]]]).expand(len(values), 2)
    for _ in range(iterations):
        middles = ((levels[:, 1:] + levels[:, :-1]) / 2).contiguous()
        cuts = torch.cat([ends[:, :1], torch.searchsorted(values, middles), ends[:, 1:]], 1)
        held, total = mass.gather(1, cuts).diff(dim=1), moment.gather(1, cuts).diff(dim=1)
        found = torch.where(held > 0, total / held.clamp(min=1e-30), levels.double()).float()
        if keep_zero:
            found.scatter_(1, levels.abs().argmin(1, keepdim=True), 0.0)
        if torch.equal(found, levels):
            break
        levels = found
    return levels.sort(1).values


def nearest(values: Tensor, levels: Tensor) -> Tensor:
    """Codes (rows, many) of the nearest levels; levels (1 or rows, count), ascending."""
    middles = ((levels[:, 1:] + levels[:, :-1]) / 2).expand(len(values), -1).contiguous()
    return torch.searchsorted(middles, values.contiguous())


def fit_codebook(
    matrix: Tensor, bits: int, levels: str, rows: bool, group_size: int, importance: Tensor | None
) -> CodebookWeight:
    """The matrix by codes, levels and scales. importance: (columns,). rows: levels for each row, not for all."""
    columns = matrix.shape[1]
    size = columns if group_size <= 0 else min(group_size, columns)
    parts = split_groups(matrix, size)
    h = torch.ones(columns) if importance is None else importance / importance.mean().clamp(min=1e-30) + 1e-6
    weights = split_groups(h[None], size)
    scales = parts.abs().amax(-1, keepdim=True)
    scales = (scales.amax().expand(1, 1, 1) if group_size == -1 else scales).clamp(min=LEAST_SCALE).half().float()
    found = normal_levels(bits)[None].half().float()
    if levels == "kmeans":
        found, scales = _learn(parts, weights, scales, found, rows, zeros_of(matrix) is not None)
    codes = nearest((parts / scales).flatten(1), found)[:, :columns].to(torch.uint8)
    return CodebookWeight(codes, found.half(), scales[..., 0].half(), size)


def _learn(
    parts: Tensor, weights: Tensor, scales: Tensor, levels: Tensor, rows: bool, keep_zero: bool
) -> tuple[Tensor, Tensor]:
    """Levels and scales, as float16 holds them, that lower the weighted squared error: the best of all turns."""
    real = parts != 0 if keep_zero else torch.ones_like(parts, dtype=torch.bool)
    start = levels.expand(len(parts), -1) if rows else levels
    best, best_levels, best_scales = None, start, scales
    for turn in range(TURNS + 1):
        values, h = (parts / scales).flatten(1), (weights * scales.square() * real).flatten(1)
        if not rows:
            values, h = values.reshape(1, -1), h.reshape(1, -1)
        start = lloyd(values, h, start, keep_zero).half().float()
        shape = parts.flatten(1).shape
        held = start.expand(len(parts), -1).gather(1, nearest(values.reshape(shape), start)).view(parts.shape)
        loss = float(((parts - held * scales).square() * weights).sum())
        if best is None or loss < best:
            best, best_levels, best_scales = loss, start, scales
        if turn < TURNS:
            fitted = (weights * parts * held).sum(-1, keepdim=True) / (weights * held.square()).sum(
                -1, keepdim=True
            ).clamp(min=1e-30)
            if len(scales) == 1:
                break
            scales = torch.where(fitted > LEAST_SCALE, fitted, scales).half().float()
    return best_levels, best_scales


@dataclass(frozen=True)
class Codebook:
    """Quantize weights to 2^bits levels that need not lie evenly.

    bits: 2 to 8, or a mapping from layer patterns to bits. levels: "nf" (normal-float) or "kmeans". scope: whose
    levels are learnt, a "tensor"'s or a "row"'s. group_size: columns that share a scale; 0: a row; -1: the matrix.
    weighted: errors count by the mean square of their inputs on calibration text ("kmeans" only). layers, exclude:
    groups ("blocks", "embeddings", "head", "all") or name patterns.
    """

    name: ClassVar[str] = "codebook"
    kind: ClassVar[str] = "quantize"
    bits: int | Mapping[str, int] = 4
    levels: str = "kmeans"
    scope: str = "tensor"
    group_size: int = 64
    weighted: bool = False
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bits(self.bits, self.group_size)
        if self.levels not in ("nf", "kmeans"):
            raise ValueError(f"levels are 'nf' or 'kmeans', got {self.levels!r}")
        if self.scope not in ("tensor", "row"):
            raise ValueError(f"scope is 'tensor' or 'row', got {self.scope!r}")
        if self.levels == "nf" and (self.weighted or self.scope == "row"):
            raise ValueError("levels 'nf' are the same for all: scope 'row' and weighted need 'kmeans'")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""

        def task(name: str, leaf: Leaf) -> Task:
            return leaf.matrix, leaf.moments, setting_for(self.bits, name), self

        def done(name: str, leaf: Leaf, found: tuple[CodebookWeight, float]) -> None:
            bits = setting_for(self.bits, name)
            leaf.put(found[0])
            context.journal.layer(leaf.name, "quantized", found[1], bits=bits, levels=self.levels)
            context.journal.promise(name, "bits", bits)

        chosen = select(model, self.layers, self.exclude)
        return visit_leaves(model, chosen, context, coded, task, done, self.name if self.weighted else None)


def coded(matrix: Tensor, moments: Moments | None, bits: int, step: Codebook) -> tuple[CodebookWeight, float]:
    """The matrix by the levels that the pass asks for, and the relative error."""
    importance = moments.mean.diagonal() if step.weighted and moments is not None else None
    weight = fit_codebook(matrix, bits, step.levels, step.scope == "row", step.group_size, importance)
    return weight, relative_error(matrix, weight.matrix(), moments)
