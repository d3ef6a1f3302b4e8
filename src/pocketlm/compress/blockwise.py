"""Quantize a model block by block: every layer once those before it in its block are done, then what lies outside."""

from __future__ import annotations

from typing import Any

from pocketlm.compress.context import Context
from pocketlm.compress.outer import quantize_outer
from pocketlm.compress.quantizer import Quantizer, quantize_layers
from pocketlm.compress.stages import Plans, Stage
from pocketlm.compress.targets import Leaf, pack_layer, select, share_ties
from pocketlm.compress.upstream import Upstream, run_block
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.pretrained import Model


def quantize_model(step: Quantizer, model: Model, context: Context) -> Model:
    """The model with the layers that the pass asks for quantized, in place."""
    chosen = {one.name: one for one in select(model, step.layers, step.exclude)}
    for name in chosen:
        pack_layer(model.module, name)
    calibration = context.calibrated(step.name)
    inner = {name for name, one in chosen.items() if one.block and one.kind != "embedding"}
    if inner:
        upstream, plans = Upstream(), Plans()
        walk(
            model, calibration, lambda view: _visit(step, view, inner, upstream, plans, context),
            fast=context.fast, disk=context.disk, statistics=False, progress=context.ticks(step.name),
        )  # fmt: skip
    outer = [one for name, one in chosen.items() if name not in inner]
    quantize_outer(step, model, outer, calibration, context)
    share_ties(model)
    return model


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
