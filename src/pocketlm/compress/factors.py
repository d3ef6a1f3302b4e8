"""Low-rank factors of a matrix under a metric, and what they cost. Pure functions on tensors.

With S = Σ x xᵀ of the inputs and G = Σ g gᵀ of the output's gradients, the rank-r matrix with the least
tr[G (W − Ŵ) S (W − Ŵ)ᵀ] is G^{-½} [G^{½} W S^{½}]_r S^{-½}, and dropping the singular value σ_i costs σ_i². Without G
this is truncation-aware whitening (SVD-LLM, Wang et al. 2024, arXiv:2403.07378), with a diagonal G and no S it is
FWSVD (Hsu et al. 2022, arXiv:2207.00112), with both it is the Kronecker-factored form of the loss's curvature
(Martens & Grosse 2015, arXiv:1503.05671; GFWSVD, Chekalina et al. 2025, arXiv:2505.17974).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlm.model.pivots import PivotWeight
from pocketlm.model.weights import DenseWeight, ProductWeight


@dataclass(frozen=True)
class Root:
    """A square root of a metric: half · halfᵀ is the metric. half: (n, n) lower triangular, or (n,) its diagonal."""

    half: Tensor

    def left(self, matrix: Tensor) -> Tensor:
        """The metric's halfᵀ · matrix."""
        return self.half[:, None] * matrix if self.half.dim() == 1 else self.half.t() @ matrix

    def right(self, matrix: Tensor) -> Tensor:
        """The matrix · half."""
        return matrix * self.half if self.half.dim() == 1 else matrix @ self.half

    def undo_left(self, matrix: Tensor) -> Tensor:
        """The metric's halfᵀ⁻¹ · matrix."""
        if self.half.dim() == 1:
            return matrix / self.half[:, None]
        solved: Tensor = torch.linalg.solve_triangular(self.half.t(), matrix, upper=True)
        return solved

    def undo_right(self, matrix: Tensor) -> Tensor:
        """The matrix · half⁻¹."""
        if self.half.dim() == 1:
            return matrix / self.half
        solved: Tensor = torch.linalg.solve_triangular(self.half, matrix, upper=False, left=False)
        return solved


def root_of(metric: Tensor, damping: float) -> Root:
    """The root of a metric (n, n) or of a diagonal one (n,), with `damping` times its mean diagonal added to it.

    Damping grows tenfold until the metric is positive definite, as one of few tokens need not be.
    """
    metric = metric.double()
    diagonal = metric if metric.dim() == 1 else metric.diagonal()
    mean = float(diagonal.mean().clamp(min=1e-30))
    if metric.dim() == 1:
        return Root((metric + damping * mean).clamp(min=1e-12 * mean).sqrt())
    for power in range(12):
        extra = max(damping, 1e-10) * 10.0**power * mean
        half, failed = torch.linalg.cholesky_ex(metric + extra * torch.eye(len(metric), dtype=metric.dtype))
        if not int(failed):
            return Root(half)
    return Root((diagonal.clamp(min=0) + mean).sqrt())


def _seen(matrix: Tensor, right: Root | None, left: Root | None) -> Tensor:
    seen = matrix.double()
    seen = seen if right is None else right.right(seen)
    return seen if left is None else left.left(seen)


def _basis(seen: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Squared singular values, greatest first, their vectors on the shorter side, and whether that is the inputs'."""
    inputs = seen.shape[0] >= seen.shape[1]
    values, vectors = torch.linalg.eigh(seen.t() @ seen if inputs else seen @ seen.t())
    return values.flip(0).clamp(min=0), vectors.flip(1), inputs


def spectrum(matrix: Tensor, right: Root | None = None, left: Root | None = None) -> Tensor:
    """σ² of halfᵀ_left · matrix · half_right, greatest first: (min(rows, columns),), float64."""
    return _basis(_seen(matrix, right, left))[0]


def truncated(
    matrix: Tensor, rank: int, right: Root | None = None, left: Root | None = None
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Left (rows, rank) and right (rank, columns) factor of the nearest matrix of this rank; √σ on both sides."""
    seen = _seen(matrix, right, left)
    squares, vectors, inputs = _basis(seen)
    kept = vectors[:, :rank]
    scale = squares[:rank].clamp(min=1e-30).pow(0.25)
    if inputs:
        first, second = seen @ kept / scale, kept.t() * scale[:, None]
    else:
        first, second = kept * scale, (kept.t() @ seen) / scale[:, None]
    first = first if left is None else left.undo_left(first)
    second = second if right is None else right.undo_right(second)
    return first.float(), second.float()


def cost(shape: tuple[int, int], rank: int, pivoted: bool) -> int:
    """Weights that a product of this rank stores; the places of pivots count, too."""
    rows, columns = shape
    return rank * (rows + columns - rank) + rows if pivoted else rank * (rows + columns)


def rank_for(shape: tuple[int, int], weights: int, pivoted: bool, multiple: int = 1) -> int:
    """The greatest rank (a multiple, but at least 1) of at most so many weights."""
    top = min(shape) - 1
    rank = max((one for one in range(1, top + 1) if cost(shape, one, pivoted) <= weights), default=1)
    return max(1, rank // multiple * multiple) if rank >= multiple else rank


def product_of(first: Tensor, second: Tensor, pivoted: bool) -> ProductWeight:
    """The factors as a weight; pivoted: with unit rows in the left one, by LU with partial pivoting."""
    rank = first.shape[1]
    if not pivoted or rank >= len(first):
        return ProductWeight(DenseWeight(first.contiguous()), DenseWeight(second.contiguous()))
    permutation, lower, upper = torch.linalg.lu(first.double())
    order = permutation.argmax(0)  # row order[i] of `first` is row i of lower · upper
    rest = torch.linalg.solve_triangular(lower[:rank], lower[rank:], upper=False, left=False, unitriangular=True)
    places = torch.empty(len(first), dtype=torch.int16 if len(first) < 2**15 else torch.int32)
    places[order] = torch.arange(len(first), dtype=places.dtype)
    right = lower[:rank] @ upper @ second.double()
    return ProductWeight(PivotWeight(DenseWeight(rest.float()), places), DenseWeight(right.float()))
