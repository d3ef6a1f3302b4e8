"""What each option of a matrix costs: bytes as stored, and the predicted rise of the loss. Pure functions on tensors.

With row weights r and a column metric M, an error E of the weights costs ½ Σ_i r_i · E_i M E_iᵀ nats a token. Of a
linear layer r is the energy of the loss's gradient at its outputs and M the mean of x xᵀ at its input (Martens and
Grosse 2015, arXiv:1503.05671); of an embedding r is how often a token is read and M the gradient's energy at its
output. A matrix that is both, tied, has both terms. Grids and masks are tried on some rows, drawn by their weight, so
that the mean over them, times all weights, stands for every row; ranks come from all singular values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pocketlm.compress.columns import removal_curve, stride_for
from pocketlm.compress.factors import cost, rank_for, root_of, spectrum
from pocketlm.compress.grid import grid_for
from pocketlm.compress.masks import keep_mask
from pocketlm.compress.options import Option
from pocketlm.model.tensors import expected_bits

BITS = (2, 3, 4, 5, 6, 7, 8)
GROUP = 64
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6)
RATES = (0.25, 0.5, 0.75)
# Shares of a feed-forward's units that may go, and what the units left are a multiple of.
WIDTHS, MULTIPLE = (0.125, 0.25, 0.5), 8
# Steps of entropy-coded weights, as multiples of how widely the weights of a layer spread where the loss feels them.
STEPS = (4.0, 2.8, 2.0, 1.4, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06)
# Rows of a matrix that grids and masks are tried on.
ROWS = 192
# Bytes of a group's scale and, per bit of the grid, of its zero, as they are usually coded.
SCALE_BYTES, ZERO_BYTES = 1.8, 0.11


@dataclass(frozen=True)
class Metric:
    """What an error costs. rows: (rows,) weights. columns: (columns, columns), or (columns,) its diagonal."""

    rows: Tensor
    columns: Tensor

    def errors(self, lost: Tensor) -> Tensor:
        """E_i M E_iᵀ of every row: (rows,)."""
        if self.columns.dim() == 1:
            return lost.square() @ self.columns
        return ((lost @ self.columns) * lost).sum(1)

    @property
    def diagonal(self) -> Tensor:
        """Of the column metric: (columns,)."""
        return self.columns if self.columns.dim() == 1 else self.columns.diagonal()

    def at(self, rows: Tensor) -> Metric:
        """For these rows only."""
        return Metric(self.rows[rows], self.columns)


@dataclass(frozen=True)
class Sample:
    """Rows that stand for a matrix. matrix: (drawn, columns). weights: (drawn,) by which a row's cost counts.

    metrics: of those rows. whole: the shape of the whole matrix.
    """

    matrix: Tensor
    weights: Tensor
    metrics: tuple[Metric, ...]
    whole: tuple[int, int]

    def loss(self, lost: Tensor) -> float:
        """The predicted rise of the loss for the errors (drawn, columns)."""
        each = torch.stack([metric.rows * metric.errors(lost) for metric in self.metrics]).sum(0)
        return 0.5 * float((each.double() * self.weights).sum())

    @property
    def importance(self) -> Tensor:
        """Of columns, for clipping: (columns,)."""
        return torch.stack([one.rows.mean() * one.diagonal for one in self.metrics]).sum(0).clamp(min=1e-30)

    @property
    def share(self) -> float:
        """Rows of the matrix for each one drawn."""
        return self.whole[0] / len(self.matrix)


def draw(matrix: Tensor, metrics: Sequence[Metric], rows: int = ROWS, alike: bool = False) -> Sample:
    """Rows drawn evenly along the sum of their weights: an unbiased stand-in, all rows where they are few.

    alike: every so many rows instead, for methods whose steps make all rows cost alike.
    """
    shape = (matrix.shape[0], matrix.shape[1])
    if len(matrix) <= rows:
        return Sample(matrix, torch.ones(len(matrix), dtype=torch.float64), tuple(metrics), shape)
    weights = torch.stack([one.rows * one.diagonal.clamp(min=0).sum() for one in metrics]).sum(0).double()
    weights = weights + 1e-3 * weights.mean() + 1e-300
    if alike:
        weights = torch.ones_like(weights)
    along = weights.cumsum(0)
    points = (torch.arange(rows, dtype=torch.float64) + 0.5) / rows * along[-1]
    drawn, times = torch.unique(torch.searchsorted(along, points).clamp(max=len(matrix) - 1), return_counts=True)
    chosen = times * along[-1] / (rows * weights[drawn])
    return Sample(matrix[drawn], chosen, tuple(one.at(drawn) for one in metrics), shape)


def grid_options(sample: Sample) -> list[Option]:
    """Round to nearest on clipped grids in groups of 64: an upper bound for methods that feed errors back."""
    found = []
    groups = sample.whole[0] * -(-sample.whole[1] // GROUP)
    for bits in BITS:
        grid = grid_for(sample.matrix, bits, GROUP, False, True, sample.importance)
        codes = grid.codes(sample.matrix)
        lost = grid.weight(codes).matrix() - sample.matrix
        size = expected_bits(codes) / 8 * sample.share + groups * (SCALE_BYTES + ZERO_BYTES * bits)
        found.append(Option("grid", round(size), {"grid": sample.loss(lost)}, {"bits": bits}))
    return found


def coded_options(sample: Sample) -> list[Option]:
    """Whole multiples of steps inverse to what the loss feels of a row and of a column, stored by their entropy."""
    weights = torch.stack([one.rows * one.diagonal.mean() for one in sample.metrics]).sum(0)
    diagonal = sample.importance / sample.importance.mean()
    rows = (weights + 0.01 * weights.mean()).clamp(min=1e-30).sqrt()
    columns = (diagonal + 0.01).sqrt()
    felt = sample.matrix * rows[:, None] * columns
    spread = felt.square().mean().sqrt().clamp(min=1e-30)
    found = []
    for step in STEPS:
        codes = (felt / (step * spread)).round().clamp(-32_000, 32_000)
        lost = codes * (step * spread) / rows[:, None] / columns - sample.matrix
        coded = expected_bits(codes.to(torch.int16))
        size = coded / 8 * sample.share + 1.8 * sum(sample.whole)
        bits = round(coded / codes.numel(), 3)
        if bits >= 1:  # the pass takes no mean below it
            found.append(Option("entropy-coded", round(size), {"entropy-coded": sample.loss(lost)}, {"bits": bits}))
    return found


def rank_options(matrix: Tensor, metric: Metric, finish: Sequence[Option], item_bytes: int) -> list[Option]:
    """Two factors under the whole metric; alone, then with their numbers quantized, for which both factors pay."""
    squares = spectrum(matrix, root_of(metric.columns, 0.01), root_of(metric.rows, 1e-6))
    tail = torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)])
    shape, whole = (matrix.shape[0], matrix.shape[1]), matrix.numel()
    found = []
    for share in SHARES:
        rank = rank_for(shape, int((1 - share) * whole), True)
        lost, left = 0.5 * float(tail[rank]), 1 - float(tail[rank] / tail[0].clamp(min=1e-300))
        stored = cost(shape, rank, True)
        found.append(Option("low-rank", stored * item_bytes, {"low-rank": lost}, {"share": share}))
        for one in finish:
            size = round(one.bytes * stored / whole) + 2 * shape[0]
            losses = {"low-rank": lost, one.kind: 2 * left * one.loss()}
            found.append(Option("low-rank", size, losses, {"share": share, "bits": one.settings["bits"]}))
    return found


def prune_options(sample: Sample, finish: Sequence[Option], item_bytes: int) -> list[Option]:
    """Weights of the least |w| ‖x‖ of every row go (Wanda), nothing makes up for them; alone, then quantized."""
    found = []
    scores = sample.matrix.square() * sample.importance
    whole = sample.whole[0] * sample.whole[1]
    for rate in RATES:
        mask = keep_mask(scores, rate)
        lost = sample.loss(torch.where(mask, 0.0, -sample.matrix))
        gone = 1 - float(mask.float().mean())
        bits = _entropy(gone) * whole / 8
        size = round(bits + (1 - gone) * whole * item_bytes * 0.85)
        found.append(Option("prune", size, {"prune": lost}, {"sparsity": rate}))
        for one in finish:
            losses = {"prune": lost, one.kind: (1 - gone) * one.loss()}
            size = round(bits + (1 - gone) * one.bytes)
            found.append(Option("prune", size, losses, {"sparsity": rate, "bits": one.settings["bits"]}))
    return found


def width_steps(matrix: Tensor, metric: Metric) -> list[tuple[float, float]]:
    """Shares of the columns of a feed-forward's layer out, each with what it costs that the cheapest of so many go.

    The columns left make up for them (see `columns`). Shares that leave no multiple of MULTIPLE are not offered.
    """
    units = matrix.shape[1]
    if units % MULTIPLE or metric.columns.dim() == 1:
        return []
    gram = matrix.double().t() @ (metric.rows.double()[:, None] * matrix.double())
    most = int(WIDTHS[-1] * units)
    curve = removal_curve(gram, metric.columns, MULTIPLE, most, True, stride_for(units, MULTIPLE))
    found = []
    for share in WIDTHS:
        gone = round(share * units / MULTIPLE) * MULTIPLE
        place = next((place for place, count in enumerate(curve.counts) if count >= gone), None)
        if gone and place is not None:
            found.append((gone / units, curve.costs[place]))
    return found


def _entropy(share: float) -> float:
    """Bits a place of a mask takes."""
    kept = torch.tensor([share, 1 - share]).clamp(min=1e-9)
    return float(-(kept * kept.log2()).sum())


def options_of(
    matrix: Tensor, metrics: Sequence[Metric], item_bytes: int, kinds: Sequence[str], **more: Any
) -> list[Option]:
    """All options of a matrix (rows, columns) of the kinds asked for; ranks only where there is one metric."""
    sample = draw(matrix, metrics, more.get("rows", ROWS))
    found = grid_options(sample) if "grid" in kinds else []
    if "entropy-coded" in kinds:
        found += coded_options(draw(matrix, metrics, more.get("rows", ROWS), alike=True))
    finish = [one for one in found if 1 <= one.settings["bits"] <= 6]
    if "low-rank" in kinds and len(metrics) == 1:
        found += rank_options(matrix, metrics[0], finish, item_bytes)
    if "prune" in kinds:
        found += prune_options(sample, finish, item_bytes)
    return [one for one in found if one.bytes < matrix.numel() * item_bytes]
