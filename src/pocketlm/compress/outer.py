"""Quantizing what lies outside the blocks: heads by the moments of their input, embeddings by rounding to nearest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pocketlm.compress.calibration import Calibration, batch_masks
from pocketlm.compress.context import Context
from pocketlm.compress.moments import Statistics, collecting
from pocketlm.compress.quantizer import Quantizer, fit, quantize_layers
from pocketlm.compress.targets import Leaf, leaves
from pocketlm.compress.walk import precision
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model

# Tokens that the input of a head is measured on: its one matrix needs no more, and logits are large.
HEAD_TOKENS = 16_384


def quantize_outer(
    step: Quantizer, model: Model, chosen: list[LayerInfo], calibration: Calibration, context: Context
) -> None:
    """Heads by the moments of their input, embeddings rounded to nearest: in place."""
    linears = {one.name: model.module.get_submodule(one.name) for one in chosen if one.kind != "embedding"}
    statistics = outer_moments(model, linears, calibration, context.fast) if linears else Statistics()
    shared = {name: set(group) for group in model.spec.ties for name in group}
    for name, layer in linears.items():
        moments = statistics.moments.get(name)
        if moments is not None and step.tied and name in shared:
            moments = moments.ridged(step.tied)
        for leaf, weight in quantize_layers(step, [(name, layer, moments)], context):
            leaf.put(weight)
    for one in chosen:
        if one.kind == "embedding" and not shared.get(one.name, set()) & linears.keys():
            for leaf in leaves(one.name, model.module.get_submodule(one.name)):
                leaf.put(_embedding(step, leaf, one.name, calibration, context))


def _embedding(step: Quantizer, leaf: Leaf, name: str, calibration: Calibration, context: Context) -> Any:
    """Rounded to nearest; its error is the mean over the tokens of calibration, as often as each is looked up."""
    setting, matrix = step.setting(name), leaf.matrix
    weight = fit(step, matrix, setting, None, None).weight
    ids = [batch["input_ids"].reshape(-1) for batch in calibration.batches if "input_ids" in batch]
    counts = torch.bincount(torch.cat(ids), minlength=len(matrix)).float() if ids else torch.ones(len(matrix))
    often = (counts if len(counts) == len(matrix) else torch.ones(len(matrix)))[:, None]
    lost = ((weight.matrix() - matrix).square() * often).sum() / (matrix.square() * often).sum().clamp(min=1e-30)
    context.journal.layer(leaf.name, "quantized", float(lost), **{step.held: setting})
    context.journal.promise(name, step.held, setting)
    return weight


class _Known(Exception):
    """The head's input is measured: logits are not wanted."""


def outer_moments(model: Model, linears: Mapping[str, Any], calibration: Calibration, fast: bool) -> Statistics:
    """Moments of layers outside the blocks, on the first HEAD_TOKENS tokens of calibration."""
    statistics, seen = Statistics(), 0

    def end(module: Any, given: Any) -> None:
        raise _Known

    for batch in calibration.batches:
        with precision(fast), collecting(linears, statistics, batch_masks(batch)):
            handle = linears[list(linears)[-1]].register_forward_pre_hook(end)
            try:
                model.module(**batch)
            except _Known:
                pass
            finally:
                handle.remove()
        seen += next(iter(batch.values())).shape[:2].numel()
        if seen >= HEAD_TOKENS:
            break
    return statistics
