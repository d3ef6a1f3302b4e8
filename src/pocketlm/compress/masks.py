"""Which weights stay: masks with exact counts, for single weights, N of every M neighbours, or tiles. Pure functions.

The least of the scores go. N:M as in Mishra et al. 2021, arXiv:2104.08378; tiles are rows x columns of one matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Few:
    """At most `keep` of every `of` neighbours in a row stay; the neighbours of a last, shorter group all do."""

    keep: int
    of: int

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return 1 - self.keep / self.of


@dataclass(frozen=True)
class Tiles:
    """Whole tiles of rows x columns go; what is left over at the edges stays."""

    rows: int
    columns: int


Pattern = Few | Tiles | None


def read_pattern(value: Mapping[str, Any] | None) -> Pattern:
    """The pattern of {"keep": 2, "of": 4} or {"rows": 4, "columns": 8}. Raises ValueError for anything else."""
    if value is None:
        return None
    wrong = f"pattern is {{keep: 2, of: 4}} or {{rows: 4, columns: 8}}, got {value}"
    if not isinstance(value, Mapping) or not all(isinstance(one, int) and one > 0 for one in value.values()):
        raise ValueError(wrong)
    if set(value) == {"keep", "of"} and value["keep"] < value["of"]:
        return Few(**value)
    if set(value) == {"rows", "columns"}:
        return Tiles(**value)
    raise ValueError(wrong)


def keep_mask(scores: Tensor, sparsity: float, pattern: Pattern = None, whole: bool = False) -> Tensor:
    """True (rows, columns) where a weight stays: all but the least of `scores`, counted exactly.

    Without a pattern round(sparsity · columns) of every row go, or round(sparsity · size) of the matrix with `whole`;
    of tiles, round(sparsity · tiles). N:M has a rate of its own.
    """
    if isinstance(pattern, Few):
        return _few_mask(scores, pattern)
    if isinstance(pattern, Tiles):
        return _tiles_mask(scores, sparsity, pattern)
    if whole:
        return _largest(scores, scores.numel() - round(sparsity * scores.numel()))
    gone = scores.topk(round(sparsity * scores.shape[1]), dim=1, largest=False).indices
    return torch.ones_like(scores, dtype=torch.bool).scatter_(1, gone, False)


def _largest(scores: Tensor, count: int) -> Tensor:
    """True at the `count` greatest of all scores; of equal ones at the last. Several times as fast as topk."""
    if count <= 0 or count >= scores.numel():
        return torch.full(scores.shape, count > 0)
    flat = scores.detach().reshape(-1).numpy()
    edge = np.partition(flat, len(flat) - count)[len(flat) - count]
    mask = flat > edge
    equal = np.flatnonzero(flat == edge)
    mask[equal[len(equal) - (count - int(mask.sum())) :]] = True
    return torch.from_numpy(mask).view(scores.shape)


def _few_mask(scores: Tensor, pattern: Few) -> Tensor:
    mask = torch.ones_like(scores, dtype=torch.bool)
    width = scores.shape[1] // pattern.of * pattern.of
    groups = scores[:, :width].reshape(-1, pattern.of)
    gone = groups.topk(pattern.of - pattern.keep, dim=1, largest=False).indices
    mask[:, :width] = torch.ones_like(groups, dtype=torch.bool).scatter_(1, gone, False).view(len(scores), width)
    return mask


def tile_sums(values: Tensor, pattern: Tiles) -> Tensor:
    """Sums of `values` over each whole tile: (rows // tile rows, columns // tile columns)."""
    high, wide = values.shape[0] // pattern.rows, values.shape[1] // pattern.columns
    part = values[: high * pattern.rows, : wide * pattern.columns]
    return part.reshape(high, pattern.rows, wide, pattern.columns).sum((1, 3))


def _tiles_mask(scores: Tensor, sparsity: float, pattern: Tiles) -> Tensor:
    sums = tile_sums(scores, pattern)
    kept = _largest(sums, sums.numel() - round(sparsity * sums.numel()))
    wide = kept.repeat_interleave(pattern.rows, 0).repeat_interleave(pattern.columns, 1)
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[: wide.shape[0], : wide.shape[1]] = wide
    return mask


@dataclass(frozen=True)
class Plan:
    """What one matrix has to become.

    sparsity: the share of its weights that go. rows: how much an error in each output counts, (rows,), or None where
    all count alike; weights of different rows are compared only where it is given. zeros: true where a weight is zero
    already, and stays so.
    """

    sparsity: float
    pattern: Pattern = None
    rows: Tensor | None = None
    zeros: Tensor | None = None

    def mask(self, scores: Tensor, whole: bool = False) -> Tensor:
        """What stays by `scores` (squared errors, (rows, columns)), across the matrix with `whole` or known rows."""
        if self.rows is not None:
            scores = scores * self.rows[:, None]
        if self.zeros is None:
            return keep_mask(scores, self.sparsity, self.pattern, whole or self.rows is not None)
        scores = scores.masked_fill(self.zeros, -1.0 if self.pattern is None or isinstance(self.pattern, Few) else 0.0)
        return keep_mask(scores, self.sparsity, self.pattern, whole or self.rows is not None) & ~self.zeros


def damped(s: Tensor, damping: float = 0.01) -> Tensor:
    """S with a share of its mean diagonal added to the diagonal; the identity where no input was ever seen."""
    mean = float(s.diagonal().mean())
    if not mean > 0:
        return torch.eye(len(s))
    return s + damping * mean * torch.eye(len(s))


def inverse_factor(s: Tensor) -> Tensor:
    """The upper Cholesky factor of S⁻¹, in float64 where float32 does not do. s: damped."""
    lower, failed = torch.linalg.cholesky_ex(s)
    kind = s.dtype if not int(failed) else torch.float64
    extra = 0.0
    while int(failed):
        eye = torch.eye(len(s), dtype=torch.float64)
        lower, failed = torch.linalg.cholesky_ex(s.double() + extra * float(s.diagonal().mean()) * eye)
        extra = max(1e-3, extra * 10)
    inverse = torch.cholesky_inverse(lower.to(kind))
    upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
    if int(failed):
        upper = torch.linalg.cholesky(torch.cholesky_inverse(lower.double()), upper=True)
    found: Tensor = upper.float()
    return found
