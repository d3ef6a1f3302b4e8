"""The only training loop: AdamW, warm-up and cosine, clipping, early stopping, averaging of epochs, exact resume.

`train` goes through labelled texts with it, in length buckets; whoever trains something else gives `study` a course.
Where torch.distributed has a process group, each process learns from its part of every batch (see `train.peers`).
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pocketlm.model.readout import states_and_logits
from pocketlm.model.task_model import TaskModel
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.runtime.inputs import Encoded
from pocketlm.train.blend import Blend
from pocketlm.train.lesson import Lesson, make_batch
from pocketlm.train.losses import Objective
from pocketlm.train.optimizers import optimizers_of
from pocketlm.train.peers import Peers

logger = logging.getLogger(__name__)

# Batches are formed inside chunks of this many, sorted by length: little padding, still random.
BUCKET_BATCHES = 50


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    rate: peak learning rate of the body; head_rate: of weights under `readout.heads` (absent: the same).
    warmup: share of the steps with a rising rate. patience: epochs without a better dev figure before stopping.
    decay: AdamW's weight decay, on matrices only. clip: largest gradient norm. average: so many of the best epochs
    have their weights averaged, where that is better on dev than the best of them. to_deadline: the rate falls with the
    time left too, so that training which time ends ends as if it were finished. muon: whether matrices that are no
    embeddings step by Muon instead of AdamW.
    """

    epochs: int
    rate: float
    batch_size: int = 32
    head_rate: float | None = None
    warmup: float = 0.1
    patience: int = 3
    decay: float = 0.01
    clip: float = 1.0
    autocast: bool = False
    second_moment: float = 0.999
    average: int = 1
    to_deadline: bool = False
    muon: bool = False


@dataclass
class History:
    """What happened: dev figure after each epoch, the best of them, and why training ended."""

    figures: list[float] = field(default_factory=list)
    best: float = -math.inf
    best_epoch: int = -1
    ended: str = "all epochs done"


class Paused(Exception):
    """Training stopped where its pace said so; it goes on from its checkpoint. figure: the best on dev until then."""

    def __init__(self, figure: float) -> None:
        super().__init__(f"paused at {figure:.4f} on dev")
        self.figure = figure


# Whether to go on after so many of all epochs, with the best figure on dev until then.
Pace = Callable[[int, int, float], bool]


@dataclass(frozen=True)
class Course:
    """What a module goes through. steps: batches of an epoch, about. batches: those of an epoch, by its number.

    loss: of one batch. figure: of the module on dev, to raise.
    """

    module: nn.Module
    steps: int
    batches: Callable[[int], Iterable[Any]]
    loss: Callable[[Any], Tensor]
    figure: Callable[[], float]


def gains_from_bf16() -> bool:
    """True where the processor has tiles of bfloat16 (AMX). AVX512-BF16 alone ran at half of float32's rate."""
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(has.get("amx_bf16"))


def train(
    model: TaskModel,
    given: Lesson,
    objective: Objective,
    schedule: Schedule,
    evaluate: Callable[[TaskModel], float],
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    deadline: Deadline | None = None,
    checkpoint_seconds: float = 90.0,
    pace: Pace | None = None,
) -> History:
    """Train `model.module` in place and leave it with its best epoch's weights.

    evaluate: the figure to raise, on dev. checkpoint and the others: as `study` has them. Raises Paused as it does.
    """
    encoded, peers = model.inputs.encode(given.texts), Peers.here()
    course = Course(
        model.module,
        math.ceil(len(given) / schedule.batch_size),
        lambda epoch: _batches(encoded, schedule.batch_size, np.random.default_rng((seed, epoch))),
        lambda whole: peers.part_of(whole, lambda own: _loss(model, given, encoded, own, objective)),
        lambda: evaluate(model),
    )
    return study(
        course, schedule, seed=seed, checkpoint=checkpoint, progress=progress, deadline=deadline,
        checkpoint_seconds=checkpoint_seconds, pace=pace, spent_counts=False,
    )  # fmt: skip


def study(
    course: Course,
    schedule: Schedule,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    deadline: Deadline | None = None,
    checkpoint_seconds: float = 90.0,
    pace: Pace | None = None,
    spent_counts: bool = True,
) -> History:
    """Train `course.module` in place and leave it with its best weights.

    checkpoint: a file written after an epoch when checkpoint_seconds have passed since the last one (it holds four
    times the weights, and more where epochs are averaged); where it exists training goes on from it and ends with the
    same weights as an uninterrupted run. spent_counts: a deadline is that of the whole training, with the time that was
    spent on it before; else of this run alone, as where another may be given the next time.
    pace: asked after every epoch but the last, of a training that goes on for those before, too. Raises Paused where it
    says not to go on, with the checkpoint written.
    """
    progress = progress or Silent()
    run = _Run(course, schedule, deadline or Deadline())
    run.load(checkpoint, spent_counts)
    deadline = run.deadline
    for epoch in range(len(run.history.figures)):
        run.paced(pace, epoch, max(run.history.figures[: epoch + 1]), None)
    saved = time.monotonic()
    for epoch in range(len(run.history.figures), schedule.epochs):
        if epoch - 1 - run.history.best_epoch >= schedule.patience:
            run.history.ended = f"no better for {schedule.patience} epochs"
            break
        torch.manual_seed(seed * 100_003 + epoch + run.peers.seed)
        course.module.train()
        for done, batch in enumerate(course.batches(epoch)):
            run.learn(batch)
            if done % 10 == 0:
                note = f"dev {run.history.best:.4f}" if run.history.figures else ""
                progress.step(epoch * course.steps + done, schedule.epochs * course.steps, note)
            if run.peers.any(deadline.passed):
                break
        run.judge(run.peers.of_the_first(course.figure()), epoch)
        over = run.peers.any(deadline.passed)  # all processes end together
        # an epoch that the deadline cut short is no place to go on from
        if not over and time.monotonic() - saved >= checkpoint_seconds:
            run.save(checkpoint)
            saved = time.monotonic()
        if over:
            run.history.ended = "time was up"
            break
        run.paced(pace, epoch, run.history.best, checkpoint)
    run.finish()
    return run.history


class _Run:
    """Optimizer, schedule and best weights of one training."""

    def __init__(self, course: Course, schedule: Schedule, deadline: Deadline) -> None:
        self.course, self.schedule = course, schedule
        self.deadline, self.given = deadline, deadline.left
        self.optimizers = optimizers_of(course.module, schedule)
        self.rates = [
            torch.optim.lr_scheduler.LambdaLR(one, lambda step: self._factor(step)) for one in self.optimizers
        ]
        self.peers = Peers.here()
        self.history = History()
        self.best: list[tuple[float, dict[str, Tensor]]] = []

    def paced(self, pace: Pace | None, epoch: int, best: float, checkpoint: Path | None) -> None:
        """Raise Paused where training is not to go on after this epoch, which was `best` until then."""
        if pace and epoch + 1 < self.schedule.epochs and not pace(epoch + 1, self.schedule.epochs, best):
            self.save(checkpoint)
            raise Paused(best)

    def _factor(self, step: float) -> float:
        """The rate relative to its peak."""
        total = max(1, self.schedule.epochs * self.course.steps)
        warm = max(1.0, self.schedule.warmup * total)
        if self.schedule.to_deadline and self.given < math.inf:
            step = max(step, total * (1 - max(0.0, self.deadline.left) / max(self.given, 1e-9)))
        if step < warm:
            return (step + 1) / warm
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warm) / max(1.0, total - warm)))

    def learn(self, batch: Any) -> None:
        """One step of the optimizer."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.schedule.autocast):
            loss = self.course.loss(batch)
        self.course.module.zero_grad(set_to_none=True)
        if loss.requires_grad:  # of a batch of which this process has no part it does not
            loss.backward()  # type: ignore[no-untyped-call]
        self.peers.sum_gradients(self.course.module)
        nn.utils.clip_grad_norm_(self.course.module.parameters(), self.schedule.clip)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.step()
            rate.step()

    def judge(self, figure: float, epoch: int) -> None:
        """Note an epoch's figure; its weights are kept while it is one of the best."""
        self.history.figures.append(figure)
        if figure > self.history.best:
            self.history.best, self.history.best_epoch = figure, epoch
        if len(self.best) < self.schedule.average or figure > self.best[-1][0]:
            own = {name: weight.detach().clone() for name, weight in self.course.module.state_dict().items()}
            self.best = sorted([*self.best, (figure, own)], key=lambda one: -one[0])[: self.schedule.average]

    def finish(self) -> None:
        """Leave the module with the best epoch's weights, or with the mean of the best ones where that is better."""
        module = self.course.module
        if len(self.best) > 1:
            module.load_state_dict(_mean([weights for _, weights in self.best]))
            figure = self.peers.of_the_first(self.course.figure())
        if self.best and (len(self.best) == 1 or figure < self.history.best):
            module.load_state_dict(self.best[0][1])
        elif self.best:
            self.history.best = figure
        module.eval()

    def save(self, path: Path | None) -> None:
        """Write all that goes on from here, whole or not at all."""
        if path is None:
            return
        state = {
            "module": self.course.module.state_dict(),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "rates": [one.state_dict() for one in self.rates],
            "time": (self.given, self.deadline.left),
            "best": self.best,
            "history": vars(self.history),
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path | None, spent_counts: bool = True) -> None:
        """Go on from what `save` wrote, if it did."""
        if path is None or not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.course.module.load_state_dict(state["module"])
        saved = zip(self.optimizers, self.rates, state["optimizers"], state["rates"], strict=True)
        for optimizer, rate, moments, place in saved:
            optimizer.load_state_dict(moments)
            rate.load_state_dict(place)
        given, left = state["time"]
        if spent_counts and left < self.deadline.left:
            self.given, self.deadline = given, Deadline.after(left)
        self.best, self.history = state["best"], History(**state["history"])
        logger.info("resuming after epoch %d", len(self.history.figures))


def _mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several states of one module, whatever is no float as it is in the first."""
    return {
        name: torch.stack([one[name] for one in states]).mean(0) if weight.is_floating_point() else weight
        for name, weight in states[0].items()
    }


def _batches(encoded: Sequence[Encoded], size: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Places of each batch: shuffled, sorted by length inside chunks, batches shuffled again."""
    order = random.permutation(len(encoded))
    batches: list[list[int]] = []
    for begin in range(0, len(order), size * BUCKET_BATCHES):
        chunk = sorted(order[begin : begin + size * BUCKET_BATCHES].tolist(), key=lambda place: encoded[place].length)
        batches.extend(chunk[at : at + size] for at in range(0, len(chunk), size))
    return iter([batches[place] for place in random.permutation(len(batches))])


def _loss(model: TaskModel, given: Lesson, encoded: Sequence[Encoded], own: list[int], objective: Objective) -> Tensor:
    """The objective on the texts at the places `own`."""
    module: Any = model.module
    outputs = model.spec.outputs
    batch = make_batch(given, outputs, encoded, model.inputs, own)
    blend = Blend.drawn(len(own), objective.mixup) if objective.mixup else None
    states = None
    with blend.applied(module, outputs) if blend else nullcontext():
        if objective.beta and batch.hidden is not None:
            states, logits = states_and_logits(module, batch.arrays)
        else:
            logits = module(**batch.arrays)
    loss = objective(logits, batch, outputs)
    if blend is not None:
        loss = blend.share * loss + (1 - blend.share) * objective(logits, blend.other(batch, outputs), outputs)
    return loss if states is None else loss + objective.on_hidden(states, batch)
