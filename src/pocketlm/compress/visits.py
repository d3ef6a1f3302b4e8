"""Every plain matrix that a pass asked for, in the order it runs, with what its inputs are like where text is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pocketlm.compress.calibration import Moments
from pocketlm.compress.context import Context
from pocketlm.compress.parallel import Task, spread_leaves
from pocketlm.compress.targets import Leaf, leaves, pack_layer, share_ties
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model

QUANTIZED = "is quantized already"


def visit_leaves(
    model: Model, chosen: Sequence[LayerInfo], context: Context, function: Callable[..., Any],
    task: Callable[[str, Leaf], Task], done: Callable[[str, Leaf, Any], None], calibrated: str | None = None,
) -> Model:  # fmt: skip
    """The model after every leaf of the chosen layers, of a shared matrix once, was worked on.

    task: from a layer's name and a leaf, what `function`, which may run elsewhere, is given. done: takes its result.

    calibrated: the stage's name where leaves of blocks come with the moments of their inputs, as the blocks before
    them, already changed, give them; None where no text is needed.
    """
    waiting = {layer.name: layer for layer in chosen if not repeats(model, layer, chosen)}

    def some(names: Sequence[str], moments: Mapping[str, Moments]) -> None:
        found = ((name, leaves(name, pack_layer(model.module, name), moments.get(name))) for name in names)
        seen = set()
        for name, leaf, result in spread_leaves(function, found, task, context):
            seen.add(name)
            done(name, leaf, result)
        for name in names:
            waiting.pop(name)
            if name not in seen:
                context.journal.left(name, QUANTIZED)

    def block(view: BlockView) -> None:
        some([name for name in view.linears() if name in waiting], view.statistics.moments)

    if calibrated is not None:
        walk(
            model, context.calibrated(calibrated), block, fast=context.fast, disk=context.disk,
            progress=context.ticks(calibrated),
        )  # fmt: skip
    some(list(waiting), {})
    for layer in chosen:
        first = repeats(model, layer, chosen)
        if first:
            context.journal.layer(layer.name, "shares", matrix=first)
    share_ties(model)
    return model


def repeats(model: Model, layer: LayerInfo, chosen: Sequence[LayerInfo]) -> str:
    """The name of an earlier chosen layer that shares this one's matrix, or ""."""
    names = [one.name for one in chosen]
    group = next((group for group in model.spec.ties if layer.name in group), ())
    return next((name for name in names[: names.index(layer.name)] if name in group), "")
