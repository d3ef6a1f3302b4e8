"""Trials, teachers' answers and fine-tuning as tasks of a Ray cluster (Moritz et al. 2018, arXiv:1712.05889).

Every machine of the cluster has PocketLM installed. A task that dies with its process is begun again by Ray; what it
comes to is told to the study once, in the order in which it was asked for.
"""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pocketlm.budget import SPREAD
from pocketlm.cluster import connected
from pocketlm.errors import PocketLMError, RecipeError
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.outputs import Example
from pocketlm.pocket.format import write_atomically
from pocketlm.pocket.work import DONE, Step, WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.run import Prefixes
from pocketlm.runtime.inputs import Text
from pocketlm.search.attempt import Attempt, Gate, attempt
from pocketlm.search.runner import Runner
from pocketlm.search.trial import POCKET, Trial, timed_texts
from pocketlm.train.lesson import Taught
from pocketlm.train.loop import History
from pocketlm.train.teach import ask, fine_tune

if TYPE_CHECKING:
    from pocketlm.model.task_model import TaskModel
    from pocketlm.tasks.table import Task

# Times that a task is begun again where its process died.
AGAIN = 3
# Texts that one task asks a teacher about, a number of its batches.
ASKED_AT_ONCE = 2_048
# Objects of the cluster that this worker process has read already: the same model serves many tasks.
_READ: dict[str, Any] = {}


@dataclass(frozen=True)
class Box:
    """An object in the cluster's store, read once by each worker process. name: its own. inside: its reference."""

    name: str
    inside: list[Any]

    def open(self) -> Any:
        """The object, in a worker."""
        import ray

        if self.name not in _READ:
            _READ.clear()  # models are large, and the one before is not asked for again
            _READ[self.name] = ray.get(self.inside[0])
        return _READ[self.name]


@dataclass(frozen=True)
class Fleet:
    """A Ray cluster, or one that was started here. workers: tasks at once. together: processes that fine-tune."""

    workers: int
    together: int = 1

    def boxed(self, value: Any) -> Box:
        """The object put into the store."""
        import ray

        return Box(uuid.uuid4().hex, [ray.put(value)])

    def ask(self, model: TaskModel, texts: Sequence[Text], hidden: bool, autocast: bool) -> Taught:
        """What a teacher says of texts, as `train.teach.ask` has it and in its batches, asked by all workers."""
        import ray

        box = self.boxed(model)
        task = ray.remote(num_cpus=1, max_retries=AGAIN)(_ask)
        lengths = [one.length for one in model.inputs.encode(texts)]
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        sets = [order[at : at + ASKED_AT_ONCE] for at in range(0, len(texts), ASKED_AT_ONCE)]
        parts = [[texts[place] for place in places] for places in sets]
        try:
            said: list[Taught] = ray.get([task.remote(box, part, hidden, autocast) for part in parts])
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            raise PocketLMError(f"asking the teacher on the cluster failed: {type(error).__name__}") from error
        again = np.argsort(order).tolist()

        def in_order(rows: list[Any]) -> list[Any]:
            return [rows[place] for place in again] if rows else []

        logits = {name: in_order([row for one in said for row in one.logits[name]]) for name in said[0].logits}
        return Taught(logits, in_order([row for one in said for row in one.hidden]))

    def fine_tune(
        self, model: TaskModel, train: Sequence[Example], dev: Sequence[Example], task: Task, seed: int, mixup: float,
        deadline: Deadline, folder: Path,
    ) -> History:  # fmt: skip
        """Fine-tune a teacher in place on several processes at once, each with a part of every batch.

        folder: where they leave its weights; every machine that takes part reaches it.
        """
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        lesson = {
            "model": self.boxed(model), "train": list(train), "dev": list(dev), "task": task, "seed": seed,
            "mixup": mixup, "left": None if deadline.at is None else deadline.left,
        }  # fmt: skip
        trainer = TorchTrainer(
            _fine_tune,
            train_loop_config=lesson,
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=self.together, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(
                storage_path=str(folder.resolve()), name="together", failure_config=FailureConfig(max_failures=AGAIN)
            ),
        )
        done = trainer.fit()
        if done.error is not None or done.checkpoint is None:
            raise PocketLMError(f"fine-tuning on {self.together} processes failed: {done.error}")
        with done.checkpoint.as_directory() as place:
            kept = torch.load(Path(place) / "taught.pt", weights_only=True)
        model.module.load_state_dict(kept["weights"])
        model.module.eval()
        return History(**kept["history"])


def _ask(box: Box, texts: Sequence[Text], hidden: bool, autocast: bool) -> Taught:
    """In a worker: what the teacher says of some texts."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return ask(box.open(), texts, hidden=hidden)


def _fine_tune(lesson: Mapping[str, Any]) -> None:
    """In one of several workers that fine-tune together; the first of them leaves the weights."""
    import ray.train

    model = lesson["model"].open()
    history = fine_tune(
        model, lesson["train"], lesson["dev"], lesson["task"], seed=lesson["seed"], mixup=lesson["mixup"],
        deadline=Deadline.after(lesson["left"]),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        left = None
        if ray.train.get_context().get_world_rank() == 0:
            torch.save({"weights": model.module.state_dict(), "history": vars(history)}, Path(folder, "taught.pt"))
            left = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"best": history.best}, checkpoint=left)


@dataclass(frozen=True)
class Tried:
    """What a worker made of a recipe. files: of its step in the work folder. host: where it was made.

    attempt: its trial is there also where time cut it short and nothing remembers it.
    """

    attempt: Attempt
    files: dict[str, bytes]
    host: str


@dataclass(frozen=True)
class OnFleet:
    """The cluster as a crew of a search.

    runner: what workers run, and what remembers here what they made. after: what is made of a trial here.
    """

    fleet: Fleet
    runner: Runner
    after: Callable[[Trial], Trial]
    box: Box = field(init=False)

    def __post_init__(self) -> None:
        own = self.runner.context
        context = replace(own, progress=Silent(), deadline=Deadline(), seen=own.seen.apart())
        lean = replace(self.runner, context=context, prefixes=Prefixes(), asked=replace(self.runner.asked, floors=()))
        object.__setattr__(self, "box", self.fleet.boxed(lean))

    @property
    def width(self) -> int:
        """How many recipes are tried at once."""
        return self.fleet.workers

    @property
    def at_once(self) -> bool:
        """Whether a recipe is being tried from when it is begun."""
        return True

    def begin(self, recipe: Recipe, gate: Gate | None) -> Callable[[], Attempt]:
        """Begin to try a recipe on the cluster; one that was tried before is remembered here."""
        import ray

        step = self.runner.step(recipe)
        if self.remembers(recipe):
            return lambda: attempt(lambda one, pace: self.after(self.runner(one, pace)), recipe, gate)
        deadline = self.runner.context.deadline
        task = ray.remote(num_cpus=1, max_retries=AGAIN)(_try)
        left = None if deadline.at is None else deadline.left
        waiting = task.remote(self.box, recipe, gate, _files(step.folder), left)

        def wait() -> Attempt:
            try:
                tried: Tried = ray.get(waiting)
            except ray.exceptions.RayTaskError:  # an error of the code, as it would be raised here
                raise
            except ray.exceptions.RayError as error:
                return Attempt("failed", f"the worker that tried it died {AGAIN + 1} times ({type(error).__name__})")
            return self._received(recipe, tried)

        return wait

    def remembers(self, recipe: Recipe) -> bool:
        """Whether a recipe was measured before."""
        return self.runner.remembers(recipe)

    def _received(self, recipe: Recipe, tried: Tried) -> Attempt:
        """What a worker made, kept here as if it was made here; costs are those of this machine."""
        step, found = self.runner.step(recipe), tried.attempt
        for name, data in sorted(tried.files.items(), key=lambda one: one[0] == DONE):
            write_atomically(step.folder / name, data, replace=True)
        if found.trial is None:
            return found
        trial = replace(found.trial, pocket=step.folder / POCKET)
        if tried.host != socket.gethostname():
            trial = self._measured_here(trial, step)
        return replace(found, trial=self.after(self.runner.with_floors(trial)))

    def _measured_here(self, trial: Trial, step: Step) -> Trial:
        """The trial with what it costs on this machine, which is also what is remembered of it."""
        taken = measure_pocket(trial.pocket, timed_texts(self.runner.context), allowed=self.runner.allowed)
        costs = {key: taken[key] for key in ("latency_p50_ms", "latency_p95_ms", "memory_bytes")}
        extra = {**trial.measurement.extra, **{name: taken[name] for name in SPREAD}}
        kept = step.result
        if kept is not None:
            measured = {**kept["measurement"], **costs, "extra": extra}
            step.finish({**kept, "measurement": measured, "cpu": describe()["cpu"]})
        return replace(trial, measurement=replace(trial.measurement, **costs, extra=extra))


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _try(box: Box, recipe: Recipe, gate: Gate | None, given: Mapping[str, bytes], left: float | None) -> Tried:
    """In a worker: a recipe tried in a folder of its own. given: what was made of it before. left: seconds."""
    runner: Runner = box.open()
    with tempfile.TemporaryDirectory() as folder:
        context = replace(runner.context, deadline=Deadline.after(left))
        own = replace(runner, work=WorkFolder(Path(folder)), context=context)
        step = own.step(recipe)
        for name, data in given.items():
            (step.folder / name).write_bytes(data)
        found = attempt(own, recipe, gate)
        return Tried(found, _files(step.folder), socket.gethostname())


@contextmanager
def fleet(address: str | None, workers: int | None, together: int) -> Iterator[Fleet | None]:
    """The cluster at an address ("local" starts one here), left or stopped at the end; None without an address.

    workers: tasks at once, None for one a processor of the cluster. Raises RecipeError where none answers, and
    MissingExtraError.
    """
    if address is None:
        yield None
        return
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    ray, begun = connected(address, max(workers, together) if workers else together if together > 1 else None)
    try:
        processors = max(1, int(ray.cluster_resources().get("CPU", 1)))
        if together > processors:
            raise RecipeError(
                f"data_parallel: {together} processes fine-tune at once, and the cluster has {processors} processors"
            )
        yield Fleet(workers or processors, together)
    finally:
        if begun:
            ray.shutdown()
