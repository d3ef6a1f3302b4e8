"""Steps that follow what the loss feels, codes that are whole multiples of them, and the bits these take.

Pure functions on tensors; formulas and papers: `compress.entropy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pocketlm.compress.feedback import upper_factor
from pocketlm.compress.sensitivity import smoothed

BLOCK = 128
LARGEST_CODE = 32_000
# Steps (as log2 of c) at which the bits of every layer are taken stock of before the walk.
LADDER = [float(step) for step in range(-24, 5)]
SMOOTHING = 0.1


@dataclass(frozen=True)
class Steps:
    """What one matrix is rounded with. rows: (out,), columns: (in,), for c = 1. upper, order: of S, for feedback."""

    rows: Tensor
    columns: Tensor
    upper: Tensor
    order: Tensor


def steps_for(s: Tensor, energy: Tensor, damping: float) -> Steps:
    """Steps for inputs of moments s (in, in), a mean over tokens, and gradient energies of outputs (out,)."""
    order = torch.argsort(s.diagonal(), descending=True, stable=True)
    upper, _ = upper_factor(s[order][:, order], damping)
    columns = torch.empty(len(s))
    columns[order] = upper.diagonal()
    level = columns.log().mean().exp()
    return Steps(level * smoothed(energy, SMOOTHING).clamp(min=1e-30).rsqrt(), columns / level, upper, order)


def step_codes(
    matrix: Tensor, rows: Tensor, steps: Steps, thrift: float, frozen: Tensor | None = None, block: int = BLOCK
) -> Tensor:
    """Whole numbers (out, in): codes with each column's error fed to those after it in `steps.order`.

    thrift: squared steps that a code one nearer to 0 may cost more. frozen: true where the code stays 0.
    """
    work = matrix[:, steps.order].t().contiguous()
    still = None if frozen is None else frozen[:, steps.order].t()
    columns, upper, codes = steps.columns[steps.order], steps.upper, torch.empty_like(work)
    for start in range(0, len(work), block):
        end = min(start + block, len(work))
        lost = torch.empty(end - start, work.shape[1])
        for place in range(start, end):
            step = rows * columns[place]
            wanted = work[place] / step
            code = thrifty(wanted, thrift).clamp_(-LARGEST_CODE, LARGEST_CODE)
            if still is not None:
                code = code.masked_fill(still[place], 0.0)
            codes[place] = code
            error = (work[place] - code * step) / upper[place, place]
            lost[place - start] = error
            work[place + 1 : end].addr_(upper[place, place + 1 : end], error, alpha=-1)
        work[end:].addmm_(upper[start:end, end:].t(), lost, alpha=-1)
    back = torch.empty_like(steps.order)
    back[steps.order] = torch.arange(len(back))
    return codes[back].t().contiguous()


def thrifty(wanted: Tensor, thrift: float) -> Tensor:
    """The nearest whole number, or the one nearer to 0 where the squared error rises by less than `thrift`."""
    near = wanted.round()
    lower = near - near.sign()
    cheaper = (near.abs() > wanted.abs()) & ((wanted - lower).square() < (wanted - near).square() + thrift)
    return torch.where(cheaper, lower, near)


def refitted(matrix: Tensor, codes: Tensor, rows: Tensor, columns: Tensor, s: Tensor) -> Tensor:
    """Steps of rows (out,) with the least output error for the codes; those that would move far stay."""
    scaled = codes * columns
    felt = scaled @ s
    best = (felt * matrix).sum(1) / (felt * scaled).sum(1).clamp(min=1e-30)
    return torch.where((best / rows - 1).abs() < 0.3, best, rows)


def entropy_bits(codes: Tensor) -> float:
    """Bits of codes (rows, columns) at their entropy, in classes of columns that spread alike, as they are stored."""
    spread = (2 * codes.float().std(0, correction=0).clamp(min=0.05).log2()).round()
    total = 0.0
    for one in torch.unique(spread):
        some = codes[:, spread == one].reshape(-1).long()
        counts = torch.bincount(some - some.min()).double()
        counts = counts[counts > 0]
        total += float((counts * (counts.sum().log2() - counts.log2())).sum())
    return total


@dataclass
class Stock:
    """Bits of all matrices together at every step of LADDER, before feedback. weights: how many there are."""

    bits: Tensor = field(default_factory=lambda: torch.zeros(len(LADDER), dtype=torch.float64))
    weights: int = 0

    def add(self, matrix: Tensor, steps: Steps, thrift: float, sample: int = 64) -> None:
        """Take a matrix more into account, by at most `sample` of its rows."""
        some = torch.arange(0, len(matrix), max(1, len(matrix) // sample))
        unit = matrix[some] / (steps.rows[some, None] * steps.columns)
        scale = len(matrix) / len(some)
        for place, step in enumerate(LADDER):
            codes = thrifty(unit / 2**step, thrift).clamp_(-LARGEST_CODE, LARGEST_CODE)
            self.bits[place] += entropy_bits(codes) * scale
        self.weights += matrix.numel()

    def step_for(self, bits: float) -> float:
        """The step c at which a weight takes `bits` on average, between the rungs by straight lines."""
        mean = (self.bits / max(1, self.weights)).tolist()
        for place in range(len(LADDER) - 1):
            high, low = mean[place], mean[place + 1]
            if high >= bits >= low:
                share = (high - bits) / max(1e-9, high - low)
                return float(2 ** (LADDER[place] + share * (LADDER[place + 1] - LADDER[place])))
        return float(2 ** (LADDER[0] if bits > mean[0] else LADDER[-1]))
