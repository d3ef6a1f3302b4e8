"""What students take before they are trained, timed where it is not plain: what is hopeless is never trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pocketlm.budget import Budget
from pocketlm.export.pocket import untrained_latency
from pocketlm.model.task_model import TaskModel
from pocketlm.recipe.recipe import Recipe
from pocketlm.runtime.inputs import BagInputs, StackedInputs
from pocketlm.search.allocator import Timed
from pocketlm.search.family import Candidate
from pocketlm.search.forecast import Forecast
from pocketlm.search.runner import Runner
from pocketlm.students.beside import BesideNgrams
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.solve import Solve
from pocketlm.students.transformer import SmallTransformer
from pocketlm.units import format_size

# So many times that an expectation is over what is allowed, it cannot be wrong about it.
DOUBT = 2.0
# An untrained student this much slower than allowed is not worth training.
HOPELESS = 1.25
# Of how they are timed.
VERSION = 2


def untrained(run: Runner, forecast: Forecast) -> Timed:
    """What times untrained students, and remembers it: a search that goes on asks what it would have asked."""

    def timed(recipe: Recipe) -> float:
        student, beside, lead = _parts(recipe)
        parts = Recipe((student, *beside)).to_json()
        step = run.work.step("untrained", {**run.depends, "parts": parts, "lead": lead, "version": VERSION})
        known = step.result
        if known is None:
            model: TaskModel = student(None, run.context)
            for one in beside:
                model = one(model, run.context)
            read = model.inputs.ngrams if isinstance(model.inputs, StackedInputs) else model.inputs
            if isinstance(read, BagInputs):
                read.ngrams = replace(read.ngrams, lead=lead)
            known = {"milliseconds": untrained_latency(model, run.context)}
            step.finish(known)
        return float(known["milliseconds"]) * forecast.ratio(recipe)

    return timed


def _parts(recipe: Recipe) -> tuple[Any, list[BesideNgrams], int]:
    """What of a recipe its untrained student depends on: the student, n-grams beside it, and words that these read."""
    student: Any = recipe.steps[0]
    if isinstance(student, SmallTransformer):
        student = replace(student, dropout=0.0)
    leads = [max((0, *step.leads)) for step in recipe.steps if isinstance(step, Solve)]
    kept = [step.rows for step in recipe.steps if isinstance(step, PruneRows)]
    beside = [replace(step, rows=min((step.rows, *kept))) for step in recipe.steps if isinstance(step, BesideNgrams)]
    return student, beside[:1], max((0, *leads[:1]))


def slowness(budget: Budget, forecast: Forecast | None, timed: Timed | None) -> Callable[[Recipe, float], str]:
    """What says why a recipe's student takes longer than this share of the time allowed, "" where it does not.

    What is expected to take far too long is not made; any other is, untrained, and timed.
    """

    def slower(recipe: Recipe, share: float) -> str:
        limit = budget.max_latency
        if limit is None or forecast is None or timed is None:
            return ""
        expected = forecast.milliseconds(recipe)
        if expected > DOUBT * share * limit:
            return f"it is {_known(forecast)} to take {expected:.3g} ms, over {limit:g} ms"
        found = timed(recipe)
        if found <= share * limit:
            return ""
        if forecast.there is not None:
            return f"it is {_known(forecast)} to take {found:.3g} ms, over {limit:g} ms"
        return f"untrained it already takes {found:.3g} ms, over {limit:g} ms"

    return slower


def _known(forecast: Forecast) -> str:
    """How what a student takes is known before it is measured: of another machine it never is."""
    return "expected" if forecast.there is None else f"estimated for {forecast.there.name}"


def hopelessness(
    budget: Budget, forecast: Forecast | None, slower: Callable[[Recipe, float], str]
) -> Callable[[Candidate], str]:
    """What says why a student would miss a limit so far that it is not worth training; "" where it may keep to all.

    budget: with what the machine has. slower: of `slowness`. Only of graphs: n-grams take little to train, and where
    nothing keeps to the limits they are the nearest miss.
    """

    def miss(candidate: Candidate) -> str:
        if forecast is None or not candidate.recipe.has_graph:
            return ""
        least = forecast.memory(candidate.recipe, candidate.expected_bytes)
        if budget.max_memory is not None and least > budget.max_memory:
            told = f"it is {_known(forecast)} to take {format_size(least)} of memory at least, with the runtime"
            return f"{told}, over {format_size(budget.max_memory)}"
        return slower(candidate.recipe, HOPELESS)

    return miss
