"""Low rank: every weight matrix as a product of two thin ones, of the least error in what the layer or the loss sees.

Methods, by the metric that the truncated singular values are of (formulas in `factors`): "svd", the plain matrix;
"whitened", the layer's outputs (SVD-LLM, Wang et al. 2024, arXiv:2403.07378); "fisher", rows weighted by their Fisher
information (FWSVD, Hsu et al. 2022, arXiv:2207.00112); "kronecker", the loss's Kronecker-factored curvature (GFWSVD,
Chekalina et al. 2025, arXiv:2505.17974). Ranks: the same share of every layer, or, by `ranks.allocate`, where a weight
buys the most loss. The update refits both factors at once, as a reduced-rank regression of the dense model's outputs
on the compressed model's inputs, layer after layer; a block's factors can then be trained on its own output.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.curvature import Curvature, curvature_of
from pocketlm.compress.factors import Root, cost, product_of, rank_for, root_of, spectrum, truncated
from pocketlm.compress.moments import Moments
from pocketlm.compress.parallel import Task, stream
from pocketlm.compress.ranks import Choice, allocate, choices
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.targets import leaves, pack_layer, relative_error, select, setting_for
from pocketlm.compress.tuning import tune_block
from pocketlm.compress.upstream import Drift, Upstream, run_block
from pocketlm.compress.walk import BlockView, measure, rerun, walk
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight, ProductWeight

METHODS = ("svd", "whitened", "fisher", "kronecker")
ALLOCATIONS = ("uniform", "loss")
UPDATES = ("none", "sequential")


@dataclass(frozen=True)
class LowRank:
    """Replace weight matrices by products of two factors.

    method: "svd", "whitened", "fisher" or "kronecker". share: of the layers' weights that go, below 1, or a mapping
    from layer patterns to shares. rank: instead of a share, a number or a mapping. allocation: "uniform", the share of
    every layer, or "loss", the share of all layers together, each getting what the predicted loss makes of it.
    update: "sequential" fits factors to the dense model's outputs given the compressed inputs, "none" to the layer's
    own. correct: share, 0 to 1, of what was lost that it makes up for. pivoted: store unit rows in the left factor as
    places only. damping: added to the inputs' and gradients' moments, as a share of their mean. multiple: ranks are
    multiples of it. tune_epochs, tune_rate: of Adam, a block, on the block's output. layers, exclude: groups or name
    patterns.
    """

    name: ClassVar[str] = "low-rank"
    kind: ClassVar[str] = "low-rank"
    method: str = "whitened"
    share: float | Mapping[str, float] = 0.2
    rank: int | Mapping[str, int] | None = None
    allocation: str = "uniform"
    update: str = "none"
    correct: float = 0.5
    pivoted: bool = True
    damping: float = 0.01
    multiple: int = 1
    tune_epochs: int = 0
    tune_rate: float = 1e-4
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for value, allowed in (
            (self.method, METHODS),
            (self.allocation, ALLOCATIONS),
            (self.update, UPDATES),
        ):
            if value not in allowed:
                raise ValueError(f"there is {', '.join(allowed)}, got {value!r}")
        for share in _values(self.share):
            if not 0 <= share < 1:
                raise ValueError(f"share is what goes, from 0 to below 1, got {share}")
        for rank in () if self.rank is None else _values(self.rank):
            if rank < 1:
                raise ValueError(f"rank is at least 1, got {rank}")
        if (
            not 0 <= self.correct <= 1
            or self.damping < 0
            or self.multiple < 1
            or self.tune_epochs < 0
            or self.tune_rate <= 0
        ):
            raise ValueError(
                "correct is from 0 to 1, damping and tune_epochs at least 0, multiple at least 1, tune_rate above 0"
            )
        if self.allocation == "loss" and (self.rank is not None or isinstance(self.share, Mapping)):
            raise ValueError("allocation loss chooses ranks itself: give one share and no rank")
        if self.allocation == "loss" and self.method not in ("whitened", "kronecker"):
            raise ValueError(f"allocation loss needs method whitened or kronecker, got {self.method!r}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers factorized."""
        chosen = self._able(model, context)
        gradients = self._gradients(model, context, chosen)
        ranks = self._ranks(model, context, chosen, gradients)
        if self.method in ("svd", "fisher") and self.update == "none" and not self.tune_epochs:
            self._put(model, context, (one.name for one in chosen), ranks, {}, gradients)
            return model
        upstream, plans = Upstream(), Plans()

        def visit(view: BlockView) -> None:
            self._visit(view, model, context, upstream, plans, ranks, gradients)

        walk(
            model, context.calibrated(self.name), visit, fast=context.fast, statistics=False, disk=context.disk,
            progress=context.ticks("low rank"),
        )  # fmt: skip
        return model

    def _able(self, model: Model, context: Context) -> list[LayerInfo]:
        """The selected layers that are plain matrices; the others are in the journal with the reason."""
        tied = {name for group in model.spec.ties for name in group}
        found = []
        for layer in select(model, self.layers, self.exclude):
            stored = getattr(model.module.get_submodule(layer.name), "stored", None)
            if stored is not None and not isinstance(stored, DenseWeight):
                context.journal.left(layer.name, "is no plain matrix any more")
            elif not layer.block or layer.kind == "embedding" or layer.name in tied:
                context.journal.left(layer.name, "is no layer of a block; factor-embeddings is for it")
            else:
                for _ in leaves(layer.name, pack_layer(model.module, layer.name)):  # refuses what is not finite
                    found.append(layer)
        return found

    def _gradients(self, model: Model, context: Context, chosen: list[LayerInfo]) -> Curvature | None:
        if self.method in ("svd", "whitened") and self.allocation == "uniform":
            return None
        return curvature_of(
            model, context.calibrated(self.name), [one.name for one in chosen], full=self.method == "kronecker",
            rows=self.method == "fisher", inputs=self.allocation == "loss", seed=context.seed, fast=context.fast,
            progress=context.ticks("gradients"),
        )  # fmt: skip

    def _ranks(
        self, model: Model, context: Context, chosen: list[LayerInfo], gradients: Curvature | None
    ) -> dict[str, int]:
        """A rank a layer, 0 where it is better left as it is."""
        if self.allocation == "uniform":
            return {one.name: self._uniform(one) for one in chosen}
        assert gradients is not None
        offers: dict[str, list[Choice]] = {}
        for name in sorted(gradients.inputs):
            weight = packed_matrix(model, name)
            squares = spectrum(weight, gradients.root(name, self.damping), self._left(name, gradients)) / 2
            if self.method == "whitened":
                squares = squares * gradients.energy(name)
            offers[name] = choices((weight.shape[0], weight.shape[1]), squares.tolist(), self.pivoted, self.multiple)
        gradients.inputs.clear()
        budget = int((1 - float(self.share)) * sum(one.parameters for one in chosen))  # type: ignore[arg-type]
        found = allocate(offers, budget)
        loss = sum(one.loss for one in found.values())
        context.journal.note(f"allocation: {loss:.4g} nats a token expected, {len(found)} layers")
        return {one.name: found[one.name].rank if one.name in found else 0 for one in chosen}

    def _uniform(self, layer: LayerInfo) -> int:
        if self.rank is not None:
            return int(setting_for(self.rank, layer.name))
        share = setting_for(self.share, layer.name)
        return rank_for(layer.shape, int((1 - share) * layer.parameters), self.pivoted, self.multiple)

    def _left(self, name: str, gradients: Curvature | None) -> Root | None:
        """The metric of a layer's outputs."""
        if gradients is None or self.method not in ("fisher", "kronecker"):
            return None
        if self.method == "fisher":
            return root_of(gradients.rows[name], 1e-6)
        return root_of(gradients.mean(name), self.damping)

    def _visit(
        self, view: BlockView, model: Model, context: Context, upstream: Upstream, plans: Plans,
        ranks: Mapping[str, int], gradients: Curvature | None,
    ) -> None:  # fmt: skip
        fast, store = context.fast, view.inputs
        mine = store.kept("before") if self.tune_epochs else store
        wanted = [name for name in view.linears() if ranks.get(name)]

        def change(stage: Stage) -> None:
            names = [name for name in stage.names if name in wanted]
            seen = dict.fromkeys(names, stage.moments)
            self._put(model, context, names, ranks, seen, gradients, upstream.drift.get(stage.names[0]))

        heard = set[str]()
        if self.update == "sequential":
            heard = run_block(view, plans, fast, change, upstream)
        else:
            if self.tune_epochs:
                upstream.enter(view, [], fast)
            measure(view, fast)
        rest = [name for name in wanted if name not in heard]
        self._put(model, context, rest, ranks, view.statistics.moments, gradients)
        for name in view.linears():
            if ranks.get(name) == 0:
                context.journal.left(name, "the budget is better spent on leaving it as it is")
        if self.tune_epochs and wanted:
            view.inputs = mine
            self._tune(view, upstream.hidden, wanted, context)
            rerun(view, store, fast)

    def _tune(self, view: BlockView, goal: list[Tensor], wanted: list[str], context: Context) -> None:
        """Train the factors of a block, its norms and biases on what the dense block put out."""
        stored = [f"{name.removeprefix(view.name + '.')}.stored." for name in wanted]
        tuned = {
            name: one for name, one in view.module.named_parameters()
            if one.is_floating_point() and (one.dim() == 1 or name.startswith(tuple(stored)))
        }  # fmt: skip
        first, last = tune_block(view, goal, tuned, {}, epochs=self.tune_epochs, rate=self.tune_rate, fast=context.fast)
        context.journal.note(f"{view.name}: relative error of its outputs {first:.4g}, tuned {last:.4g}")

    def _put(
        self, model: Model, context: Context, names: Iterable[str], ranks: Mapping[str, int],
        seen: Mapping[str, Moments], gradients: Curvature | None, drift: Drift | None = None,
    ) -> None:  # fmt: skip
        """Factorize layers that do not depend on each other and write them down."""
        going: deque[str] = deque()
        roots: dict[int, Root] = {}  # layers that read one tensor share its root

        def tasks() -> Iterator[Task]:
            for name in names:
                weight, moments, rank = packed_matrix(model, name), seen.get(name), ranks[name]
                stored = cost((weight.shape[0], weight.shape[1]), rank, self.pivoted)
                if rank >= min(weight.shape) or stored >= weight.numel():
                    shape = f"{weight.shape[0]} × {weight.shape[1]}"
                    context.journal.left(name, f"rank {rank} of {shape} stores no less than the matrix")
                    continue
                going.append(name)
                right = None
                if moments is not None and moments.tokens and self.method in ("whitened", "kronecker"):
                    if id(moments) not in roots:
                        roots[id(moments)] = root_of(moments.s, self.damping)
                    right = roots[id(moments)]
                yield self, weight, rank, moments, drift, right, self._left(name, gradients)

        for product, error in stream(factorized, tasks(), context):
            name = going.popleft()
            layer = pack_layer(model.module, name)
            layer.stored = product
            weights = cost(tuple(product.shape), ranks[name], self.pivoted)
            context.journal.layer(name, "factorized", error, rank=ranks[name], weights=weights)
            context.journal.promise(name, "rank", ranks[name])


def factorized(
    step: LowRank, weight: Tensor, rank: int, moments: Moments | None, drift: Drift | None, right: Root | None,
    left: Root | None,
) -> tuple[ProductWeight, float]:  # fmt: skip
    """The matrix as a product of this rank, as the pass asks for it, and its relative error."""
    target = weight
    if drift is not None and moments is not None:
        target = drift.target(weight, moments.s, step.correct, step.damping)
    product = product_of(*truncated(target, rank, right, left), step.pivoted)
    return product, relative_error(target, product.matrix(), moments if moments and moments.tokens else None)


def _values(setting: Any) -> Iterable[Any]:
    return setting.values() if isinstance(setting, Mapping) else (setting,)


def packed_matrix(model: Model, name: str) -> Tensor:
    """The float32 matrix of a packed layer."""
    matrix: Tensor = model.module.get_submodule(name).stored.matrix()
    return matrix
