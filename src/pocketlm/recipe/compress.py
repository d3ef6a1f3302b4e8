"""Compress a pretrained model by a recipe: pass after pass, each measured, and every promise checked at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pocketlm.compress.audit import coverage
from pocketlm.compress.context import Context
from pocketlm.compress.journal import Journal, Promise, broken
from pocketlm.compress.parallel import end_workers
from pocketlm.compress.passes import PASSES
from pocketlm.compress.words import follow
from pocketlm.errors import NoEffect, RecipeError
from pocketlm.measure.probe import peak_memory
from pocketlm.model.pretrained import Model, fingerprint, settle
from pocketlm.recipe.recipe import Recipe, recipe_in
from pocketlm.tables import pass_to_json

logger = logging.getLogger(__name__)

NOT_ASKED = "not asked for"


def read_recipe(path: str | Path) -> Recipe:
    """The recipe for `compress` in a YAML file. Raises RecipeError."""
    return recipe_in(path, PASSES)


def compress(
    model: Model, recipe: Recipe, context: Context | None = None, observe: Callable[[Any, Model], None] | None = None
) -> Model:
    """The model with every pass of the recipe applied, the given one as it was; `records` says what each did.

    Weights that no pass changed are in memory once for both: take a `copy()` to change them in place yourself.
    observe: called after each pass with it and the model as it then is. Raises RecipeError where the passes cannot
    follow each other, and NoEffect where one changed nothing or made the model larger (unless the context allows it) or
    where a promise did not survive.
    """
    context = context or Context()
    if context.teacher is None:
        context = replace(context, teacher=model)
    check_order(recipe)
    model = model.draft()
    records: list[dict[str, Any]] = [dict(one) for one in model.records]
    promises: list[Promise] = []
    known = fingerprint(settle(model))
    for step in recipe.steps:
        journal = Journal()
        sizes = (model.parameters, size if (size := _size(records)) is not None else model.size_bytes)
        began = time.monotonic()
        if context.calibration is not None:
            context.calibration.unreached.clear()
        try:
            before, model = model, settle(step(model, replace(context, journal=journal)))
        finally:
            end_workers()
        seconds = time.monotonic() - began
        journal.notes += _unreached(context)
        records.append(_record(step, model, journal, sizes, seconds))
        logger.info("%s: %d layers, %.1f s", step.name, journal.changed, seconds)
        known, last = fingerprint(model), known
        _insist(step, journal, records[-1], known == last, context)
        promises += journal.promises
        context = follow(context, before, model)
        if observe is not None:
            observe(step, model)
    if context.calibration is not None:  # the first of these passes says what they were calibrated on
        records[-len(recipe.steps)]["calibration"] = coverage(model, context.calibration).to_json()
    lost = broken(model, promises)
    if lost:
        shown = ", ".join(f"{one.kind} {one.value} of {one.layer}" for one in lost[:3])
        raise NoEffect(
            f"{len(lost)} promises of earlier passes did not survive: {shown}; change the order of the passes"
        )
    return replace(model, records=tuple(records))


def _size(records: list[dict[str, Any]]) -> int | None:
    """The size after the pass before this one, where there was one: coding all weights takes a while."""
    return records[-1]["size_bytes"][1] if records else None


def _unreached(context: Context) -> list[str]:
    """A note on the experts that no calibration token was routed to, where there are some."""
    layers = context.calibration.unreached if context.calibration is not None else set()
    experts = sorted({name.rpartition(".")[0] for name in layers}, key=natural)
    if not experts:
        return []
    return [
        f"{len(experts)} experts that no calibration token was routed to were handled by their weights alone "
        f"(quantized by round-to-nearest); give more calibration text to reach {', '.join(experts)}"
    ]


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _record(step: Any, model: Model, journal: Journal, before: tuple[int, int], seconds: float) -> dict[str, Any]:
    for layer in model.layers:
        if not any(name == layer.name or name.startswith(f"{layer.name}/") for name in journal.layers):
            journal.left(layer.name, NOT_ASKED)
    return {
        "pass": step.name, "settings": {key: value for key, value in pass_to_json(step).items() if key != "pass"},
        "seconds": round(seconds, 2), "peak_memory_bytes": peak_memory(),
        "parameters": [before[0], model.parameters], "size_bytes": [before[1], model.size_bytes],
        "notes": journal.notes, "layers": [one.to_json() for one in journal.layers.values()],
    }  # fmt: skip


def _insist(step: Any, journal: Journal, record: Mapping[str, Any], same: bool, context: Context) -> None:
    """Raise NoEffect where a pass did nothing, or made the model larger though it is there to make it smaller.

    same: whether every stored tensor is what it was, whatever the journal says.
    """
    if context.allow_no_effect:
        return
    if not journal.changed:
        reasons = {one.why for one in journal.layers.values() if one.why} - {NOT_ASKED}
        told = [*sorted(reasons)[:3], *journal.notes[-1:]]
        raise NoEffect(f"pass {step.name}: changed no layer ({'; '.join(told) or NOT_ASKED})")
    if same:
        raise NoEffect(f"pass {step.name}: every weight is what it was before, though it says it changed some")
    before, after = record["size_bytes"]
    if after >= before and not getattr(step, "heals", False):
        raise NoEffect(f"pass {step.name}: the model has {after:,} bytes after it and had {before:,}; it saves nothing")


# Of two passes, the kind that may not come before the other, and why.
ORDER: tuple[tuple[str, str, str], ...] = (
    ("quantize", "structure", "columns of rounded weights cannot make up for parts removed; remove parts first"),
    ("prune", "structure", "making up for parts removed would fill the zeros again; remove parts first"),
    ("quantize", "low-rank", "rounded weights are not the ones to factorize; factorize first, then round factors"),
    ("quantize", "prune", "rounded weights cannot make up for those that go; prune first, then round what stays"),
    ("prune", "low-rank", "a product of factors has none of the zeros; factorize first, then prune the factors"),
    ("low-rank", "structure", "factors are fitted to the shapes they were made for; remove parts first"),
)


def check_order(recipe: Recipe) -> None:
    """Raises RecipeError where a pass comes before one that would undo it."""
    kinds = [(step.name, getattr(step, "kind", "")) for step in recipe.steps]
    for place, (name, kind) in enumerate(kinds):
        for later, other in kinds[place + 1 :]:
            for first, second, why in ORDER:
                if kind == first and other == second:
                    raise RecipeError(f"pass {later} after {name}: {why}")
