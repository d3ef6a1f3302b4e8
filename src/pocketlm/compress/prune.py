"""Pruning by a score of every weight: its magnitude, or Wanda's (Sun et al. 2023, arXiv:2306.11695).

Magnitude: |W_ij| (Han et al. 2015, arXiv:1506.02626). Wanda: |W_ij| · ‖X_j‖₂, compared within every row. OBS: what the
row's output loses when the others make up for it, W_ij² / [S⁻¹]_jj (Hassibi & Stork 1993). Weights that stay keep
their values, unless `refit` asks for least squares on the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pocketlm.compress.alps import refit
from pocketlm.compress.masks import Plan, damped, inverse_factor
from pocketlm.compress.pruning import Pruning
from pocketlm.tables import did_you_mean


def magnitude(weight: Tensor, s: Tensor) -> Tensor:
    """Squared magnitudes."""
    return weight.square()


def wanda(weight: Tensor, s: Tensor) -> Tensor:
    """Squared magnitude times the squared norm of the input."""
    return weight.square() * s.diagonal()


def obs(weight: Tensor, s: Tensor) -> Tensor:
    """The error left when the other weights of the row make up for a missing one."""
    upper = inverse_factor(damped(s))
    return weight.square() / upper.square().sum(0)


# Squared scores of (rows, columns) weights by the moments S of their inputs; the least go.
CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "magnitude": magnitude,
    "wanda": wanda,
    "obs": obs,
}


@dataclass(frozen=True)
class Prune(Pruning):
    """Prune the weights of the least score.

    criterion: a key of CRITERIA. refit: steps of conjugate gradients for the weights that stay; 0 leaves them as they
    are. sparsity: the share of weights that go, or a mapping from layer patterns to it. pattern: {keep: 2, of: 4} for
    N:M, {rows: 4, columns: 8} for tiles, or nothing. allocation: "uniform", "owl" or "sensitivity"; the last two give
    layers rates of their own that come to `sparsity` on the whole, at most `spread` from it. correct: how much of the
    error of the blocks before is made up for, 0 to 1. tune_epochs, tune_rate: passes over the calibration in which
    Adam brings each block's output near to the dense model's, and its step. layers, exclude: groups or name patterns.
    """

    name: ClassVar[str] = "prune"
    criterion: str = "wanda"
    refit: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.criterion not in CRITERIA:
            near = did_you_mean(self.criterion, list(CRITERIA))
            raise ValueError(f"criterion is one of {', '.join(CRITERIA)}, got {self.criterion!r}.{near}")
        if self.refit < 0:
            raise ValueError(f"refit is a number of steps from 0, got {self.refit}")

    @property
    def needs_inputs(self) -> bool:
        """Whether it has to see what goes through the layers."""
        return self.criterion != "magnitude" or self.refit > 0

    def solve(self, weight: Tensor, s: Tensor, plan: Plan) -> Tensor:
        """The pruned matrix."""
        mask = plan.mask(CRITERIA[self.criterion](weight, s))
        return refit(weight, damped(s), mask, self.refit) if self.refit else weight * mask
