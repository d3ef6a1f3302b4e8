"""Structured pruning to a share of the blocks' parameters: heads and feed-forward units of all layers compete.

Each attention and feed-forward has a curve of what it costs, in loss, to remove more and more of it with the rest
making up for that (see `compress.columns`). Parts go where a parameter is cheapest, along the lower hulls of the
curves, in rounds: gradients and inputs are measured again after each, as costs do not add up. How much of each part
goes is then known; it is taken from the whole model in one walk, in which what is left is fitted to make up for what
went and for a share of what the parts before lost (see `compress.upstream`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from pocketlm.compress.columns import importance, removal_curve, stride_for
from pocketlm.compress.context import Context
from pocketlm.compress.heads import HeadStep, head_curve
from pocketlm.compress.hull import lower_hull
from pocketlm.compress.journal import Journal
from pocketlm.compress.removal import heads_of, matrix_of, set_matrix
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.structure import SCORES, asked, check_choice, check_share, gradients_for
from pocketlm.compress.sublayers import Sublayer, columns_of, fit_output, staying, take_heads, take_units
from pocketlm.compress.upstream import Upstream, run_block
from pocketlm.compress.walk import BlockView, walk
from pocketlm.errors import RecipeError
from pocketlm.model.families import Attention
from pocketlm.model.pretrained import Model


@dataclass(frozen=True)
class Options:
    """How much of a part can go, step by step. steps: what to keep (heads) or how many to remove (units)."""

    part: Sublayer
    steps: tuple[HeadStep | int, ...]
    parameters: tuple[int, ...]
    costs: tuple[float, ...]


def cheapest(options: Sequence[Options], wanted: int) -> dict[str, HeadStep | int]:
    """Of each part by its output layer, the step to go to so that `wanted` parameters go at the least cost.

    Parts are taken hull segment by hull segment, cheapest parameter first; a segment that is more than enough only as
    far as needed.
    """
    segments = []
    for number, one in enumerate(options):
        done, spent = 0, 0.0
        for place in lower_hull([(0, 0.0), *zip(one.parameters, one.costs, strict=True)])[1:]:
            size, cost = one.parameters[place - 1] - done, one.costs[place - 1] - spent
            segments.append((cost / max(1, size), number, place - 1))
            done, spent = one.parameters[place - 1], one.costs[place - 1]
    chosen: dict[int, int] = {}
    total = 0
    for _, number, place in sorted(segments):
        first = chosen.get(number, -1)
        parameters = options[number].parameters
        for step in range(first + 1, place + 1):
            if total >= wanted:
                break
            total += parameters[step] - (parameters[step - 1] if step else 0)
            chosen[number] = step
    return {options[number].part.output: options[number].steps[step] for number, step in chosen.items()}


def together(first: HeadStep | int | None, then: HeadStep | int) -> HeadStep | int:
    """Two steps of a part, one after the other, as one: heads numbered as they were before the first."""
    if isinstance(then, HeadStep):
        if not isinstance(first, HeadStep):
            return then
        was = [head for group in first.kept for head in group]
        kept = tuple(tuple(was[head] for head in group) for group in then.kept)
        return HeadStep(kept, first.parameters + then.parameters, first.cost + then.cost)
    return then + (first if isinstance(first, int) else 0)


@dataclass(frozen=True)
class PruneStructure:
    """Remove a share of the blocks' parameters.

    share: of the parameters of all blocks. rounds: in how many steps it is chosen what goes. multiple: what the units
    of a feed-forward are a multiple of. score: as of prune-ffn. compensate: what is left of a layer makes up for what
    went. correct: share, 0 to 1, of the error of earlier parts that a layer is fitted to make up for; nothing without
    `compensate` and in blocks with experts. damping: how strongly that fit holds on to the weights as they were. most:
    the share of a part that may go at most. sequences, layers, exclude: as of prune-ffn.
    """

    name: ClassVar[str] = "prune-structure"
    kind: ClassVar[str] = "structure"
    share: float = 0.25
    rounds: int = 2
    multiple: int = 8
    score: str = "fisher"
    compensate: bool = True
    correct: float = 0.5
    damping: float = 0.01
    most: float = 0.75
    sequences: int = 64
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_share(self.share)
        check_share(self.most, "most")
        check_choice(self.score, SCORES, "score")
        if not 0 <= self.correct <= 1:
            raise ValueError(f"correct is a share from 0 to 1, got {self.correct}")
        for name in ("rounds", "multiple"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The smaller model."""
        context.calibrated(self.name)
        every = asked(model, self.layers, self.exclude, object, self.name)
        parts = [one for one in every if not one.together]
        for name in (name for one in every if one.together for name in one.names):
            context.journal.left(name, "its heads share one bias with all blocks; prune-heads removes them")
        plan, gradients = self._plan(model, parts, context)
        if not plan:
            return model
        start = block_parameters(model)
        model = self._apply(model, parts, plan, gradients, context, self.correct if self.compensate else 0.0)
        gone = 1 - block_parameters(model) / start
        context.journal.note(f"{gone:.1%} of {start:,} parameters of blocks removed")
        return model

    def _plan(
        self, model: Model, parts: list[Sublayer], context: Context
    ) -> tuple[dict[str, HeadStep | int], Mapping[str, Tensor]]:
        """How far each part by its output layer goes, and the gradients that this was last weighed by."""
        start, plan, gradients = block_parameters(model), dict[str, HeadStep | int](), dict[str, Tensor]()
        whole = {one.output: _size(model, one) for one in parts}
        for number in range(self.rounds):
            wanted = round(start * self.share * (number + 1) / self.rounds) - (start - block_parameters(model))
            if wanted <= 0:
                continue
            gradients = gradients_for(model, parts, context, self)
            options = self._options(model, parts, gradients, whole, context)
            if sum(one.parameters[-1] for one in options if one.parameters) < wanted:
                raise RecipeError(
                    f"pass {self.name}: at most {self.most:.0%} of each part go; a share of {self.share:.0%} cannot"
                )
            steps = cheapest(options, wanted)
            plan |= {name: together(plan.get(name), step) for name, step in steps.items()}
            if number < self.rounds - 1:
                aside = replace(context, journal=Journal())
                model = self._apply(model.draft(), parts, steps, gradients, aside, 0.0)
        return plan, gradients

    def _options(
        self, model: Model, parts: list[Sublayer], gradients: Mapping[str, Tensor], whole: Mapping[str, int],
        context: Context,
    ) -> list[Options]:  # fmt: skip
        """The curve of every part, from the inputs it has now. whole: heads or units each had to begin with."""
        found: list[Options] = []

        def visit(view: BlockView) -> None:
            for one in parts:
                if one.block == view.name:
                    s = view.statistics[one.output]
                    gram = importance(one.matrix(model), gradients.get(one.output))
                    # by loss a token, as the gradients are
                    found.append(self._curve(model, one, whole[one.output], gram, s.s / max(1, s.tokens)))

        ticks = context.ticks(f"{self.name}: costs")
        walk(model, context.calibrated(self.name), visit, fast=context.fast, disk=context.disk, progress=ticks)
        return found

    def _curve(self, model: Model, one: Sublayer, whole: int, gram: Tensor, s: Tensor) -> Options:
        most = int(whole * self.most) - (whole - _size(model, one))
        if isinstance(one.part, Attention):
            heads = heads_of(model.module.get_submodule(one.block), one.part)
            steps = head_curve(heads, [(gram, s)], one.head_parameters(model), self.compensate)
            steps = [step for step in steps if heads.count - step.count <= most]
            return Options(one, tuple(steps), tuple(x.parameters for x in steps), tuple(x.cost for x in steps))
        stride = stride_for(len(s), self.multiple)
        curve = removal_curve(gram, s, self.multiple, max(0, most), self.compensate, stride)
        size = one.unit_parameters(model)
        return Options(one, curve.counts, tuple(size * count for count in curve.counts), curve.costs)

    def _apply(
        self, model: Model, parts: list[Sublayer], plan: Mapping[str, HeadStep | int],
        gradients: Mapping[str, Tensor], context: Context, correct: float,
    ) -> Model:  # fmt: skip
        """The model with the plan carried out, block by block, each with the inputs that the smaller ones give it."""
        now, upstream, plans = [model], Upstream() if correct else None, Plans()

        def visit(view: BlockView) -> None:
            outputs = {one.output: one for one in parts if one.block == view.name}
            inner = {name for one in outputs.values() for name in one.names}
            done: dict[str, tuple[Tensor, float]] = {}

            def fit(name: str, s: Tensor, target: Tensor | None = None) -> None:
                done[name] = self._fit(model, outputs[name], plan[name], s, gradients.get(name), target)

            def change(stage: Stage) -> None:
                for name in (name for name in stage.names if name in inner):
                    layer = model.module.get_submodule(name)
                    target = self._target(matrix_of(layer, name).float(), stage, upstream, correct)
                    if name in outputs and name in plan:
                        fit(name, stage.moments.s, target)
                    elif target is not None:
                        set_matrix(layer, target)
                        context.journal.layer(name, "fitted", None)

            heard = run_block(view, plans, context.fast, change, upstream)
            for name in plan:
                if name in outputs and name not in heard:
                    fit(name, view.statistics[name].s)
            for name, (kept, error) in done.items():
                now[0] = _take(now[0], outputs[name], plan[name], kept, error, context.journal)

        ticks = context.ticks(f"{self.name}: removal")
        walk(
            model, context.calibrated(self.name), visit, fast=context.fast, statistics=False, disk=context.disk,
            progress=ticks,
        )  # fmt: skip
        return now[0]

    def _target(self, matrix: Tensor, stage: Stage, upstream: Upstream | None, correct: float) -> Tensor | None:
        """What a layer is to be so that it makes up for what was lost before it, if anything is known of that."""
        drift = None if upstream is None else upstream.drift.get(stage.names[0])
        return None if drift is None else drift.target(matrix, stage.moments.s, correct, self.damping)

    def _fit(
        self, model: Model, one: Sublayer, step: HeadStep | int, s: Tensor, gradients: Tensor | None,
        target: Tensor | None,
    ) -> tuple[Tensor, float]:  # fmt: skip
        """Columns that a part's output layer keeps, the others zero from now on, and the layer's error."""
        if isinstance(step, HeadStep):
            kept = columns_of(model, one, step)
        else:
            weight = one.matrix(model)
            gram, stride = importance(weight, gradients), stride_for(len(s), self.multiple)
            kept = staying(len(s), removal_curve(gram, s, self.multiple, step, self.compensate, stride).order)
        return kept, fit_output(model, one, kept, s, self.compensate, target)


def _size(model: Model, one: Sublayer) -> int:
    """Heads of an attention, units of a feed-forward."""
    if isinstance(one.part, Attention):
        return heads_of(model.module.get_submodule(one.block), one.part).count
    return int(one.matrix(model).shape[1])


def _take(
    model: Model, one: Sublayer, step: HeadStep | int, kept: Tensor, error: float, journal: Journal
) -> Model:  # fmt: skip
    """The model with only these columns of a part's output layer left, and the rows that they read."""
    if isinstance(step, HeadStep):
        return take_heads(model, one, step, error, journal)
    take_units(model, one, kept, error, journal)
    return model


def block_parameters(model: Model) -> int:
    """Weights of the linear layers in blocks."""
    return sum(layer.parameters for layer in model.layers if layer.block)
