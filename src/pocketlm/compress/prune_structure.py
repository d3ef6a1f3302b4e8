"""Structured pruning to a share of the blocks' parameters: heads and feed-forward units of all layers compete.

Each attention and feed-forward has a curve of what it costs, in loss, to remove more and more of it with the rest
making up for that (see `compress.columns`). Parts go where a parameter is cheapest, along the lower hulls of the
curves, in rounds: gradients and inputs are measured again after each, as costs do not add up. What is left is fitted to
follow the whole model (see `compress.follow`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.columns import column_error, fitted, importance, lower_hull, made_up, removal_curve, stride_for
from pocketlm.compress.context import Context
from pocketlm.compress.follow import Follower
from pocketlm.compress.heads import HeadStep, head_curve
from pocketlm.compress.removal import heads_of, set_matrix, spread
from pocketlm.compress.structure import SCORES, asked, check_choice, check_share, gradients_for
from pocketlm.compress.sublayers import Sublayer, remove_heads, remove_units, staying, sublayers
from pocketlm.compress.walk import BlockView, walk
from pocketlm.errors import RecipeError
from pocketlm.model.families import FAMILIES, Attention
from pocketlm.model.pretrained import Model

COMPENSATIONS = ("stream", "output", "columns", "none")


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
        for place in lower_hull(one.parameters, one.costs):
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


@dataclass(frozen=True)
class PruneStructure:
    """Remove a share of the blocks' parameters.

    share: of the parameters of all blocks. rounds: how many times a part of it is removed. multiple: what the units
    of a feed-forward are a multiple of. score: as of prune-ffn. compensate: "stream" fits every layer after heads or
    units to follow the whole model, what the stream lost included; "output" to its own output in it; "columns" makes
    up for the columns removed; "none" leaves the rest as it is. damping: how strongly a fit holds on to the weights
    it began with. most: the share of a part that may go at most. sequences, layers, exclude: as of prune-ffn.
    """

    name: ClassVar[str] = "prune-structure"
    kind: ClassVar[str] = "structure"
    share: float = 0.25
    rounds: int = 2
    multiple: int = 8
    score: str = "fisher"
    compensate: str = "stream"
    damping: float = 0.01
    most: float = 0.75
    sequences: int = 64
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_share(self.share)
        check_share(self.most, "most")
        check_choice(self.score, SCORES, "score")
        check_choice(self.compensate, COMPENSATIONS, "compensate")
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
        start = block_parameters(model)
        whole = model.copy() if self.compensate in ("stream", "output") else model
        for number in range(self.rounds):
            wanted = round(start * self.share * (number + 1) / self.rounds) - (start - block_parameters(model))
            if wanted <= 0:
                continue
            gradients = gradients_for(model, parts, context, self)
            options = self._options(model, parts, gradients, context)
            if sum(one.parameters[-1] for one in options if one.parameters) < wanted:
                raise RecipeError(
                    f"pass {self.name}: at most {self.most:.0%} of each part go; a share of {self.share:.0%} cannot"
                )
            plan = cheapest(options, wanted)
            model = self._apply(model, parts, plan, gradients, whole, context)
        gone = 1 - block_parameters(model) / start
        context.journal.note(f"{gone:.1%} of {start:,} parameters of blocks removed")
        return model

    def _options(
        self, model: Model, parts: list[Sublayer], gradients: Mapping[str, Tensor], context: Context
    ) -> list[Options]:
        """The curve of every part, from the inputs it has now."""
        found: list[Options] = []

        def visit(view: BlockView) -> None:
            for one in parts:
                if one.block == view.name:
                    s = view.statistics[one.output]
                    gram = importance(one.matrix(model), gradients.get(one.output))
                    # by loss a token, as the gradients are
                    found.append(self._curve(model, one, gram, s.s / max(1, s.tokens)))

        ticks = context.ticks(f"{self.name}: costs")
        walk(model, context.calibrated(self.name), visit, fast=context.fast, disk=context.disk, progress=ticks)
        return found

    def _curve(self, model: Model, one: Sublayer, gram: Tensor, s: Tensor) -> Options:
        compensate = self.compensate != "none"
        if isinstance(one.part, Attention):
            heads = heads_of(model.module.get_submodule(one.block), one.part)
            steps = head_curve(heads, [(gram, s)], one.head_parameters(model), compensate)
            steps = [step for step in steps if step.count >= heads.count * (1 - self.most)]
            return Options(one, tuple(steps), tuple(x.parameters for x in steps), tuple(x.cost for x in steps))
        stride = stride_for(len(s), self.multiple)
        curve = removal_curve(gram, s, self.multiple, int(len(s) * self.most), compensate, stride)
        size = one.unit_parameters(model)
        return Options(one, curve.counts, tuple(size * count for count in curve.counts), curve.costs)

    def _apply(
        self, model: Model, parts: list[Sublayer], plan: Mapping[str, HeadStep | int],
        gradients: Mapping[str, Tensor], whole: Model, context: Context,
    ) -> Model:  # fmt: skip
        """The model with the plan carried out, block by block, each with the inputs that the smaller ones give it."""
        now = [model]
        family = FAMILIES[model.spec.model_type]
        follower = Follower(whole, context.fast, self.compensate == "stream" and family.additive)

        def visit(view: BlockView) -> None:
            every = sublayers(model, view.name)
            follows = self.compensate in ("stream", "output") and not any(".experts." in one.output for one in every)
            if follows:
                follower.enter(view, every)
            for number, one in enumerate(every):
                if one.output not in {part.output for part in parts}:
                    continue
                if follows:
                    fit = follower.fit(view, every, number)
                    s, cross = fit.s, fit.cross
                else:
                    s, cross = view.statistics[one.output].s, None
                now[0] = self._shrink(now[0], one, plan.get(one.output), s, cross, gradients.get(one.output), context)

        ticks = context.ticks(f"{self.name}: removal")
        walk(model, context.calibrated(self.name), visit, fast=context.fast, disk=context.disk, progress=ticks)
        return now[0]

    def _shrink(
        self, model: Model, one: Sublayer, step: HeadStep | int | None, s: Tensor, cross: Tensor | None,
        gradients: Tensor | None, context: Context,
    ) -> Model:  # fmt: skip
        """The model with one part smaller, and its output layer fitted."""
        weight = one.matrix(model)
        kept = torch.arange(weight.shape[1])
        compensate = self.compensate != "none"
        if isinstance(step, HeadStep):
            size = heads_of(model.module.get_submodule(one.block), one.part).size  # type: ignore[arg-type]
            kept = spread([head for group in step.kept for head in group], size)
            model = remove_heads(model, one, step, s, compensate, context.journal)
        elif step:
            stride = stride_for(len(kept), self.multiple)
            gram = importance(weight, gradients)
            curve = removal_curve(gram, s, self.multiple, step, compensate, stride)
            kept = staying(len(kept), curve.order)
            remove_units(model, one, curve.order, s, compensate, context.journal)
        if cross is not None:
            prior = made_up(weight, s, kept) if step else weight
            found = fitted(cross[:, kept], s[kept][:, kept], prior, self.damping)
            set_matrix(model.module.get_submodule(one.output), found)
            if one.output not in context.journal.layers:
                context.journal.layer(one.output, "fitted", column_error(weight, found, s, kept))
        return model


def block_parameters(model: Model) -> int:
    """Weights of the linear layers in blocks."""
    return sum(layer.parameters for layer in model.layers if layer.block)
