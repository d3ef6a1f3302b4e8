"""Structured pruning of one kind of part: attention heads or feed-forward units go, the others make up for them.

A part's price is what its removal does to its layer's output (Michel et al. 2019, arXiv:1905.10650, ask the same of
heads), weighed by the gradient of the loss there where `score` is "fisher"; see `compress.columns` for the formulas.
With grouped-query attention, either whole groups go, a key head with all its query heads, or as many query heads of
every group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pocketlm.compress.columns import importance, removal_curve, stride_for
from pocketlm.compress.context import Context
from pocketlm.compress.gradients import output_gradients
from pocketlm.compress.heads import HeadStep, head_curve
from pocketlm.compress.removal import heads_of
from pocketlm.compress.sublayers import Sublayer, remove_heads, remove_units, sublayers
from pocketlm.compress.targets import select, setting_for
from pocketlm.compress.walk import BlockView, walk
from pocketlm.errors import RecipeError
from pocketlm.model.anatomy import stacks
from pocketlm.model.families import Attention
from pocketlm.model.pretrained import Model

SCORES = ("fisher", "output")


def check_share(share: float, name: str = "share") -> None:
    """Raises ValueError for a share that is not from 0 to below 1."""
    if not 0 <= share < 1:
        raise ValueError(f"{name} is from 0 to below 1, got {share}")


def check_choice(value: str, among: tuple[str, ...], name: str) -> None:
    """Raises ValueError for a value that is none of `among`."""
    if value not in among:
        raise ValueError(f"{name} is one of {', '.join(among)}, got {value!r}")


def to_remove(count: int, share: float, multiple: int) -> int:
    """How many of `count` to remove so that the multiple of `multiple` nearest to the rest is left."""
    if share == 0:
        return 0
    left = max(multiple, round(count * (1 - share) / multiple) * multiple)
    return max(0, count - left)


def asked(model: Model, layers: tuple[str, ...], exclude: tuple[str, ...], kind: type, name: str) -> list[Sublayer]:
    """The attentions (or feed-forwards) whose output layer is among the chosen layers."""
    chosen = {layer.name for layer in select(model, layers, exclude)}
    found = [
        one for stack in stacks(model.module) for block in stack for one in sublayers(model, block, chosen)
        if isinstance(one.part, kind)
    ]  # fmt: skip
    if not found:
        raise RecipeError(f"pass {name}: no such part is among layers {', '.join(layers)} of {model.spec.model_type}")
    return found


def gradients_for(model: Model, parts: list[Sublayer], context: Context, step: Any) -> dict[str, Tensor]:
    """G of the parts' output layers, or nothing where the score does not ask for it."""
    if step.score != "fisher":
        return {}
    return output_gradients(model, [one.output for one in parts], context, step.name, step.sequences)


@dataclass(frozen=True)
class PruneUnits:
    """Remove feed-forward units: rows of the layers in, columns of the layer out.

    share: of each feed-forward's units, or a mapping from patterns of their layers out to it. multiple: what the units
    left are a multiple of. score: "fisher" weighs what changes by the loss's gradient, "output" counts it as it is.
    compensate: the columns left make up for those gone. sequences: of calibration whose gradients are taken. layers,
    exclude: which layers out, by group or name pattern.
    """

    name: ClassVar[str] = "prune-ffn"
    kind: ClassVar[str] = "structure"
    share: float | Mapping[str, float] = 0.25
    multiple: int = 8
    score: str = "fisher"
    compensate: bool = True
    sequences: int = 64
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for share in self.share.values() if isinstance(self.share, Mapping) else (self.share,):
            check_share(share)
        check_choice(self.score, SCORES, "score")
        if self.multiple < 1:
            raise ValueError(f"multiple is at least 1, got {self.multiple}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with fewer units."""
        calibration = context.calibrated(self.name)
        parts = asked(model, self.layers, self.exclude, object, self.name)
        parts = [one for one in parts if not isinstance(one.part, Attention)]
        gradients = gradients_for(model, parts, context, self)

        def visit(view: BlockView) -> None:
            for one in parts:
                if one.block == view.name:
                    self._remove(model, one, view, gradients.get(one.output), context)

        walk(model, calibration, visit, fast=context.fast, disk=context.disk, progress=context.ticks(self.name))
        return model

    def _remove(self, model: Model, one: Sublayer, view: BlockView, gradients: Tensor | None, context: Context) -> None:
        weight = one.matrix(model)
        gone = to_remove(weight.shape[1], setting_for(self.share, one.output), self.multiple)
        if not gone:
            context.journal.left(one.output, "no unit to remove")
            return
        s = view.statistics[one.output].s
        stride = stride_for(weight.shape[1], self.multiple)
        curve = removal_curve(importance(weight, gradients), s, self.multiple, gone, self.compensate, stride)
        remove_units(model, one, curve.order[:gone], s, self.compensate, context.journal)


@dataclass(frozen=True)
class PruneHeads:
    """Remove attention heads.

    share: of each attention's query heads, at least one of which stays. The heads left are those nearest to it that
    grouped-query attention can have. score, compensate, sequences, layers, exclude: as of prune-ffn.
    """

    name: ClassVar[str] = "prune-heads"
    kind: ClassVar[str] = "structure"
    share: float = 0.25
    score: str = "fisher"
    compensate: bool = True
    sequences: int = 64
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_share(self.share)
        check_choice(self.score, SCORES, "score")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with fewer heads."""
        calibration = context.calibrated(self.name)
        parts = asked(model, self.layers, self.exclude, Attention, self.name)
        gradients = gradients_for(model, parts, context, self)
        now = [model]
        together: dict[str, Tensor] = {}

        def visit(view: BlockView) -> None:
            for one in parts:
                if one.block == view.name:
                    s = view.statistics[one.output].s
                    if one.together:
                        together[one.output] = s
                    else:
                        step = self._chosen([one], now[0], {one.output: s}, gradients)
                        now[0] = remove_heads(now[0], one, step, s, self.compensate, context.journal)

        walk(model, calibration, visit, fast=context.fast, disk=context.disk, progress=context.ticks(self.name))
        for group in _groups([one for one in parts if one.together], model):
            step = self._chosen(group, now[0], together, gradients)
            for one in group:
                now[0] = remove_heads(now[0], one, step, together[one.output], self.compensate, context.journal)
        return now[0]

    def _chosen(
        self, group: list[Sublayer], model: Model, s: dict[str, Tensor], gradients: dict[str, Tensor]
    ) -> HeadStep | None:
        """What is left of the heads, the same in every attention of the group."""
        block = model.module.get_submodule(group[0].block)
        assert isinstance(group[0].part, Attention)
        heads = heads_of(block, group[0].part)
        given = [(importance(one.matrix(model), gradients.get(one.output)), s[one.output]) for one in group]
        wanted = heads.count * (1 - self.share)
        steps = head_curve(heads, given, group[0].head_parameters(model), self.compensate)
        best = min([None, *steps], key=lambda one: abs((heads.count if one is None else one.count) - wanted))
        return best


def _groups(parts: list[Sublayer], model: Model) -> list[list[Sublayer]]:
    """Attentions whose heads share a bias: the same in all blocks of a stack.

    Raises RecipeError where only some of a stack's blocks are asked for.
    """
    found: dict[tuple[str, str], list[Sublayer]] = {}
    for one in parts:
        found.setdefault((one.stack, one.part.output), []).append(one)
    for (stack, output), group in found.items():
        blocks: Any = model.module.get_submodule(stack)
        if len(group) != len(blocks):
            raise RecipeError(f"layers {stack}.*.{output}: heads share one bias; take all blocks or none")
    return list(found.values())
