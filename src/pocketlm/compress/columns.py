"""Which columns of a matrix its output can do without, and what the others make up for.

With S = XXᵀ of the layer's inputs and G = E[g gᵀ] of the gradient at its output, a change ΔW costs about
½ tr(Gᵀ ΔW S ΔWᵀ) of loss (a Kronecker-factored Fisher, Martens & Grosse 2015, arXiv:1503.05671). Removing the columns M
with the others at their best afterwards costs ½ tr((WᵀGW)_MM [(S⁻¹)_MM]⁻¹), and that best is
W − W_M [(S⁻¹)_MM]⁻¹ (S⁻¹)_M: (the structured optimal brain surgeon of ZipLM, Kurtic et al. 2023, arXiv:2302.04089).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 0.01


def damped(s: Tensor, damping: float = DAMPING) -> Tensor:
    """S with a share of its mean diagonal added, float64: (in, in)."""
    s = s.double()
    ridge = damping * float(s.diagonal().mean()) or 1.0
    return s + ridge * torch.eye(len(s), dtype=torch.float64)


def inverse(s: Tensor, damping: float = DAMPING) -> Tensor:
    """The inverse of the damped S, float64."""
    return torch.cholesky_inverse(torch.linalg.cholesky(damped(s, damping)))


def importance(weight: Tensor, gradients: Tensor | None) -> Tensor:
    """WᵀGW, or WᵀW where no gradients are known: (in, in), float64."""
    weight = weight.double()
    return weight.t() @ (weight if gradients is None else gradients.double() @ weight)


def removal_cost(importance: Tensor, s_inverse: Tensor, columns: Tensor) -> float:
    """What it costs to remove these columns together, the others at their best afterwards."""
    inner = torch.linalg.inv(s_inverse[columns][:, columns])
    return 0.5 * float((importance[columns][:, columns] * inner).sum())


def plain_cost(importance: Tensor, s: Tensor, columns: Tensor) -> float:
    """What it costs to remove these columns together, the others left as they are."""
    return 0.5 * float((importance[columns][:, columns] * s[columns][:, columns]).sum())


def without(importance: Tensor, s_inverse: Tensor, gone: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """WᵀGW and S⁻¹ of the columns `left` once `gone` are removed and made up for (left and gone are all there are)."""
    cross = s_inverse[gone][:, left]
    solve = torch.linalg.solve(s_inverse[gone][:, gone], cross)
    half = importance[gone][:, left].t() - solve.t() @ importance[gone][:, gone] / 2
    factors, others = torch.cat([half, solve.t()], 1), torch.cat([solve, half.t()])
    smaller = torch.addmm(importance[left][:, left], factors, others, alpha=-1)
    return smaller, torch.addmm(s_inverse[left][:, left], cross.t(), solve, alpha=-1)


@dataclass(frozen=True)
class Curve:
    """Columns in the order in which they are removed; after each step, how many are gone and what that costs."""

    order: Tensor
    counts: tuple[int, ...]
    costs: tuple[float, ...]


def removal_curve(
    importance: Tensor, s: Tensor, step: int, most: int, compensate: bool = True, stride: int = 1
) -> Curve:
    """Remove the cheapest columns again and again, up to `most`, the others made to make up for them.

    step: how many at a time, so that what is left is a multiple of it: where the columns are none, the first step
    removes as many as leave one. stride: how many steps before prices are reckoned anew.
    """
    left = torch.arange(len(s))
    batches: list[Tensor] = []
    costs: list[float] = []
    # well enough conditioned by the damping for float32, which takes half the time
    s_now, importance = (inverse(s) if compensate else s).float(), importance.float()
    while (room := most - sum(len(one) for one in batches)) >= (size := len(left) % step or step):
        size += min(stride - 1, (room - size) // step) * step
        diagonal = s_now.diagonal()
        prices = importance.diagonal() * (1 / diagonal if compensate else diagonal)
        gone = prices.argsort(stable=True)[:size]
        stay = torch.ones(len(left), dtype=torch.bool)
        stay[gone] = False
        rest = stay.nonzero().squeeze(1)
        cost = (removal_cost if compensate else plain_cost)(importance, s_now, gone)
        if compensate:
            importance, s_now = without(importance, s_now, gone, rest)
        else:
            importance, s_now = importance[rest][:, rest], s_now[rest][:, rest]
        batches.append(left[gone])
        costs.append((costs[-1] if costs else 0.0) + cost)
        left = left[rest]
    order = torch.cat(batches) if batches else torch.zeros(0, dtype=torch.long)
    counts = torch.tensor([len(one) for one in batches]).cumsum(0).tolist()
    return Curve(order, tuple(int(one) for one in counts), tuple(costs))


def stride_for(columns: int, step: int) -> int:
    """How many steps to take at once so that a layer's columns are gone through in about twenty-four."""
    return max(1, columns // (24 * step))


def made_up(weight: Tensor, s: Tensor, kept: Tensor, damping: float = DAMPING) -> Tensor:
    """The columns `kept` of W, changed so that the output stays as near as it can: W S_:k S_kk⁻¹, float32."""
    s = damped(s, damping)
    factor = torch.linalg.cholesky(s[kept][:, kept])
    return torch.cholesky_solve(s[kept] @ weight.double().t(), factor).t().float()


def column_error(weight: Tensor, found: Tensor, s: Tensor, kept: Tensor) -> float:
    """‖WX − Ŵ X_kept‖² / ‖WX‖² by S = XXᵀ."""
    lost = weight.double().clone()
    lost[:, kept] -= found.double()
    s = s.double()
    whole = float(((weight.double() @ s) * weight.double()).sum())
    return float(((lost @ s) * lost).sum()) / max(whole, 1e-30)
