"""Low-rank correction: a thin product added to a quantized layer that undoes most of what its rounding does to outputs.

Of R = W − Ŵ and S = XXᵀ = S^{½}S^{½}ᵀ, the rank-r correction with the least ‖(R − Δ)X‖² is [R S^{½}]_r S^{-½} (LQER,
Zhang et al. 2024, arXiv:2402.02446, takes diagonal S; QERA, Zhang et al. 2024, arXiv:2410.06040, and EoRA, Liu et al.
2024, arXiv:2410.21271, the whole of it). W is the teacher's layer or, with `update`, what gives the teacher's output
for the compressed model's input. Factors are stored on 8-bit grids: the right one is rounded first, the left one is
then the least-squares fit to it. In further rounds codes are found anew for W − Δ, on the grid they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pocketlm.compress.context import Context
from pocketlm.compress.curvature import Curvature, curvature_of
from pocketlm.compress.factors import Root, root_of, truncated
from pocketlm.compress.feedback import Feedback
from pocketlm.compress.gptq import solve
from pocketlm.compress.grid import Grid, grid_for
from pocketlm.compress.moments import Moments
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.targets import names_now, relative_error, select, setting_for
from pocketlm.compress.upstream import Drift, Upstream, run_block
from pocketlm.compress.walk import BlockView, measure, walk
from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.code_weights import CodebookWeight, GridWeight, StepWeight
from pocketlm.model.layers import packed
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight, ProductWeight, ScaledWeight, SumWeight

METHODS = ("svd", "whitened", "kronecker")
UPDATES = ("none", "sequential")
QUANTIZED = (GridWeight, StepWeight, CodebookWeight, ScaledWeight, BlockWeight)


@dataclass(frozen=True)
class LowRankCorrection:
    """Add a low-rank product to quantized layers; the model grows by it and comes nearer to the teacher.

    rank: a number, or a mapping from layer patterns to numbers. method: the error that is least, of weights ("svd"),
    of the layer's output ("whitened") or of the loss ("kronecker"). update: "sequential" aims at the teacher's output
    given the compressed model's input, "none" at the teacher's weight. correct: share, 0 to 1, of
    what was lost that it makes up for. bits: of the factors, 2 to 8, or 0 for plain ones. rounds: times that codes of a
    uniform grid are found anew. damping: added to the moments, as a share of their mean. layers, exclude: groups or
    name patterns.
    """

    name: ClassVar[str] = "low-rank-correction"
    kind: ClassVar[str] = "heal"
    heals: ClassVar[bool] = True
    rank: int | Mapping[str, int] = 32
    method: str = "whitened"
    update: str = "sequential"
    correct: float = 0.5
    bits: int = 8
    rounds: int = 0
    damping: float = 0.01
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.update not in UPDATES:
            raise ValueError(
                f"method is one of {', '.join(METHODS)} and update of {', '.join(UPDATES)}, "
                f"got {self.method!r} and {self.update!r}"
            )
        for rank in self.rank.values() if isinstance(self.rank, Mapping) else (self.rank,):
            if rank < 1:
                raise ValueError(f"rank is at least 1, got {rank}")
        if self.bits and not 2 <= self.bits <= 8:
            raise ValueError(f"bits are a whole number from 2 to 8, or 0 for plain factors, got {self.bits}")
        if not 0 <= self.correct <= 1 or self.damping < 0 or self.rounds < 0:
            raise ValueError("correct is from 0 to 1, damping and rounds are at least 0")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its quantized layers corrected."""
        teacher = context.taught(self.name)
        wanted = self._able(model, teacher, context)
        curvature = None
        if self.method == "kronecker" and wanted:
            curvature = curvature_of(
                teacher, context.calibrated(self.name), sorted(wanted.values()), seed=context.seed, fast=context.fast,
                progress=context.ticks("gradients"),
            )  # fmt: skip
        upstream, plans = None, Plans()
        if self.update == "sequential" and model.spec.kept == teacher.spec.kept:
            upstream = Upstream()
        elif self.update == "sequential":
            context.journal.note(
                "blocks or experts of the teacher are gone: its weights are aimed at, its stream is not"
            )
        before = _bytes(model, wanted)

        def visit(view: BlockView) -> None:
            self._visit(view, teacher, context, upstream, plans, wanted, curvature)

        if wanted:
            walk(
                model, context.calibrated(self.name), visit, fast=context.fast, statistics=False, disk=context.disk,
                progress=context.ticks("correction"),
            )  # fmt: skip
        context.journal.note(f"corrections hold {_bytes(model, wanted) - before:,} bytes before coding")
        return model

    def _able(self, model: Model, teacher: Model, context: Context) -> dict[str, str]:
        """Quantized layers of blocks, and the names of the teacher's of the same place and shape."""
        known = {one.name: one.shape for one in teacher.layers}
        before = {now: first for first, now in names_now(teacher, model).items()}
        found = {}
        for layer in select(model, self.layers, self.exclude):
            stored = getattr(model.module.get_submodule(layer.name), "stored", None)
            if not isinstance(stored, QUANTIZED):
                context.journal.left(layer.name, "is not quantized, or corrected already")
            elif not layer.block or layer.kind == "embedding":
                context.journal.left(layer.name, "is in no block, so that its inputs are not measured")
            elif known.get(before.get(layer.name, "")) != layer.shape:
                context.journal.left(layer.name, "has another shape than the teacher's, or the teacher has none")
            else:
                found[layer.name] = before[layer.name]
        return found

    def _visit(
        self, view: BlockView, teacher: Model, context: Context, upstream: Upstream | None, plans: Plans,
        wanted: Mapping[str, str], curvature: Curvature | None,
    ) -> None:  # fmt: skip
        def correct(name: str, moments: Moments, right: Root | None, drift: Drift | None) -> None:
            weight = packed(teacher.module.get_submodule(wanted[name])).weight
            target = weight if drift is None else drift.target(weight, moments.s, self.correct, self.damping)
            layer: Any = linears[name]
            left = None if curvature is None else root_of(curvature.mean(wanted[name]), self.damping)
            before = relative_error(target, layer.stored.matrix(), moments)
            layer.stored = self._corrected(layer.stored, target, moments, right, left, setting_for(self.rank, name))
            error = relative_error(target, layer.stored.matrix(), moments)
            rank = layer.stored.correction.rank
            context.journal.layer(name, "corrected", error, rank=rank, error_before=float(f"{before:.4g}"))

        def change(stage: Stage) -> None:
            names = [name for name in stage.names if name in wanted]
            right = root_of(stage.moments.s, self.damping) if names and self.method != "svd" else None
            for name in names:
                drift = None if upstream is None else upstream.drift.get(stage.names[0])
                correct(name, stage.moments, right, drift)

        linears, fast = view.linears(), context.fast
        heard = set[str]()
        if upstream is not None:
            block = teacher.module.get_submodule(view.name) if _has(teacher, view.name) else None
            heard = run_block(view, plans, fast, change, upstream, block=block)
        else:
            measure(view, fast)
        for name in [name for name in linears if name in wanted and name not in heard]:
            moments = view.statistics.moments[name]
            correct(name, moments, None if self.method == "svd" else root_of(moments.s, self.damping), None)

    def _corrected(
        self, base: nn.Module, target: Tensor, moments: Moments, right: Root | None, left: Root | None, rank: int
    ) -> SumWeight:
        """Base and correction, of the rounds the one with the least error in the layer's output."""
        best = SumWeight(base, self._correction(base, target, right, left, rank))
        least = relative_error(target, best.matrix(), moments)
        feedback = Feedback.of(moments.s) if self.rounds and isinstance(base, GridWeight) else None
        last = best
        for _ in range(self.rounds if feedback is not None else 0):
            assert feedback is not None
            again = recoded(last.base, target - last.correction.matrix(), feedback)
            last = SumWeight(again, self._correction(again, target, right, left, rank))
            error = relative_error(target, last.matrix(), moments)
            if error < least:
                best, least = last, error
        return best

    def _correction(self, base: Any, target: Tensor, right: Root | None, left: Root | None, rank: int) -> ProductWeight:
        rest = target - base.matrix()
        first, second = truncated(rest, min(rank, *rest.shape), right, left)
        if not self.bits:
            return ProductWeight(DenseWeight(first), DenseWeight(second))
        coded = _on_grid(second, self.bits)
        return ProductWeight(_on_grid(left_fit(rest, coded.matrix(), right), self.bits), coded)


def left_fit(rest: Tensor, right_factor: Tensor, right: Root | None) -> Tensor:
    """The left factor with the least error in outputs for this right one: R S Bᵀ (B S Bᵀ)⁻¹."""
    rest, factor = rest.double(), right_factor.double()
    if right is not None:
        rest, factor = right.right(rest), right.right(factor)
    found: Tensor = torch.linalg.lstsq(factor.t(), rest.t()).solution.t()
    return found.float()


def _on_grid(matrix: Tensor, bits: int) -> GridWeight:
    grid = grid_for(matrix, bits, 0, False)
    return grid.weight(grid.codes(matrix))


def recoded(base: Any, target: Tensor, feedback: Feedback) -> GridWeight:
    """New codes on a grid weight's own grid, for another target; rows that plain rounding serves better keep it."""
    zeros = None if base.zeros is None else base.zeros.float()
    grid = Grid(base.scales.float(), zeros, base.bits, base.group_size)
    return solve(target, grid, feedback).weight


def _has(model: Model, name: str) -> bool:
    try:
        model.module.get_submodule(name)
    except AttributeError:
        return False
    return True


def _bytes(model: Model, names: Iterable[str]) -> int:
    return sum(
        one.numel() * one.element_size()
        for name in names
        for one in model.module.get_submodule(name).state_dict().values()
    )
