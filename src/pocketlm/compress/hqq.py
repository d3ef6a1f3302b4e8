"""Half-quadratic quantization: zeros fitted so that few large errors remain, in seconds and without any text.

min over z of Σ |W − s (q − z)|^p with p < 1 (Badri & Shaji 2023, "Half-Quadratic Quantization", mobiusml.github.io).
It is split by an auxiliary error E: E ← shrink(W − s (q − z)) with shrink(e) = sign(e) · max(0, |e| − |e|^(p−1) / β),
then z ← mean(q − (W − E) / s), in turns while β grows; s stays. Zeros are float16. A group keeps the turn whose error
was least, so that it is never worse than where it began: round-to-nearest with clipped scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.grid import Grid, grid_for, split_groups
from pocketlm.compress.parallel import Task
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.targets import Leaf, relative_error, select, setting_for, zeros_of
from pocketlm.compress.visits import visit_leaves
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import Model

BETA, GROWTH = 10.0, 1.01
# The paper's β is for weights whose steps are about this large.
STEP = 0.02


def shrink(errors: Tensor, beta: float, p: float) -> Tensor:
    """The proximal step of |e|^p, generalized soft thresholding."""
    size = errors.abs()
    return errors.sign() * (size - size.clamp(min=1e-8).pow(p - 1) / beta).clamp(min=0)


def half_quadratic(matrix: Tensor, grid: Grid, p: float, iterations: int) -> Grid:
    """The grid with zeros (float, as float16 holds them) that lower Σ |error|^p of every group."""
    parts = split_groups(matrix, grid.group_size)
    real = split_groups(torch.ones_like(matrix[:1]), grid.group_size)
    scale, most = grid.scales[..., None], 2**grid.bits - 1
    assert grid.zeros is not None
    zero = grid.zeros[..., None].float()

    def codes(zero: Tensor) -> Tensor:
        return (parts / scale + zero).round().clamp(0, most)

    def errors(zero: Tensor) -> Tensor:
        return (parts - scale * (codes(zero) - zero)) * real

    best = zero
    least = errors(zero).abs().pow(p).sum(-1, keepdim=True)
    beta = BETA
    for _ in range(iterations):
        # errors in units of the step that the paper's weights have: a layer's own scale must not matter
        unit = scale / STEP
        extra = shrink(errors(zero) / unit, beta, p) * unit
        zero = ((codes(zero) - (parts - extra) / scale) * real).sum(-1, keepdim=True) / real.sum(-1, keepdim=True)
        zero = zero.half().float()
        loss = errors(zero).abs().pow(p).sum(-1, keepdim=True)
        better = loss < least
        best, least = torch.where(better, zero, best), torch.where(better, loss, least)
        beta *= GROWTH
    return Grid(grid.scales, best[..., 0], grid.bits, grid.group_size)


@dataclass(frozen=True)
class HalfQuadratic:
    """Round to a grid whose zeros are fitted without data.

    bits: 2 to 8, or a mapping from layer patterns to bits. group_size: columns that share scale and zero; 0: a row.
    p: the power of an error that counts. iterations: turns. clip: begin with scales clipped to the least squared
    error. layers, exclude: groups ("blocks", "embeddings", "head", "all") or name patterns. A pruned matrix keeps
    whole zeros, as its zeros have to stay exactly 0.
    """

    name: ClassVar[str] = "hqq"
    kind: ClassVar[str] = "quantize"
    bits: int | Mapping[str, int] = 4
    group_size: int = 64
    p: float = 0.7
    iterations: int = 20
    clip: bool = True
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bits(self.bits, self.group_size)
        if self.group_size < 0:
            raise ValueError(f"group_size is a number of columns or 0 for a row, got {self.group_size}")
        if not 0 < self.p <= 1:
            raise ValueError(f"p is above 0 and at most 1, got {self.p}")
        if self.iterations < 1:
            raise ValueError(f"iterations are at least 1, got {self.iterations}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""

        def task(name: str, leaf: Leaf) -> Task:
            return leaf.matrix, setting_for(self.bits, name), self.group_size, self.clip, self.p, self.iterations

        def done(name: str, leaf: Leaf, found: tuple[GridWeight, float]) -> None:
            leaf.put(found[0])
            context.journal.layer(leaf.name, "quantized", found[1], bits=setting_for(self.bits, name))
            context.journal.promise(name, "bits", setting_for(self.bits, name))

        return visit_leaves(model, select(model, self.layers, self.exclude), context, fitted, task, done)


def fitted(
    matrix: Tensor, bits: int, group_size: int, clip: bool, p: float, iterations: int
) -> tuple[GridWeight, float]:  # fmt: skip
    """The matrix on its grid, and the relative error."""
    grid = grid_for(matrix, bits, group_size, False, clip)
    if zeros_of(matrix) is None:
        grid = half_quadratic(matrix, grid, p, iterations)
    weight = grid.weight(grid.codes(matrix))
    return weight, relative_error(matrix, weight.matrix())
