"""Quantize a model block by block: every layer once those before it in its block are done, then what lies outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from pocketlm.compress.context import Context
from pocketlm.compress.outer import quantize_outer
from pocketlm.compress.quantizer import Quantizer, quantize_layers
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.targets import Leaf, pack_layer, select, share_ties
from pocketlm.compress.upstream import Upstream, run_block
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.pretrained import Model


class Asking(Protocol):
    """A pass that says which layers it quantizes."""

    name: ClassVar[str]

    @property
    def layers(self) -> tuple[str, ...]:
        """Groups or name patterns."""
        ...

    @property
    def exclude(self) -> tuple[str, ...]:
        """Groups or name patterns that are left out."""
        ...


Visit = Callable[[BlockView, set[str], Upstream, Plans], None]


def by_blocks(step: Asking, outer: Quantizer, visit: Visit, model: Model, context: Context) -> Model:
    """The model with the layers that `step` asks for quantized, in place.

    visit: does it in a block, given the names of all such layers in blocks; those elsewhere are quantized by `outer`.
    """
    chosen = {one.name: one for one in select(model, step.layers, step.exclude)}
    for name in chosen:
        pack_layer(model.module, name)
    calibration = context.calibrated(step.name)
    inner = {name for name, one in chosen.items() if one.block and one.kind != "embedding"}
    if inner:
        upstream, plans = Upstream(), Plans()
        walk(
            model, calibration, lambda view: visit(view, inner, upstream, plans), fast=context.fast, disk=context.disk,
            statistics=False, progress=context.ticks(step.name),
        )  # fmt: skip
    quantize_outer(outer, model, [one for name, one in chosen.items() if name not in inner], calibration, context)
    share_ties(model)
    return model


def quantize_model(step: Quantizer, model: Model, context: Context) -> Model:
    """The model with the layers that the pass asks for quantized, each by itself, in place."""

    def visit(view: BlockView, inner: set[str], upstream: Upstream, plans: Plans) -> None:
        _visit(step, view, inner, upstream, plans, context)

    return by_blocks(step, step, visit, model, context)


def _visit(
    step: Quantizer, view: BlockView, inner: set[str], upstream: Upstream, plans: Plans, context: Context
) -> None:
    wanted: dict[str, Any] = {name: layer for name, layer in view.linears().items() if name in inner}
    done: list[tuple[Leaf, Any]] = []

    def change(stage: Stage) -> None:
        found = [(name, wanted[name], stage.moments) for name in stage.names if name in wanted]
        done.extend(quantize_layers(step, found, context, upstream.drift.get(stage.names[0])))

    heard = run_block(view, plans, context.fast, change, upstream if step.correct else None)
    moments = view.statistics.moments
    rest = [(name, layer, moments.get(name)) for name, layer in wanted.items() if name not in heard]
    done.extend(quantize_layers(step, rest, context))
    for leaf, weight in done:
        leaf.put(weight)
