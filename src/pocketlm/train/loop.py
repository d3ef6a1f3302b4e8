"""The only training loop: AdamW, warm-up and cosine, length buckets, clipping, early stopping, exact resume."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
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
from pocketlm.train.lesson import Lesson, make_batch
from pocketlm.train.losses import Objective

logger = logging.getLogger(__name__)

# Batches are formed inside chunks of this many, sorted by length: little padding, still random.
BUCKET_BATCHES = 50


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    rate: peak learning rate of the body; head_rate: of weights under `readout.heads` (absent: the same).
    warmup: share of the steps with a rising rate. patience: epochs without a better dev figure before stopping.
    decay: AdamW's weight decay, on matrices only. clip: largest gradient norm.
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


@dataclass
class History:
    """What happened: dev figure after each epoch, the best of them, and why training ended."""

    figures: list[float] = field(default_factory=list)
    best: float = -math.inf
    best_epoch: int = -1
    ended: str = "all epochs done"


def gains_from_bf16() -> bool:
    """True where the processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


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
) -> History:
    """Train `model.module` in place and leave it with its best epoch's weights.

    evaluate: the figure to raise, on dev. checkpoint: a file written after an epoch when checkpoint_seconds
    have passed since the last one (it holds four times the weights); where it exists training goes on from it
    and ends with the same weights as an uninterrupted run.
    """
    progress, deadline = progress or Silent(), deadline or Deadline()
    run = _Run(model, schedule, math.ceil(len(given) / schedule.batch_size))
    run.load(checkpoint)
    encoded = model.inputs.encode(given.texts)
    saved = time.monotonic()
    for epoch in range(len(run.history.figures), schedule.epochs):
        if epoch - 1 - run.history.best_epoch >= schedule.patience:
            run.history.ended = f"no better for {schedule.patience} epochs"
            break
        torch.manual_seed(seed * 100_003 + epoch)
        places = _batches(encoded, schedule.batch_size, np.random.default_rng((seed, epoch)))
        model.module.train()
        for done, own in enumerate(places):
            _learn(run, given, encoded, own, objective)
            if done % 10 == 0:
                note = f"dev {run.history.best:.4f}" if run.history.figures else ""
                progress.step(epoch * run.steps + done, schedule.epochs * run.steps, note)
            if deadline.passed:
                break
        run.judge(evaluate(model), epoch)
        # an epoch that the deadline cut short is no place to go on from
        if not deadline.passed and time.monotonic() - saved >= checkpoint_seconds:
            run.save(checkpoint)
            saved = time.monotonic()
        if deadline.passed:
            run.history.ended = "time was up"
            break
    run.finish()
    return run.history


class _Run:
    """Optimizer, schedule and best weights of one training."""

    def __init__(self, model: TaskModel, schedule: Schedule, steps: int) -> None:
        self.model, self.schedule, self.steps = model, schedule, steps
        self.optimizer = torch.optim.AdamW(
            _groups(model.module, schedule), betas=(0.9, schedule.second_moment), fused=True
        )
        total = max(1, schedule.epochs * steps)
        warm = max(1.0, schedule.warmup * total)
        self.rate = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: (
                (step + 1) / warm
                if step < warm
                else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / max(1.0, total - warm))
            ),
        )
        self.history = History()
        self.best: dict[str, Tensor] = {}

    def judge(self, figure: float, epoch: int) -> None:
        self.history.figures.append(figure)
        if figure > self.history.best:
            self.history.best, self.history.best_epoch = figure, epoch
            self.best = {name: weight.detach().clone() for name, weight in self.model.module.state_dict().items()}

    def finish(self) -> None:
        if self.best:
            self.model.module.load_state_dict(self.best)
        self.model.module.eval()

    def save(self, path: Path | None) -> None:
        if path is None:
            return
        state = {
            "module": self.model.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "best": self.best,
            "history": vars(self.history),
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def load(self, path: Path | None) -> None:
        if path is None or not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.model.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate.load_state_dict(state["rate"])
        self.best, self.history = state["best"], History(**state["history"])
        logger.info("resuming after epoch %d", len(self.history.figures))


def _groups(module: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Parameters by learning rate and decay: heads may learn faster, vectors (biases, norms) are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            head = schedule.head_rate is not None and "readout.heads" in name
            rate = schedule.head_rate if head and schedule.head_rate is not None else schedule.rate
            groups.setdefault((rate, schedule.decay if weight.ndim > 1 else 0.0), []).append(weight)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def _batches(encoded: Sequence[Encoded], size: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Places of each batch: shuffled, sorted by length inside chunks, batches shuffled again."""
    order = random.permutation(len(encoded))
    batches: list[list[int]] = []
    for begin in range(0, len(order), size * BUCKET_BATCHES):
        chunk = sorted(order[begin : begin + size * BUCKET_BATCHES].tolist(), key=lambda place: encoded[place].length)
        batches.extend(chunk[at : at + size] for at in range(0, len(chunk), size))
    return iter([batches[place] for place in random.permutation(len(batches))])


def _learn(run: _Run, given: Lesson, encoded: Sequence[Encoded], own: list[int], objective: Objective) -> None:
    """One step of the optimizer on one batch."""
    module: Any = run.model.module
    outputs = run.model.spec.outputs
    batch = make_batch(given, outputs, encoded, run.model.inputs, own)
    with torch.autocast("cpu", torch.bfloat16, enabled=run.schedule.autocast):
        if objective.beta and batch.hidden is not None:
            states, logits = states_and_logits(module, batch.arrays)
            loss = objective(logits, batch, outputs) + objective.on_hidden(states, batch)
        else:
            loss = objective(module(**batch.arrays), batch, outputs)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), run.schedule.clip)
    run.optimizer.step()
    run.rate.step()
