"""SparseGPT: weights go in column blocks, and what is left makes up for it (Frantar & Alistarh 2023, arXiv:2301.00774).

With U the upper Cholesky factor of S⁻¹: the least w² / U_jj² of a block of columns go, the mask being chosen when its
block is reached; then column by column e = (w − ŵ) / U_jj and all later columns change by − e U_j,: (eq. 3 and 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.masks import Few, Plan, Tiles, damped, inverse_factor, keep_mask
from pocketlm.compress.pruning import Pruning, check_damping


def sparsegpt(weight: Tensor, s: Tensor, plan: Plan, block: int = 128, damping: float = 0.01) -> Tensor:
    """Weight (rows, columns) with `plan.sparsity` zeros, as near as this finds to the same outputs on inputs of S."""
    upper = inverse_factor(damped(s, damping))
    found, columns = weight.clone(), weight.shape[1]
    unit = plan.pattern.of if isinstance(plan.pattern, Few) else getattr(plan.pattern, "columns", 1)
    block = max(unit, block // unit * unit)
    gone = 0
    for start in range(0, columns, block):
        end = min(start + block, columns)
        part, factor = found[:, start:end].clone(), upper[start:end, start:end]
        share = (plan.sparsity * weight.shape[0] * end - gone) / (weight.shape[0] * (end - start))
        mask = (
            None if isinstance(plan.pattern, Few) else _block_mask(part, factor, plan, start, min(1.0, max(0.0, share)))
        )
        errors = torch.zeros_like(part)
        for column in range(end - start):
            if isinstance(plan.pattern, Few) and column % unit == 0:
                group = slice(column, column + unit)
                chosen = _block_mask(part[:, group], factor[group, group], plan, start + column, plan.sparsity)
                mask = chosen if mask is None or column == 0 else torch.cat([mask, chosen], 1)
            assert mask is not None
            kept = part[:, column] * mask[:, column]
            errors[:, column] = (part[:, column] - kept) / factor[column, column]
            part[:, column:] -= errors[:, column : column + 1] * factor[column : column + 1, column:]
            part[:, column] = kept
        assert mask is not None
        gone += int((~mask).sum())
        found[:, start:end] = part * mask
        found[:, end:] -= errors @ upper[start:end, end:]
    return found


def _block_mask(part: Tensor, factor: Tensor, plan: Plan, start: int, share: float) -> Tensor:
    """What stays of columns that begin at `start`: tiles by their sums, others across all rows."""
    scores = part.square() / factor.diagonal().square()
    zeros = None if plan.zeros is None else plan.zeros[:, start : start + part.shape[1]]
    if plan.rows is not None:
        scores = scores * plan.rows[:, None]
    if zeros is not None:
        scores = scores.masked_fill(zeros, 0.0 if isinstance(plan.pattern, Tiles) else -1.0)
    mask = keep_mask(scores, share, plan.pattern, whole=True)
    return mask if zeros is None else mask & ~zeros


@dataclass(frozen=True)
class SparseGPT(Pruning):
    """Prune with second-order updates of the weights that stay.

    block: columns whose mask is chosen at once. damping: share of the mean diagonal added to S. The other settings
    are those of `prune`.
    """

    name: ClassVar[str] = "sparsegpt"
    block: int = 128
    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)
        if self.block < 1:
            raise ValueError(f"block is a number of columns from 1, got {self.block}")

    def solve(self, weight: Tensor, s: Tensor, plan: Plan) -> Tensor:
        """The pruned matrix."""
        return sparsegpt(weight, s, plan, self.block, self.damping)
