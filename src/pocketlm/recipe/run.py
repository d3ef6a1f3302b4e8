"""Run a recipe: pass after pass, each with a record of what it cost and bought."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pocketlm.export.pocket import Exported, export, untrained_latency
from pocketlm.model.task_model import TaskModel
from pocketlm.model.transformer import SmallEncoder
from pocketlm.pocket.work import digest
from pocketlm.recipe.recipe import Recipe
from pocketlm.students.distill import Distill
from pocketlm.students.imitate import Imitate
from pocketlm.students.quantize import Quantize
from pocketlm.students.solve import Solve
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import Lesson
from pocketlm.train.loop import Pace

# Weights of a student that was trained to be chosen, and how it goes on from them, to be told apart from other ways.
TRAINED, FURTHER_VERSION = "trained.pt", 1
# Texts that it learnt from before, for each new one.
REHEARSED = 2


@dataclass(frozen=True)
class PassRecord:
    """What one pass did. Bytes are of the weights as they would be stored then; quality is dev's main metric.

    latency_ms: median of single dev texts after the pass, in int8, where it was taken.
    """

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
    latency_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "settings": dict(self.settings), "notes": list(self.notes)}


@dataclass(frozen=True)
class Built:
    """A student that a recipe made, exported, with the records of its passes.

    recipe: with what passes chose on dev in place of what they chose from: it can be run again without dev.
    """

    recipe: Recipe
    model: TaskModel
    exported: Exported
    records: tuple[PassRecord, ...]


def weight_bytes(model: TaskModel | None) -> int:
    """Bytes of the weights as they would be stored now: tables and matrices with their bits, the rest as float32."""
    if model is None:
        return 0
    table, linear = model.spec.bits.get("table", 32), model.spec.bits.get("linear", 32)
    total = 0
    for name, weight in model.module.named_parameters():
        embedding = name.rpartition(".")[2] == "table" or ".pieces." in name
        bits = (table if embedding else linear) if weight.ndim == 2 else 32
        total += weight.numel() * bits // 8
    return total


@dataclass
class Prefixes:
    """Students after the first two passes, which recipes of one job often share; the last few are kept."""

    kept: dict[str, tuple[TaskModel, tuple[PassRecord, ...], tuple[Any, ...]]] = field(default_factory=dict)
    passes: int = 2
    most: int = 3

    def find(self, recipe: Recipe) -> tuple[TaskModel, tuple[PassRecord, ...], tuple[Any, ...]] | None:
        """A copy of the student these passes made before, with its records, and the passes with what they chose."""
        found = self.kept.get(digest(recipe.to_json()[: self.passes]))
        return None if found is None else (found[0].copy(), *found[1:])

    def keep(self, recipe: Recipe, model: TaskModel, records: Sequence[PassRecord], steps: Sequence[Any]) -> None:
        """Remember a copy of the student after the first passes of `recipe`. steps: these, with what they chose."""
        while len(self.kept) >= self.most:
            self.kept.pop(next(iter(self.kept)))
        self.kept[digest(recipe.to_json()[: self.passes])] = (model.copy(), tuple(records), tuple(steps))


def _first_passes(recipe: Recipe, context: FitContext, trained: int | None) -> tuple[FitContext, int]:
    """What the first passes look at, and how many these are: where a chosen recipe runs again, on more rows.

    What imitates is still what it was then, and so is what `distill`, at the place `trained`, goes on with.
    """
    imitated = _imitated(recipe)
    if context.searched is None:
        return context, 0
    if imitated:
        return context.searched.as_pretrained, imitated
    if trained is None or context.trained is None:
        return context, 0
    return context.searched, trained


def _imitated(recipe: Recipe) -> int:
    """How many passes there are up to the last that imitates."""
    return 1 + max((place for place, step in enumerate(recipe.steps) if isinstance(step, Imitate)), default=-1)


def _new_texts(context: FitContext) -> Lesson:
    """What the student has not learnt from before, and REHEARSED times as many others, lest it forget those."""
    assert context.searched is not None
    known, every = len(context.searched.lesson), len(context.lesson)
    again = np.random.default_rng(context.seed).permutation(known)[: REHEARSED * (every - known)]
    return context.lesson.at([*again.tolist(), *range(known, every)])


def _leave(model: TaskModel, context: FitContext, folder: Path | None) -> None:
    """Keep an encoder's weights in 16 bits, where it may be chosen and go on from them. n-grams learn fast enough."""
    if folder is None or context.searched is not None or not isinstance(model.module, SmallEncoder):
        return
    weights = {name: one.half() if one.is_floating_point() else one for name, one in model.module.state_dict().items()}
    torch.save(weights, folder / f"{TRAINED}.partial")
    os.replace(folder / f"{TRAINED}.partial", folder / TRAINED)


def run_recipe(
    recipe: Recipe, context: FitContext, folder: Path | None = None, prefixes: Prefixes | None = None,
    pace: Pace | None = None,
) -> Built:  # fmt: skip
    """The student of `recipe`, exported and proved.

    folder: for checkpoints, so that it can resume. prefixes: students that began alike, to start from. What imitates
    learns from no label: where the recipe was chosen before and runs again on more rows, it is still what it was then.
    An encoder that was trained then goes on from its weights (`context.trained`) with the new rows.
    pace: of the first `distill` of a recipe that does not imitate. Raises Paused where it says not to go on.
    """
    imitated = _imitated(recipe)
    distilled = (place for place, step in enumerate(recipe.steps) if isinstance(step, Distill) and not imitated)
    trained = next(distilled, None)
    if imitated or any(isinstance(step, Solve) and step.words for step in recipe.steps):
        context = replace(context.as_pretrained, searched=context.searched)
    first, until = _first_passes(recipe, context, trained)
    if context.searched is not None and until < Prefixes.passes:
        prefixes = None  # those learnt from fewer rows
    found = prefixes.find(recipe) if prefixes is not None else None
    model: TaskModel | None = None if found is None else found[0]
    records: list[PassRecord] = [] if found is None else list(found[1])
    quality: float | None = records[-1].quality_after if records else None
    steps = [*(found[2] if found is not None else ()), *recipe.steps[len(records) :]]
    if model is not None and trained == len(records) - 1:
        _leave(model, context, folder)
    for place in range(len(records), len(recipe.steps)):
        step = recipe.steps[place]
        checkpoint = None if folder is None else folder / f"{place}-{step.name}.checkpoint"
        before, began = (model.parameters if model else 0, weight_bytes(model)), time.monotonic()
        given = replace(first if place < until else context, checkpoints=checkpoint, trained=None)
        if place == trained:
            given = replace(given, pace=pace)
            if until:
                given = replace(given, trained=context.trained, lesson=_new_texts(context))
        model = step(model, given)
        steps[place] = replace(step, **model.spec.settled)
        model = model.settled()
        if place == trained:
            _leave(model, context, folder)
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
                latency_ms=untrained_latency(model, context) if context.timed else None,
            )
        )
        quality = after
        if prefixes is not None and len(records) == prefixes.passes < len(recipe.steps):
            prefixes.keep(recipe, model, records, steps[: prefixes.passes])
    assert model is not None
    exported = export(model, context)
    if exported.int8 is not None:
        # clocks chose: made again, the same is to come out
        told: dict[str, Any] = {"activations": exported.int8.kind}
        steps = [replace(step, **told) if isinstance(step, Quantize) else step for step in steps]
    return Built(replace(recipe, steps=tuple(steps)), model, exported, tuple(records))
