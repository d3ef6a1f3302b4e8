"""The loop that trains a pretrained module in place: AdamW, warm-up and cosine, clipping, a limit in steps and time.

`train.loop` trains task models epoch by epoch and keeps the best of them on dev; this one heals what compression did
to any module, on losses of its caller, and ends when the schedule does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pocketlm.progress import Deadline

# Batches are formed inside chunks of this many, sorted by length: little padding, still random.
BUCKET_BATCHES = 50


@dataclass(frozen=True)
class HealSchedule:
    """How long to train and how the rate goes.

    steps: optimizer steps. seconds: less where time is up before; the rate then falls with time. warmup: share of the
    steps with a rising rate. clip: largest gradient norm. fast: products in bfloat16.
    """

    steps: int
    seconds: float | None = None
    warmup: float = 0.1
    clip: float = 1.0
    fast: bool = False


@dataclass(frozen=True)
class RateGroup:
    """Parameters that learn at one peak rate. decay: AdamW's weight decay."""

    parameters: Sequence[nn.Parameter]
    rate: float
    decay: float = 0.0


@dataclass
class Healing:
    """What happened: the loss of every step, and why training ended."""

    losses: list[float] = field(default_factory=list)
    ended: str = "all steps done"

    @property
    def last(self) -> float:
        """Mean of the last tenth of the losses."""
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(tail) / max(1, len(tail))


def rate_at(share: float, warmup: float) -> float:
    """The rate relative to its peak when `share` of the training is done: a rising line, then half a cosine to 0."""
    if share < warmup:
        return share / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (share - warmup) / max(1e-9, 1 - warmup))


def heal(
    groups: Sequence[RateGroup],
    loss: Callable[[list[int]], Tensor],
    places: Iterator[list[int]],
    schedule: HealSchedule,
    *,
    after: Callable[[], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    deadline: Deadline | None = None,
) -> Healing:
    """Train the parameters of `groups` in place on the batches that `places` names.

    loss: of the examples at these places. after: called after every step, to put back what must not move.
    """
    deadline = deadline or Deadline()
    limit = min(deadline.left, schedule.seconds if schedule.seconds is not None else math.inf)
    optimizer = torch.optim.AdamW(
        [{"params": list(g.parameters), "lr": g.rate, "weight_decay": g.decay} for g in groups], fused=True
    )
    trained = [weight for group in groups for weight in group.parameters]
    result, began = Healing(), time.monotonic()
    for step in range(schedule.steps):
        spent = (time.monotonic() - began) / limit if limit > 0 else 1.0
        if spent >= 1:
            result.ended = f"time was up after {step} of {schedule.steps} steps"
            break
        factor = rate_at(max((step + 0.5) / schedule.steps, spent), schedule.warmup)
        for group, given in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] = given.rate * factor
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.fast):
            value = loss(next(places))
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, schedule.clip)
        optimizer.step()
        if after is not None:
            after()
        result.losses.append(float(value.detach()))
        if progress is not None and step % 10 == 0:
            progress(step, schedule.steps, f"loss {result.last:.4f}")
    return result


def endless_batches(lengths: Sequence[int], size: int, seed: int) -> Iterator[list[int]]:
    """Places of batch after batch, epoch after epoch: shuffled, sorted by length inside chunks, shuffled again."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        batches: list[list[int]] = []
        for begin in range(0, len(order), size * BUCKET_BATCHES):
            chunk = sorted(order[begin : begin + size * BUCKET_BATCHES], key=lambda place: lengths[place])
            batches.extend(chunk[at : at + size] for at in range(0, len(chunk), size))
        for place in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[place]
