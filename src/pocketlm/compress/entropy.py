"""Entropy-coded quantization: whole multiples of steps that follow what the loss feels, stored at their entropy.

An error of one step in row i and column j, once feedback has moved what it can to later columns, costs the loss about
½ g_i d_j² Δ_ij² / 12, with g_i the gradient energy of output i and 1/d_j the diagonal of the factor U of S⁻¹ = UᵀU.
At a given sum of entropies the cost is least where all weights cost alike (reverse water-filling, Cover and Thomas
2006, §10.3.3), so Δ_ij = c · g_i^(-1/2) · U_jj with one c for the whole model: bits go by themselves to the layers,
rows and columns that need them. Codes are rounded column by column with error feedback (Frantar et al. 2022,
arXiv:2210.17323) and towards 0 where the bits this saves outweigh the error (rate–distortion-optimized quantization,
Sullivan and Wiegand 1998, IEEE Signal Processing Magazine 15(6)); steps of rows are refitted by least squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.moments import Moments, Statistics
from pocketlm.compress.outer import outer_moments
from pocketlm.compress.parallel import Task, spread_leaves
from pocketlm.compress.sensitivity import gradient_energy, smoothed, token_counts
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.steps import SMOOTHING, Steps, Stock, entropy_bits, refitted, step_codes, steps_for
from pocketlm.compress.targets import Leaf, leaves, pack_layer, relative_error, select, share_ties, zeros_of
from pocketlm.compress.upstream import Drift, Upstream, run_block
from pocketlm.compress.walk import BlockView, walk
from pocketlm.errors import ModelError
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.code_weights import StepWeight
from pocketlm.model.pretrained import Model

# Batches that the stock is taken on; the walk itself uses all.
STOCK_BATCHES = 2


@dataclass(frozen=True)
class EntropyCoded:
    """Quantize to whole multiples of steps, and let the file hold the codes at their entropy.

    bits: mean bits a weight over all chosen layers, from 1 to 8; each layer, row and column takes what it needs.
    thrift: 0 rounds to nearest; 0.15 gives up a little precision where that saves more bits than it costs elsewhere.
    correct: share, 0 to 1, of the error of earlier layers that a layer is fitted to make up for. damping: share of the
    mean of diag S that is added to it. gradients: batches that are run backward. layers, exclude: groups ("blocks",
    "embeddings", "head", "all") or name patterns.
    """

    name: ClassVar[str] = "entropy-coded"
    kind: ClassVar[str] = "quantize"
    bits: float = 3.0
    thrift: float = 0.15
    correct: float = 0.5
    damping: float = 0.01
    gradients: int = 2
    layers: tuple[str, ...] = ("blocks", "embeddings", "head")
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits are a number from 1 to 8, got {self.bits}")
        if not 0 <= self.thrift <= 1:
            raise ValueError(f"thrift is a number from 0 to 1, got {self.thrift}")
        if not 0 <= self.correct <= 1:
            raise ValueError(f"correct is a share from 0 to 1, got {self.correct}")
        if self.gradients < 1:
            raise ValueError(f"gradients is a number of batches, at least 1, got {self.gradients}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""
        chosen = select(model, self.layers, self.exclude)
        calibration = context.calibrated(self.name)
        for layer in chosen:
            pack_layer(model.module, layer.name)
        job = _Job(self, model, context, calibration, chosen)
        job.take_stock()
        job.walk()
        job.quantize_outer()
        share_ties(model)
        for group in model.spec.ties:
            for name in group:
                context.journal.left(name, "shares the matrix of " + next(one for one in group if one != name))
        return model


def leaf_energy(leaf: Leaf, energy: Tensor, layer: Any) -> Tensor:
    """Gradient energy at a leaf's outputs: the layer's, or of a right factor what its left factor makes of it."""
    if not leaf.name.endswith("/right"):
        places = getattr(getattr(layer.stored, "left", None), "places", None)
        if places is None or len(leaf.matrix) == len(energy):
            return energy
        rank = leaf.matrix.shape[1]  # of a pivoted left factor only the rows that are no unit rows are stored
        return energy[torch.argsort(places.long())[rank:]]
    left: Tensor = layer.stored.left.matrix()
    return left.square().t() @ energy


def near_one(energy: dict[str, Tensor]) -> dict[str, Tensor]:
    """Energies over the power of 4 that brings their mean near 1: steps keep their bits, and stay on LADDER."""
    if not energy:
        return energy
    mean = sum(float(one.mean()) for one in energy.values()) / len(energy)
    level = 4.0 ** round(math.log(mean, 4))
    return {name: one / level for name, one in energy.items()}


class _Job:
    """One run of the pass: energies, the step c, and what was spent so far."""

    def __init__(
        self, step: EntropyCoded, model: Model, context: Context, calibration: Calibration, chosen: list[LayerInfo]
    ) -> None:
        self.step, self.model, self.context, self.calibration = step, model, context, calibration
        self.inner = {one.name for one in chosen if one.block and one.kind != "embedding"}
        self.outer = [one for one in chosen if one.name not in self.inner]
        names = [one.name for one in chosen if one.kind != "embedding"]
        context.progress.stage("gradients")
        self.energy = gradient_energy(model, calibration, names, step.gradients, context.fast)
        self.energy = near_one({name: one for name, one in self.energy.items() if bool(one.any())})
        self.felt = self.energy.pop("", torch.ones(1))
        self.scale, self.bits, self.weights = 1.0, 0.0, 0
        self.budget = 0.0

    def take_stock(self) -> None:
        """Find c: what all chosen matrices take together at every rung, on a few batches."""
        stock, few = Stock(), Calibration(self.calibration.batches[:STOCK_BATCHES], source=self.calibration.source)

        def visit(view: BlockView) -> None:
            for name, layer in view.linears().items():
                if name in self.inner:
                    for leaf in leaves(name, layer, view.statistics.moments.get(name)):
                        stock.add(leaf.matrix, self._steps(leaf, name, layer), self.step.thrift)

        if self.inner:
            walk(self.model, few, visit, fast=self.context.fast, progress=self.context.ticks("taking stock"))
        for leaf, steps in self._outer_leaves():
            stock.add(leaf.matrix, steps, self.step.thrift)
        self.scale, self.budget = stock.step_for(self.step.bits), self.step.bits * stock.weights

    def _steps(self, leaf: Leaf, name: str, layer: Any) -> Steps:
        s = mean_of(leaf.moments, leaf.matrix.shape[1])
        return steps_for(s, self._energy(leaf, name, layer), self.step.damping)

    def _energy(self, leaf: Leaf, name: str, layer: Any) -> Tensor:
        """Gradient energy at a leaf's outputs."""
        energy = self.energy.get(name)
        if energy is None:  # no gradient: as much as the others on average
            known = [float(one.mean()) for one in self.energy.values()] or [1.0]
            energy = torch.full((int(layer.out_features),), sum(known) / len(known))
        return leaf_energy(leaf, energy, layer)

    def walk(self) -> None:
        """Quantize the layers of all blocks."""
        if not self.inner:
            return
        upstream, plans = Upstream(), Plans()
        walk(
            self.model, self.calibration, lambda view: self._visit(view, upstream, plans), fast=self.context.fast,
            disk=self.context.disk, statistics=False, progress=self.context.ticks(self.step.name),
        )  # fmt: skip

    def _visit(self, view: BlockView, upstream: Upstream, plans: Plans) -> None:
        linears, done = view.linears(), set[str]()

        def change(stage: Stage) -> None:
            names = [name for name in stage.names if name in self.inner]
            done.update(names)
            found = [(name, linears[name], stage.moments) for name in names]
            self._quantize(found, upstream.drift.get(stage.names[0]))

        run_block(view, plans, self.context.fast, change, upstream if self.step.correct else None)
        rest = [name for name in linears if name in self.inner and name not in done]
        self._quantize([(name, linears[name], view.statistics.moments.get(name)) for name in rest])

    def _quantize(self, layers: Sequence[tuple[str, Any, Moments | None]], drift: Drift | None = None) -> None:
        """Quantize layers (name, packed layer, moments of its inputs) that do not depend on each other."""
        owners, seen = {name: layer for name, layer, _ in layers}, set()

        def task(name: str, leaf: Leaf) -> Task:
            energy = self._energy(leaf, name, owners[name])
            return self.step, leaf.matrix, leaf.moments, energy, self.scale, drift if leaf.name == name else None

        opened = ((name, leaves(name, layer, moments)) for name, layer, moments in layers)
        for name, leaf, made in spread_leaves(coded_leaf, opened, task, self.context):
            seen.add(name)
            self._put(leaf, made)
        for name in [one for one in owners if one not in seen]:
            self.context.journal.left(name, "is quantized already")

    def _put(self, leaf: Leaf, made: tuple[StepWeight, float, float]) -> None:
        """Put a weight in its place, of so many bits and such an error, and write it down."""
        weight, bits, error = made
        leaf.put(weight)
        self.bits, self.weights = self.bits + bits, self.weights + leaf.matrix.numel()
        self.context.journal.layer(leaf.name, "quantized", error, bits=round(bits / leaf.matrix.numel(), 3))

    def _outer_leaves(self) -> Iterator[tuple[Leaf, Steps]]:
        """Matrices of heads and embeddings with their steps; one that several layers share once."""
        module, tied = self.model.module, {name: group for group in self.model.spec.ties for name in group}
        heads = {one.name: module.get_submodule(one.name) for one in self.outer if one.kind != "embedding"}
        statistics = outer_moments(self.model, heads, self.calibration, self.context.fast) if heads else Statistics()
        for name, layer in heads.items():
            looked_up = any(name in group for group in self.model.spec.ties)
            for leaf in leaves(name, layer, statistics.moments.get(name)):
                yield leaf, self._head_steps(leaf, name, layer, looked_up)
        for one in self.outer:
            if one.kind == "embedding" and not set(tied.get(one.name, ())) & heads.keys():
                for leaf in leaves(one.name, module.get_submodule(one.name)):
                    yield leaf, self._embedding_steps(leaf)

    def _head_steps(self, leaf: Leaf, name: str, layer: nn.Module, looked_up: bool) -> Steps:
        plain = self._steps(leaf, name, layer)
        if not looked_up or leaf.moments is None or not leaf.moments.tokens or leaf.name.endswith("/right"):
            return plain
        # a row read as an embedding is felt as often as its token comes, by the gradient at the embedding's output
        share = self._token_share(len(leaf.matrix))
        energy = self.energy[name] + share * self.felt.mean() / leaf.moments.mean.diagonal().mean()
        return steps_for(leaf.moments.mean, energy, self.step.damping)

    def _token_share(self, size: int) -> Tensor:
        counts = token_counts(self.calibration, size) + 0.5
        return counts / counts.sum()

    def _embedding_steps(self, leaf: Leaf) -> Steps:
        """Rows by how often calibration looks them up; columns by the gradient at the embedding's output."""
        (rows, width), felt = leaf.matrix.shape, self.felt
        if len(felt) != width or leaf.name.endswith(("/left", "/right")):
            felt = torch.full((width,), float(felt.mean()))
        share = (
            self._token_share(rows) if rows == self.model.module.config.vocab_size else torch.full((rows,), 1 / rows)
        )
        return steps_for(torch.diag(smoothed(felt, SMOOTHING).clamp(min=1e-30)), share, self.step.damping)

    def quantize_outer(self) -> None:
        """Quantize heads and embeddings with the step that spends what the blocks left of the budget."""
        found = list(self._outer_leaves())
        left = self.budget - self.bits
        stock = Stock()
        for leaf, steps in found:
            stock.add(leaf.matrix, steps, self.step.thrift, sample=1024)
        if not found:
            return
        lowest = 0.5 * self.step.bits
        wanted = max(lowest, left / max(1, stock.weights))
        scale = stock.step_for(wanted)
        # what the blocks over- or underspent is shared out, but heads and embeddings stay near the common step
        scale = min(max(scale, self.scale / 1.5), self.scale * 1.5)
        for leaf, steps in found:
            self._put(leaf, coded(self.step, leaf.matrix, leaf.moments, steps, scale))
        spent = self.bits / max(1, self.weights)
        self.context.journal.note(f"{spent:.3f} bits a weight on average, asked for {self.step.bits:g}")
        if not math.isclose(spent, self.step.bits, rel_tol=0.05):
            self.context.journal.note("the bits spent differ by more than 5 % from those asked for")


def mean_of(moments: Moments | None, width: int) -> Tensor:
    """S over tokens (width, width), or the identity where no token came."""
    return moments.mean if moments is not None and moments.tokens else torch.eye(width)


def coded_leaf(
    step: EntropyCoded, matrix: Tensor, moments: Moments | None, energy: Tensor, scale: float, drift: Drift | None
) -> tuple[StepWeight, float, float]:
    """As `coded`, from the gradient energy of its outputs (out,)."""
    steps = steps_for(mean_of(moments, matrix.shape[1]), energy, step.damping)
    return coded(step, matrix, moments, steps, scale, drift)


def coded(
    step: EntropyCoded, matrix: Tensor, moments: Moments | None, steps: Steps, scale: float, drift: Drift | None = None
) -> tuple[StepWeight, float, float]:
    """A matrix quantized with the steps times `scale`, the bits it takes, and its relative error."""
    target, frozen = matrix, zeros_of(matrix)
    if drift is not None and moments is not None:
        target = drift.target(matrix, moments.s, step.correct, step.damping)
        target = target if frozen is None else target.masked_fill(frozen, 0.0)
    rows = steps.rows * scale
    codes = step_codes(target, rows, steps, step.thrift, frozen)
    rows = refitted(target, codes, rows, steps.columns, mean_of(moments, matrix.shape[1]))
    weight = StepWeight(codes.to(torch.int16), *_halves(rows, steps.columns))
    return weight, entropy_bits(codes), relative_error(target, weight.matrix(), moments)


def _halves(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Steps as float16 with the scale between them shared out so that neither is lost."""
    shift = rows.log().mean().exp().clamp(min=1e-12).sqrt()
    halves = (rows / shift).half(), (columns * shift).half()
    if not all(bool(one.isfinite().all()) for one in halves):
        raise ModelError("steps of a matrix are too far apart for float16; its weights or gradients are out of range")
    return halves
