"""What passes that prune have in common: settings, rates, and the walk in which one block after the other is pruned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pocketlm.compress.context import Context
from pocketlm.compress.masks import Few, Plan, Tiles, read_pattern, tile_sums
from pocketlm.compress.moments import Moments
from pocketlm.compress.parallel import Task, spread_leaves
from pocketlm.compress.rates import Rates, allocate, seen_moments
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
from pocketlm.compress.tuning import tune_block
from pocketlm.compress.upstream import Drift, Upstream, run_block
from pocketlm.compress.walk import BlockView, rerun, walk
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight

ALLOCATIONS = ("uniform", "owl", "sensitivity")
# Of S where a layer is fitted to make up for the error of earlier ones.
DAMPING = 0.01


def check_damping(damping: float) -> None:
    """Raises ValueError for a damping that is not above 0."""
    if not 0 < damping <= 1:
        raise ValueError(f"damping is a share above 0 and up to 1, got {damping}")


@dataclass(frozen=True)
class Pruning:
    """Settings that passes which prune share; `prune` describes them. A pass adds how a matrix is solved."""

    name: ClassVar[str] = "pruning"
    kind: ClassVar[str] = "prune"
    sparsity: float | Mapping[str, float] = 0.5
    pattern: Mapping[str, int] | None = None
    allocation: str = "uniform"
    spread: float = 0.2
    correct: float = 0.0
    tune_epochs: int = 0
    tune_rate: float = 1e-3
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for one in self.sparsity.values() if isinstance(self.sparsity, Mapping) else (self.sparsity,):
            if isinstance(one, bool) or not isinstance(one, (int, float)) or not 0 <= one < 1:
                raise ValueError(f"sparsity is a share from 0 and below 1, got {one}")
        pattern = read_pattern(self.pattern)
        if self.allocation not in ALLOCATIONS:
            raise ValueError(f"allocation is one of {', '.join(ALLOCATIONS)}, got {self.allocation!r}")
        if isinstance(pattern, Few) and (self.sparsity != pattern.sparsity or self.allocation != "uniform"):
            raise ValueError(
                f"{pattern.keep}:{pattern.of} has the sparsity {pattern.sparsity:g} in every layer, "
                f"got {self.sparsity} with allocation {self.allocation!r}"
            )
        for setting, value in (("spread", self.spread), ("correct", self.correct)):
            if not 0 <= value <= 1:
                raise ValueError(f"{setting} is from 0 to 1, got {value}")
        if self.tune_epochs < 0 or not self.tune_rate > 0:
            raise ValueError(f"tune_epochs is from 0 and tune_rate above 0, got {self.tune_epochs}, {self.tune_rate}")

    @property
    def needs_inputs(self) -> bool:
        """Whether it has to see what goes through the layers."""
        return True

    def solve(self, weight: Tensor, s: Tensor, plan: Plan) -> Tensor:
        """The pruned matrix."""
        raise TypeError(f"{type(self).__name__} does not say how a matrix is pruned")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with zeros in the layers chosen."""
        chosen = select(model, self.layers, self.exclude)
        asked = {one.name: float(setting_for(self.sparsity, one.name)) for one in chosen}
        rates = Rates({}, {})
        inside = [one for one in chosen if one.block]
        if self.allocation != "uniform" and inside:
            rates = allocate(model, context, inside, asked, self.allocation, self.spread, self.name)
        work = _Work(self, model, context, asked, rates)
        seen = self.needs_inputs or self.correct > 0 or self.tune_epochs > 0
        if seen and inside:
            work.walk({one.name for one in inside})
        work.prune((layer, None, None) for layer in chosen if not (seen and layer.block))
        share_ties(model)
        return model


def pruned_matrix(
    step: Pruning, matrix: Tensor, moments: Moments | None, drift: Drift | None, plan: Plan
) -> tuple[Tensor, float]:
    """The matrix as the pass prunes it, and its relative error."""
    s = torch.eye(matrix.shape[1]) if moments is None else moments.s
    target = matrix if drift is None else drift.target(matrix, s, step.correct, DAMPING)
    pruned = step.solve(target, s, plan)
    return pruned, relative_error(target, pruned, moments)


@dataclass
class _Work:
    """One run of a pass over a model."""

    step: Pruning
    model: Model
    context: Context
    asked: Mapping[str, float]
    rates: Rates

    def walk(self, names: set[str]) -> None:
        """Prune the layers called `names`, block by block, on what the pruned layers before hand on."""
        upstream, plans = Upstream(), Plans()
        known = {one.name: one for one in self.model.layers}
        for name in names:
            pack_layer(self.model.module, name)

        def visit(view: BlockView) -> None:
            self.visit(view, {name: known[name] for name in view.linears() if name in names}, upstream, plans)

        walk(
            self.model, self.context.calibrated(self.step.name), visit,
            fast=self.context.fast, statistics=False, disk=self.context.disk,
            progress=self.context.ticks(self.step.name),
        )  # fmt: skip

    def visit(self, view: BlockView, here: Mapping[str, LayerInfo], upstream: Upstream, plans: Plans) -> None:
        """Prune the layers `here` of a block, each once it is known what reaches it, and tune what stays."""
        fast, store = self.context.fast, view.inputs
        mine = store.kept("before") if self.step.tune_epochs else store

        def change(stage: Stage) -> None:
            drift = upstream.drift.get(stage.names[0])
            self.prune((here[name], stage.moments, drift) for name in stage.names if name in here)

        followed = upstream if self.step.correct or self.step.tune_epochs else None
        heard = run_block(view, plans, fast, change, followed, compare=bool(self.step.correct))
        self.prune((layer, seen_moments(view, name), None) for name, layer in here.items() if name not in heard)
        if self.step.tune_epochs and here:
            view.inputs = mine
            self.tune(view, upstream.hidden, here)
            rerun(view, store, fast)

    def prune(self, layers: Iterable[tuple[LayerInfo, Moments | None, Drift | None]]) -> None:
        """Prune the matrices of layers, with moments and drift of their inputs; write down what came of it."""
        drifts: dict[str, Drift | None] = {}

        def opened() -> Iterator[tuple[str, Iterator[Leaf]]]:
            for layer, moments, drift in layers:
                owner = pack_layer(self.model.module, layer.name)
                if next(leaves(layer.name, owner, check=False), None) is None:
                    self.context.journal.left(layer.name, "has no plain matrix: it is quantized already")
                drifts[layer.name] = drift
                yield layer.name, (leaf for leaf in leaves(layer.name, owner, moments) if self.goes(leaf, layer.name))

        def task(name: str, leaf: Leaf) -> Task:
            plan = Plan(
                self.rate(leaf, name), read_pattern(self.step.pattern), self.rates.rows.get(leaf.name),
                zeros_of(leaf.matrix),
            )  # fmt: skip
            return self.step, leaf.matrix, leaf.moments, drifts[name] if leaf.name == name else None, plan

        for name, leaf, (pruned, error) in spread_leaves(pruned_matrix, opened(), task, self.context):
            leaf.put(DenseWeight(pruned))
            share = float((pruned == 0).float().mean())
            facts = {} if leaf.moments is not None else {"inputs": "not seen: all count alike"}
            self.context.journal.layer(leaf.name, "pruned", error, sparsity=round(share, 6), **facts)
            if leaf.name == name:
                self.promise(name, pruned, share)

    def rate(self, leaf: Leaf, name: str) -> float:
        """The share of a matrix that goes."""
        return self.rates.shares.get(leaf.name, self.asked[name])

    def goes(self, leaf: Leaf, name: str) -> bool:
        """Whether anything of a matrix goes."""
        if self.rate(leaf, name) == 0:
            self.context.journal.left(leaf.name, "its sparsity is 0")
        return self.rate(leaf, name) != 0

    def promise(self, name: str, pruned: Tensor, share: float) -> None:
        """What holds of a pruned layer from now on."""
        pattern = read_pattern(self.step.pattern)
        self.context.journal.promise(name, "sparsity", share)
        if isinstance(pattern, Few):
            self.context.journal.promise(name, "pattern", (pattern.keep, pattern.of))
        if isinstance(pattern, Tiles):
            empty = float((tile_sums(pruned.abs(), pattern) == 0).float().mean())
            self.context.journal.promise(name, "blocks", (pattern.rows, pattern.columns, empty))

    def tune(self, view: BlockView, goal: list[Tensor], names: Iterable[str]) -> None:
        """Bring the block's outputs near to the dense ones with the weights that stay, its norms and biases."""
        block = self.model.module.get_submodule(view.name)
        inner = [(name, child.stored) for name, child in block.named_modules() if hasattr(child, "stored")]
        chosen = {f"{view.name}.{name}" for name, _ in inner} & set(names)
        matrices = [f"{name}.stored" for name, _ in inner if f"{view.name}.{name}" in chosen]
        tuned: dict[str, nn.Parameter] = {}
        masks: dict[str, Tensor] = {}
        for name, parameter in block.named_parameters():
            inside = any(name.startswith(f"{one}.") for one in matrices)
            if inside or parameter.dim() == 1:
                tuned[name] = parameter
            if inside:
                masks[name] = parameter != 0
        first, last = tune_block(
            view, goal, tuned, masks, epochs=self.step.tune_epochs, rate=self.step.tune_rate, fast=self.context.fast
        )
        self.context.journal.note(f"{view.name}: relative error of its outputs {first:.4g}, tuned {last:.4g}")
