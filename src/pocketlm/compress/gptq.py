"""GPTQ: quantize column by column, and let the columns still to come make up for each one's error.

Of a layer with inputs X, S = XXᵀ + λI and S⁻¹ = UᵀU (U upper triangular): column j is rounded to its group's grid, and
w_k −= (w_j − ŵ_j) U_jk / U_jj for every later k (Frantar et al. 2022, arXiv:2210.17323). Columns are taken by falling
S_jj; grids are fixed before, clipped to the least squared error weighted by S_jj, so that the order costs nothing to
store. Codes and scales are then refined in turn (refine.py). A row that plain rounding serves better keeps plain
rounding. What was zeroed by pruning stays zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.grid import Grid, grid_for
from pocketlm.compress.moments import Moments
from pocketlm.compress.outer import quantize_outer
from pocketlm.compress.parallel import Task, spread_leaves
from pocketlm.compress.refine import refined
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.targets import (
    Leaf,
    leaves,
    pack_layer,
    relative_error,
    select,
    setting_for,
    share_ties,
    zeros_of,
)
from pocketlm.compress.upstream import Drift, Upstream, run_block
from pocketlm.compress.walk import BlockView, walk
from pocketlm.errors import ModelError
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight, GridWeight

BLOCK = 128


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


def feedback_codes(
    matrix: Tensor, grid: Grid, upper: Tensor, order: Tensor, frozen: Tensor | None = None, block: int = BLOCK
) -> Tensor:
    """Codes (out, in), uint8, of every column rounded in `order` with its error fed to the columns after it.

    upper: of S with rows and columns in that order. frozen: (out, in), true where the code of 0 is to stay.
    """
    scale, zero = (one.expand(matrix.shape)[:, order].t().contiguous() for one in grid.columns(matrix.shape[1]))
    work = matrix[:, order].t().contiguous()  # a column is a row here: its values lie side by side
    still = None if frozen is None else frozen[:, order].t().contiguous()
    codes, top, diagonal = torch.empty_like(work), 2**grid.bits - 1, upper.diagonal().tolist()
    columns = list(zip(codes.unbind(), work.unbind(), scale.unbind(), zero.unbind(), strict=True))
    for start in range(0, len(work), block):
        end = min(start + block, len(work))
        lost = torch.empty(end - start, work.shape[1])
        for column, error in zip(range(start, end), lost.unbind(), strict=True):
            code, wanted, step, origin = columns[column]
            torch.div(wanted, step, out=code).add_(origin).round_().clamp_(0, top)
            if still is not None:
                torch.where(still[column], origin, code, out=code)
            torch.sub(code, origin, out=error).mul_(step)
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
class Solved:
    """A layer's codes on its grid. error: relative, of its output. plain: of round-to-nearest on the same grid.

    kept: rows that keep plain rounding. damping: that the solve took.
    """

    grid: Grid
    codes: Tensor
    error: float
    plain: float
    kept: int
    damping: float

    @property
    def weight(self) -> GridWeight:
        """As it is stored."""
        return self.grid.weight(self.codes)


@dataclass(frozen=True)
class Feedback:
    """How errors are fed on for one S: the order of columns, U in that order, and the damping that took."""

    s: Tensor
    order: Tensor
    upper: Tensor
    damping: float

    @classmethod
    def of(cls, s: Tensor, act_order: bool = True, damping: float = 0.01) -> Feedback:
        """For S (in, in); act_order: columns by falling S_jj."""
        order = torch.argsort(s.diagonal(), descending=True, stable=True) if act_order else torch.arange(len(s))
        return cls(s, order, *upper_factor(s[order][:, order], damping))

    @property
    def damped(self) -> Tensor:
        """S + λI, as the factor has it."""
        return self.s + self.damping * self.s.diagonal().mean().clamp(min=1e-30) * torch.eye(len(self.s))


def solve(target: Tensor, grid: Grid, feedback: Feedback, frozen: Tensor | None = None, refine: int = 0) -> Solved:
    """GPTQ of a matrix (out, in), row by row never worse than rounding to nearest on `grid`.

    refine: rounds of scales by least squares and codes by coordinate descent; without, the grid stays as it is.
    """
    s = feedback.s
    near = grid.codes(target)
    if frozen is not None:
        near = torch.where(frozen, grid.columns(target.shape[1])[1].expand(target.shape).to(torch.uint8), near)
    plain = row_errors(target - grid.weight(near).matrix(), s)
    codes = feedback_codes(target, grid, feedback.upper, feedback.order, frozen)
    finer = grid
    if refine:
        finer, codes = refined(target, grid, codes, feedback.damped, frozen, refine)
    mine = row_errors(target - finer.weight(codes).matrix(), s)
    worse = plain < mine
    codes = torch.where(worse[:, None], near, codes)
    if finer is not grid:
        grid = replace(finer, scales=torch.where(worse[:, None], grid.scales, finer.scales))
    total = row_errors(target, s).sum().clamp(min=1e-30)
    error = torch.where(worse, plain, mine).sum() / total
    return Solved(grid, codes, float(error), float(plain.sum() / total), int(worse.sum()), feedback.damping)


@dataclass(frozen=True)
class Gptq:
    """Quantize with second-order error feedback, as calibration shows each layer's inputs.

    bits: 2 to 8, or a mapping from layer patterns to bits. group_size: columns that share a scale; 0: a row; a last
    group may be shorter. symmetric: whether the grid is centred on 0. act_order: take columns by falling activation.
    damping: share of the mean of diag S that is added to it. clip: search the clipping of each group. refine: rounds of
    scales by least squares and codes by coordinate descent after it. correct: share, 0 to 1, of the error of earlier
    layers that a layer is fitted to make up for; costs a second forward pass. The method as its paper has it: refine 0
    and correct 0. A layer's input is measured once those before it in its block are done, but in blocks with experts,
    where `correct` does nothing either. layers, exclude: groups ("blocks", "embeddings", "head", "all") or name
    patterns; embeddings are rounded to nearest.
    """

    name: ClassVar[str] = "gptq"
    kind: ClassVar[str] = "quantize"
    bits: int | Mapping[str, int] = 4
    group_size: int = 64
    symmetric: bool = False
    act_order: bool = True
    damping: float = 0.01
    clip: bool = True
    refine: int = 3
    correct: float = 0.5
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bits(self.bits, self.group_size)
        if not 0 <= self.damping <= 1:
            raise ValueError(f"damping is a share from 0 to 1, got {self.damping}")
        if not 0 <= self.correct <= 1:
            raise ValueError(f"correct is a share from 0 to 1, got {self.correct}")
        if self.refine < 0:
            raise ValueError(f"refine is a number of rounds, at least 0, got {self.refine}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""
        chosen = {one.name: one for one in select(model, self.layers, self.exclude)}
        for name in chosen:
            pack_layer(model.module, name)
        calibration = context.calibrated(self.name)
        inner = {name for name, one in chosen.items() if one.block and one.kind != "embedding"}
        if inner:
            upstream, plans = Upstream(), Plans()
            walk(
                model, calibration, lambda view: self._visit(view, inner, upstream, plans, context),
                fast=context.fast, disk=context.disk, statistics=False, progress=context.ticks("gptq"),
            )  # fmt: skip
        outer = [one for name, one in chosen.items() if name not in inner]
        quantize_outer(self, model, outer, calibration, context)
        share_ties(model)
        return model

    def _visit(self, view: BlockView, inner: set[str], upstream: Upstream, plans: Plans, context: Context) -> None:
        wanted = {name: layer for name, layer in view.linears().items() if name in inner}
        done: list[tuple[Leaf, GridWeight]] = []

        def change(stage: Stage) -> None:
            found = [(name, wanted[name], stage.moments) for name in stage.names if name in wanted]
            done.extend(self.quantize(found, context, upstream.drift.get(stage.names[0])))

        heard = run_block(view, plans, context.fast, change, upstream if self.correct else None)
        moments = view.statistics.moments
        rest = [(name, layer, moments.get(name)) for name, layer in wanted.items() if name not in heard]
        done.extend(self.quantize(rest, context))
        for leaf, weight in done:
            leaf.put(weight)

    def quantize(
        self, layers: Sequence[tuple[str, Any, Moments | None]], context: Context, drift: Drift | None = None
    ) -> list[tuple[Leaf, GridWeight]]:
        """Leaves of the layers with their weights on the grid; until they are put there, plain ones of the same values.

        Plain ones run faster while calibration goes through them. layers: name, packed layer, and moments of its input.
        """
        last: list[Feedback] = []  # neighbours that read one tensor share it; more are not kept, as they are large

        def task(name: str, leaf: Leaf) -> Task:
            feedback = None
            if leaf.moments is not None and leaf.moments.tokens:
                if not last or last[0].s is not leaf.moments.s:
                    last[:] = [Feedback.of(leaf.moments.s, self.act_order, self.damping)]
                feedback = last[0]
            return self, leaf.matrix, setting_for(self.bits, name), feedback, drift if leaf.name == name else None

        found, seen = [], set()
        opened = ((name, leaves(name, layer, moments)) for name, layer, moments in layers)
        for name, leaf, solved in spread_leaves(fit, opened, task, context):
            seen.add(name)
            weight = solved.weight
            leaf.put(DenseWeight(weight.matrix()))
            found.append((leaf, weight))
            self._record(leaf, solved, setting_for(self.bits, name), context)
        for name, _, _ in layers:
            if name in seen:
                context.journal.promise(name, "bits", setting_for(self.bits, name))
            else:
                context.journal.left(name, "is quantized already")
        return found

    def _record(self, leaf: Leaf, solved: Solved, bits: int, context: Context) -> None:
        facts: dict[str, Any] = {"bits": bits}
        if leaf.moments is None or not leaf.moments.tokens:
            facts["fallback"] = "rounded: no token reached it"
        else:
            facts["rounded_error"] = float(f"{solved.plain:.4g}")
        if solved.kept:
            facts["fallback"] = f"rounded: {solved.kept} rows, where feedback is no better"
        if solved.damping > max(self.damping, 1e-6):
            facts["damping"] = solved.damping
        context.journal.layer(leaf.name, "quantized", solved.error, **facts)


def fit(step: Gptq, matrix: Tensor, bits: int, feedback: Feedback | None, drift: Drift | None) -> Solved:
    """A matrix as the pass quantizes it: corrected by `drift`, or rounded to nearest where there is no feedback."""
    if feedback is None:
        grid = grid_for(matrix, bits, step.group_size, step.symmetric, step.clip)
        codes = grid.codes(matrix)
        lost = relative_error(matrix, grid.weight(codes).matrix())
        return Solved(grid, codes, lost, lost, 0, 0.0)
    target, frozen = matrix, zeros_of(matrix)
    if drift is not None:
        target = drift.target(matrix, feedback.s, step.correct, step.damping)
        target = target if frozen is None else target.masked_fill(frozen, 0.0)
    grid = grid_for(target, bits, step.group_size, step.symmetric, step.clip, feedback.s.diagonal())
    return solve(target, grid, feedback, frozen, step.refine)
