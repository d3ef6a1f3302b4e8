"""ALPS: which weights stay by ADMM, what they become by conjugate gradients (Meng et al. 2024, arXiv:2406.07831).

min ‖(W − Ŵ)X‖² with few weights in Ŵ. With inputs scaled to unit norm, W ← (S + ρI)⁻¹(S Ŵ₀ − V + ρD), D ← the
largest of W + V/ρ, V ← V + ρ(W − D), and ρ grows the faster the more the support still changes. On the support that
is found, preconditioned conjugate gradients solve the least squares, every row with steps of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.masks import Plan, damped
from pocketlm.compress.pruning import Pruning, check_damping

FIRST_RHO = 0.1
# Growth of ρ every `EVERY` steps, by the share of the support that changed since.
GROWTH = ((0.0025, 1.6), (0.0, 1.3))
EVERY = 3


def refit(target: Tensor, s: Tensor, mask: Tensor, steps: int = 20, start: Tensor | None = None) -> Tensor:
    """The weights on `mask` nearest to `target` in ‖(target − Ŵ)X‖², from `start` (the target) by `steps` of CG.

    s: damped, (columns, columns). Every row's error falls from step to step.
    """
    found = (target if start is None else start) * mask
    scale = s.diagonal()
    rest = ((target - found) @ s) * mask
    ahead = rest / scale
    energy = (rest * ahead).sum(1, keepdim=True)
    for _ in range(steps):
        turned = (ahead @ s) * mask
        length = energy / (ahead * turned).sum(1, keepdim=True).clamp(min=1e-30)
        found = found + length * ahead
        rest = rest - length * turned
        scaled = rest / scale
        after = (rest * scaled).sum(1, keepdim=True)
        ahead = scaled + after / energy.clamp(min=1e-30) * ahead
        energy = after
    return found


def support(weight: Tensor, s: Tensor, plan: Plan, steps: int = 60) -> Tensor:
    """True (rows, columns) where a weight stays, by at most `steps` of ADMM. s: damped."""
    scale = s.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(s / scale / scale[:, None])
    values = values.clamp(min=0)
    drawn = (weight * scale) @ (vectors * values) @ vectors.t()
    dense = weight * scale
    mask = plan.mask(dense.square(), whole=True)
    few, dual, rho, last = dense * mask, torch.zeros_like(weight), FIRST_RHO, mask
    inverse = (vectors / (values + rho)) @ vectors.t()
    for step in range(1, steps + 1):
        dense = (drawn - dual + rho * few) @ inverse
        raw = dense + dual / rho
        mask = plan.mask(raw.square(), whole=True)
        few = raw * mask
        dual = dual + rho * (dense - few)
        if step % EVERY == 0:
            changed = float((mask != last).float().mean())
            if changed == 0:
                break
            rho *= next(growth for least, growth in GROWTH if changed > least)
            inverse, last = (vectors / (values + rho)) @ vectors.t(), mask
    return mask


def alps(weight: Tensor, s: Tensor, plan: Plan, steps: int = 60, refits: int = 20, damping: float = 0.01) -> Tensor:
    """Weight (rows, columns) with `plan.sparsity` zeros, as near as this finds to the same outputs on inputs of S."""
    s = damped(s, damping)
    return refit(weight, s, support(weight, s, plan, steps), refits)


@dataclass(frozen=True)
class Alps(Pruning):
    """Prune by ADMM and conjugate gradients.

    steps: of ADMM at most; it ends when the support stands still. refits: steps of conjugate gradients. damping: share
    of the mean diagonal added to S. The other settings are those of `prune`.
    """

    name: ClassVar[str] = "alps"
    correct: float = 0.5
    steps: int = 60
    refits: int = 20
    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)
        if self.steps < 1 or self.refits < 0:
            raise ValueError(f"steps is from 1 and refits from 0, got {self.steps} and {self.refits}")

    def solve(self, weight: Tensor, s: Tensor, plan: Plan) -> Tensor:
        """The pruned matrix."""
        return alps(weight, s, plan, self.steps, self.refits, self.damping)
