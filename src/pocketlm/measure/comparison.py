"""Several Pockets on the same labelled rows: what each reaches and costs here, and whether they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlm.errors import UserError
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.measure.paired import Difference, Judged, difference
from pocketlm.measure.quality import answered, foreign_labels, texts_for
from pocketlm.outputs import Example
from pocketlm.runtime.load import Pocket, load
from pocketlm.tasks.prepare import read_labelled
from pocketlm.tasks.scores import Scores
from pocketlm.tasks.table import TASKS, Task

# Tasks whose figures are no sums over rows that can be drawn one by one.
UNPAIRED = ("similarity", "retrieval", "translation", "generation")


@dataclass(frozen=True)
class System:
    """A Pocket with its scores and what a fresh process measured of it. recipe: its passes, as its manifest says."""

    name: str
    scores: Scores
    size_bytes: int
    latency_p50_ms: float
    latency_p95_ms: float
    memory_bytes: int
    recipe: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """differences: of the first system with each of the others, in order. data: what the rows were called. n: rows.

    notes: on labels that a Pocket cannot say.
    """

    task: str
    metric: str
    data: str
    n: int
    systems: tuple[System, ...]
    differences: tuple[Difference, ...]
    seed: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        about = {"task": self.task, "main_metric": self.metric, "data": self.data, "n": self.n, "seed": self.seed,
                 "notes": list(self.notes)}  # fmt: skip
        systems = [{**vars(one), "scores": one.scores.to_json(), "recipe": list(one.recipe)} for one in self.systems]
        differences = [one.to_json() for one in self.differences]
        return {**about, "systems": systems, "differences": differences, "environment": describe()}


def compare(pockets: Sequence[str], data: str, columns: tuple[Any, ...] = (None, None), seed: int = 0) -> Comparison:
    """The Pockets on the rows called `data`, read as `read_labelled` does with these columns.

    Raises UserError for fewer than two Pockets, different tasks, or one of UNPAIRED, and what reading Pockets or rows
    raises.
    """
    if len(pockets) < 2:
        raise UserError("compare needs two Pockets or more; `pocketlm evaluate` judges one")
    models = [load(path) for path in pockets]
    tasks = {path: model.task for path, model in zip(pockets, models, strict=True)}
    if tasks[pockets[0]] in UNPAIRED:
        raise UserError(f"{pockets[0]}: Pockets for {tasks[pockets[0]]} are judged by `pocketlm evaluate`, one by one")
    if len(set(tasks.values())) > 1:
        told = ", ".join(f"{path} does {task}" for path, task in tasks.items())
        raise UserError(f"Pockets of one task can be compared; {told}")
    task: Task = TASKS[models[0].task]
    examples = read_labelled(data, task.name, *columns)
    notes = []
    for name, model in zip(_names(pockets), models, strict=True):
        notes += [f"{name}: {note}" for note in foreign_labels(model, examples, data)]
    systems, judges = [], []
    for name, path, model in zip(_names(pockets), pockets, models, strict=True):
        scores, said = answered(model, examples, seed)
        judges.append(_judge(task, model, examples, said))
        taken = measure_pocket(Path(path), texts_for(model, examples))
        costs = {key: taken[key] for key in ("size_bytes", "latency_p50_ms", "latency_p95_ms", "memory_bytes")}
        systems.append(System(name, scores, **costs, recipe=_recipe(model)))
    others = judges[1:]
    apart = [difference(task.main_metric, len(examples), judges[0], one, seed, len(others)) for one in others]
    found = tuple(systems), tuple(apart), seed, tuple(notes)
    return Comparison(task.name, task.main_metric, data, len(examples), *found)


def _names(pockets: Sequence[str]) -> list[str]:
    """The files' names, or their paths where names are the same."""
    short = [Path(path).stem for path in pockets]
    return short if len(set(short)) == len(short) else list(pockets)


def _judge(task: Task, model: Pocket, examples: Sequence[Example], said: Sequence[Any]) -> Judged:
    def judged(places: Sequence[int]) -> float:
        rows, answers = [examples[place] for place in places], [said[place] for place in places]
        return task.figures(rows, answers, model.outputs)[task.main_metric]

    return judged


def _recipe(model: Pocket) -> tuple[dict[str, Any], ...]:
    return tuple(dict(step) for step in model.manifest.get("provenance", {}).get("recipe", ()))
