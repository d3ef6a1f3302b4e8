"""One candidate's whole way: trained, exported, written, measured in a fresh process, remembered."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlm import __version__
from pocketlm.budget import Measurement
from pocketlm.measure.fresh import measure_pocket, misses_closely
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import fidelity
from pocketlm.outputs import texts_of
from pocketlm.pocket.format import write_pocket
from pocketlm.pocket.work import Step
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.run import Prefixes, run_recipe
from pocketlm.runtime.inputs import Text
from pocketlm.runtime.load import load
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.tasks.table import Task
from pocketlm.train.context import FitContext
from pocketlm.train.loop import Pace

POCKET = "student.pocket"
# Latency is taken over at most so many dev texts.
TIMED_TEXTS = 300


@dataclass(frozen=True)
class Trial:
    """A measured candidate. pocket: its file in the work folder.

    details: pass records, int8 verdict, seconds, and looks: (epoch, of so many, best figure on dev until then) of its
    first training.
    """

    recipe: Recipe
    pocket: Path
    measurement: Measurement
    details: dict[str, Any]

    @property
    def settled(self) -> Recipe:
        """The recipe with what its passes chose on dev."""
        return Recipe.from_json(self.details["recipe"], STUDENT_PASSES, self.recipe.name)


def run_trial(
    recipe: Recipe, context: FitContext, step: Step, head: Mapping[str, Any], prefixes: Prefixes,
    pace: Pace | None = None, allowed: float | None = None,
) -> Trial:  # fmt: skip
    """The candidate measured now, or as it was measured before where `step` is done; costs always on this processor.

    head: what the manifest says beside the model. prefixes: students that recipes of this job share. pace: as
    `run_recipe` has it; raises Paused as it does. allowed: milliseconds, see `measure_pocket`.
    """
    done = step.result
    pocket, cpu = step.folder / POCKET, describe()["cpu"]
    if done is None or not pocket.is_file():
        began = time.monotonic()
        looks: list[tuple[int, int, float]] = []

        def noted(epoch: int, epochs: int, figure: float) -> bool:
            looks.append((epoch, epochs, figure))
            return pace is None or pace(epoch, epochs, figure)

        built = run_recipe(recipe, context, step.folder, prefixes, noted)
        exported = built.exported
        manifest = {
            **head,
            "pocketlm": __version__,
            "task": context.task.name,
            "outputs": [output.to_json() for output in context.outputs],
            "model": exported.about,
            "provenance": {**head["provenance"], "recipe": built.recipe.to_json()},
        }
        write_pocket(pocket, manifest, exported.members, replace=True)
        done = {
            "measurement": _measure(pocket, context, allowed),
            "recipe": built.recipe.to_json(),
            "passes": [record.to_json() for record in built.records],
            "int8": exported.int8.to_json() if exported.int8 else None,
            "agreement": exported.agreement,
            "seconds": time.monotonic() - began,
            "cpu": cpu,
            "looks": looks,
            "allowed": allowed,
        }
        # what time cut short is measured now, and made anew by a run that has the time
        if not context.deadline.passed:
            for checkpoint in step.folder.glob("*.checkpoint"):
                checkpoint.unlink()
            step.finish(done)
        done = json.loads(json.dumps(done))
    elif done.get("cpu", cpu) != cpu or _worth_timing(done, allowed):
        done = {**done, "measurement": _measure(pocket, context, allowed), "cpu": cpu, "allowed": allowed}
        step.finish(done)
    measured = Measurement(**done["measurement"])
    return Trial(recipe, pocket, measured, {key: value for key, value in done.items() if key != "measurement"})


def _worth_timing(done: Mapping[str, Any], allowed: float | None) -> bool:
    """Whether what was measured under another limit misses this one by little."""
    if allowed is None or done.get("allowed") == allowed:
        return False
    return misses_closely(done["measurement"]["latency_p50_ms"], allowed)


def timed_texts(context: FitContext) -> list[Text]:
    """The texts of dev that latency is taken over."""
    texts = texts_of(context.dev, context.outputs)
    return list(texts[:: max(1, len(texts) // TIMED_TEXTS)])


def _measure(pocket: Path, context: FitContext, allowed: float | None) -> dict[str, Any]:
    """Whole-file bytes, latency and memory in a fresh process, quality on dev by the runtime itself."""
    texts = texts_of(context.dev, context.outputs)
    measured = measure_pocket(pocket, timed_texts(context), allowed=None if context.deadline.passed else allowed)
    task: Task = context.task
    predictions = load(pocket).predict(texts, batch_size=1)
    extra = {key: measured[key] for key in ("load_ms", "latency_p50_low_ms", "latency_p50_high_ms", "calls")}
    if context.taught_dev is not None:
        extra["fidelity"] = fidelity(predictions, context.taught_dev)
    return {
        "quality": task.figures(context.dev, predictions, context.outputs),
        "size_bytes": measured["size_bytes"],
        "latency_p50_ms": measured["latency_p50_ms"],
        "latency_p95_ms": measured["latency_p95_ms"],
        "memory_bytes": measured["memory_bytes"],
        "extra": extra,
    }
