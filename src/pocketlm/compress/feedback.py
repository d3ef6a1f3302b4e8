"""Second-order error feedback: columns are rounded one by one, and those still to come make up for each one's error.

Of a layer with inputs X, S = XXᵀ + λI and S⁻¹ = UᵀU (U upper triangular): once column j is rounded,
w_k −= (w_j − ŵ_j) U_jk / U_jj for every later k (Frantar et al. 2022, arXiv:2210.17323). What a column is rounded to is
the rounder's to say, which may fit a grid to the columns that come next as they then are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pocketlm.errors import ModelError

BLOCK = 128


class Rounder(Protocol):
    """Rounds columns to codes, in the order they are taken."""

    def begin(self, start: int, end: int, wanted: Tensor) -> None:
        """Columns `start` to `end` are next; wanted: what they are by now, (columns, out)."""
        ...

    def column(self, number: int, wanted: Tensor, still: Tensor | None, code: Tensor, value: Tensor) -> None:
        """Write the code of a column's weights, and what that stands for; (out,) each. still: where 0 is to stay."""
        ...


def upper_factor(s: Tensor, damping: float) -> tuple[Tensor, float]:
    """U with UᵀU = (S + λI)⁻¹, λ = damping · mean(diag S), and the damping it took: tenfold where S was too flat.

    s: (in, in), symmetric; where it is not finite no damping helps: ModelError. Reversed in order, the lower Cholesky
    factor of S is an upper one R with R Rᵀ = S: U = R⁻¹.
    """
    mean, eye = s.diagonal().mean().clamp(min=1e-30), torch.eye(len(s))
    damping = max(damping, 1e-6)
    if not bool(s.isfinite().all()):
        raise ModelError("a layer's inputs on calibration text are NaN or infinite: the model, or a pass, is broken")
    while True:
        factor, failed = torch.linalg.cholesky_ex((s / mean + damping * eye).flip(0, 1))
        if not int(failed) and bool(factor.isfinite().all()):
            break
        damping *= 10
    reverse = factor.flip(0, 1)
    upper: Tensor = torch.linalg.solve_triangular(reverse, eye, upper=True)
    return upper / mean.sqrt(), damping


def fed_codes(
    matrix: Tensor, rounder: Rounder, upper: Tensor, order: Tensor, frozen: Tensor | None = None, block: int = BLOCK
) -> Tensor:
    """Codes (out, in), uint8, of every column rounded in `order` with its error fed to the columns after it.

    upper: of S with rows and columns in that order. frozen: (out, in), true where 0 is to stay.
    """
    work = matrix[:, order].t().contiguous()  # a column is a row here: its values lie side by side
    still = None if frozen is None else frozen[:, order].t().contiguous()
    codes, diagonal = torch.empty_like(work), upper.diagonal().tolist()
    columns = list(zip(codes.unbind(), work.unbind(), strict=True))
    for start in range(0, len(work), block):
        end = min(start + block, len(work))
        rounder.begin(start, end, work[start:end])
        lost = torch.empty(end - start, work.shape[1])
        for column, error in zip(range(start, end), lost.unbind(), strict=True):
            code, wanted = columns[column]
            rounder.column(column, wanted, None if still is None else still[column], code, error)
            torch.sub(wanted, error, out=error).div_(diagonal[column])
            work[column + 1 : end].addr_(upper[column, column + 1 : end], error, alpha=-1)
        work[end:].addmm_(upper[start:end, end:].t(), lost, alpha=-1)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))
    return codes[back].t().to(torch.uint8).contiguous()


def row_errors(lost: Tensor, s: Tensor) -> Tensor:
    """‖(w − ŵ) X‖² of every row: (out,)."""
    return ((lost @ s) * lost).sum(1)


@dataclass(frozen=True)
class Feedback:
    """How errors are fed on for one S: the order of columns, U in that order, and the damping that took."""

    s: Tensor
    order: Tensor
    upper: Tensor
    damping: float

    @classmethod
    def of(cls, s: Tensor, act_order: bool = True, damping: float = 0.01, together: int = 1) -> Feedback:
        """For S (in, in); act_order: columns by falling S_jj, `together` neighbours at a time by the sum of theirs."""
        energy = s.diagonal() if together == 1 else s.diagonal().view(-1, together).sum(1)
        order = torch.argsort(energy, descending=True, stable=True) if act_order else torch.arange(len(energy))
        if together > 1:
            order = (order[:, None] * together + torch.arange(together)).flatten()
        return cls(s, order, *upper_factor(s[order][:, order], damping))

    @property
    def damped(self) -> Tensor:
        """S + λI, as the factor has it."""
        return self.s + self.damping * self.s.diagonal().mean().clamp(min=1e-30) * torch.eye(len(self.s))
