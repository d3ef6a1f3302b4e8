"""Run a recipe: pass after pass, each with a record of what it cost and bought."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pocketlm.export.pocket import Exported, export
from pocketlm.model.model import Model
from pocketlm.recipe.recipe import Recipe
from pocketlm.train.context import Context


@dataclass(frozen=True)
class PassRecord:
    """What one pass did. Bytes are of the weights as they would be stored then; quality is dev's main metric."""

    name: str
    settings: Mapping[str, Any]
    seconds: float
    parameters_before: int
    parameters_after: int
    size_bytes_before: int
    size_bytes_after: int
    quality_before: float | None
    quality_after: float | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "settings": dict(self.settings), "notes": list(self.notes)}


@dataclass(frozen=True)
class Built:
    """A student that a recipe made, exported, with the records of its passes."""

    model: Model
    exported: Exported
    records: tuple[PassRecord, ...]


def weight_bytes(model: Model | None) -> int:
    """Bytes of the weights as they would be stored now: tables and matrices with their bits, the rest as float32."""
    if model is None:
        return 0
    table, linear = model.spec.bits.get("table", 32), model.spec.bits.get("linear", 32)
    total = 0
    for name, weight in model.module.named_parameters():
        embedding = name == "table" or ".pieces." in name
        bits = (table if embedding else linear) if weight.ndim == 2 else 32
        total += weight.numel() * bits // 8
    return total


def run_recipe(recipe: Recipe, context: Context, folder: Path | None = None) -> Built:
    """The student of `recipe`, exported and proved. folder: for checkpoints, so that it can resume."""
    model: Model | None = None
    quality: float | None = None
    records: list[PassRecord] = []
    for place, step in enumerate(recipe.steps):
        checkpoint = None if folder is None else folder / f"{place}-{step.name}.checkpoint"
        before, began = (model.parameters if model else 0, weight_bytes(model)), time.monotonic()
        model = step(model, replace(context, checkpoints=checkpoint))
        after = context.figure(model) if place else None
        records.append(
            PassRecord(
                step.name,
                {key: value for key, value in vars(step).items()},
                time.monotonic() - began,
                before[0],
                model.parameters,
                before[1],
                weight_bytes(model),
                quality,
                after,
            )
        )
        quality = after
    assert model is not None
    return Built(model, export(model, context), tuple(records))

