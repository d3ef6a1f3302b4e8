"""Pretraining on plain text: windows of one stream, short ones first, in rounds that a plan counts beforehand.

The plan says how many steps there are, so that training depends on no clock: broken off, it goes on from its checkpoint
to the same weights. Short windows first are cheaper, and lose nothing (Press et al. 2021, arXiv:2012.15832).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pocketlm.errors import DataError
from pocketlm.model.pretrained import Model
from pocketlm.progress import Deadline, Progress
from pocketlm.train.language_modelling import Language
from pocketlm.train.likelihood import bare_tokenizer, context_of
from pocketlm.train.loop import Course, History, Schedule, study
from pocketlm.train.optimizers import optimizers_of
from pocketlm.train.pseudo_likelihood import frame

ROUNDS = 20
# Pieces of a window, and the round in twenty from which on: of models that write, and of encoders.
LENGTHS = {"decoder": ((0, 128), (10, 256), (17, 512)), "encoder": ((0, 64), (10, 128))}
# Pieces of a step, the most that leaves enough steps.
BATCHES, ENOUGH_STEPS = (2_048, 1_024, 512), 1_000
# Pieces of dev that judge a round.
JUDGED = 4_096
# Of the time, what judging takes beside the steps.
BESIDE = 1.05
# Scales of a last norm that are tried, and pieces that they are tried on.
SCALES, CALMED = tuple(2 ** (-step / 2) for step in range(12)), 1_024
_TEXTS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Teaching:
    """How to learn. tables_first: rounds in which embeddings alone do. hidden: share of pieces that encoders are asked.

    epochs: times over the text at most.
    """

    rate: float
    muon: bool = False
    decay: float = 0.1
    tables_first: int = 0
    hidden: float = 0.3
    epochs: float = 20.0


@dataclass(frozen=True)
class Plan:
    """What will be done. steps: of each of ROUNDS rounds. batch: pieces of a step. lengths: (first round, pieces)."""

    steps: int
    batch: int
    lengths: tuple[tuple[int, int], ...]

    def length(self, number: int) -> int:
        """Pieces of a window in this round."""
        return [length for begin, length in self.lengths if begin <= number][-1]

    @property
    def pieces(self) -> int:
        """Pieces read in all."""
        return ROUNDS * self.steps * self.batch

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def stream(model: Model, texts: Sequence[str]) -> Tensor:
    """All pieces of the texts, one text after another, the tokenizer's end between them. Raises DataError for none."""
    tokenizer, found = bare_tokenizer(model), list[int]()
    end = model.tokenizer.eos_token_id if model.spec.kind == "decoder" else model.tokenizer.sep_token_id
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        for read in tokenizer.encode_batch(list(texts[start : start + _TEXTS_AT_ONCE]), add_special_tokens=False):
            found += read.ids if end is None else [*read.ids, int(end)]
    if len(found) < 8:
        raise DataError("there is too little text to learn from: it has fewer than 8 pieces")
    return torch.tensor(found)


class Windows:
    """Batches of windows of a stream: in every epoch from another place on, in another order.

    frame: pieces before and after each window, which count to its length.
    """

    def __init__(self, ids: Tensor, length: int, batch: int, ends: tuple[list[int], list[int]], seed: int) -> None:
        self.ids, self.seed = ids, seed
        self.before, self.after = (torch.tensor(one, dtype=torch.long) for one in ends)
        self.length = max(2, min(length - len(self.before) - len(self.after), len(ids) // 2))
        self.rows = max(1, min(batch // length, (len(ids) - self.length) // self.length))
        self._order: tuple[int, Tensor, int] = (-1, ids, 0)

    @property
    def batches(self) -> int:
        """Of an epoch."""
        return max(1, (len(self.ids) - self.length) // self.length // self.rows)

    def batch(self, number: int) -> Tensor:
        """The batch of this number, epoch after epoch: (rows, pieces)."""
        epoch, place = divmod(number, self.batches)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            begin = int(torch.randint(self.length, (1,), generator=generator))
            count = (len(self.ids) - begin) // self.length
            self._order = (epoch, torch.randperm(count, generator=generator), begin)
        _, order, begin = self._order
        own = order[place * self.rows : (place + 1) * self.rows]
        rows = [self.ids[begin + at * self.length : begin + (at + 1) * self.length] for at in own.tolist()]
        return torch.stack([torch.cat([self.before, row, self.after]) for row in rows])


class Pupil:
    """A model and the text it learns from and is judged by."""

    def __init__(self, model: Model, train: Sequence[str], dev: Sequence[str], teaching: Teaching, seed: int) -> None:
        self.model, self.teaching, self.seed = model, teaching, seed
        self.language = Language(model, seed=seed, hidden=teaching.hidden)
        self.ids, judged = stream(model, train), stream(model, dev)
        self.ends = ([], []) if self.language.causal else frame(model)
        self.most = context_of(model)
        length = min(LENGTHS[model.spec.kind][1][1], self.most)
        self.judge = Windows(judged, length, JUDGED, self.ends, seed)
        self.learning = [weight for weight in model.module.parameters() if weight.requires_grad]
        words = int(model.module.get_input_embeddings().weight.shape[0])
        self.tables = [weight for weight in self.learning if weight.shape[0] == words]

    def windows(self, length: int, batch: int) -> Windows:
        """Batches to learn from."""
        return Windows(self.ids, min(length, self.most), batch, self.ends, self.seed)

    def open(self, tables_only: bool) -> None:
        """Let everything learn that may, or the tables alone."""
        for weight in self.learning:
            weight.requires_grad_(not tables_only)
        for weight in self.tables:
            weight.requires_grad_(True)

    @torch.no_grad()
    def figure(self) -> float:
        """Minus nats a predicted piece of dev, the same pieces hidden every time."""
        self.model.module.eval()
        found = self.language.loss_of(self.judge.batch(0), generator=torch.Generator().manual_seed(self.seed))
        return -float(found)


@torch.no_grad()
def calm(pupil: Pupil) -> float:
    """The scale by which the last norm of a decoder was shrunk, in place: that which foresees a batch best.

    Cut blocks and composed words leave a model sure of what is wrong, and far worse than one that knows nothing.
    """
    base: Any = pupil.model.module.base_model
    norm = getattr(base, "norm", None) or getattr(base, "ln_f", None)
    if norm is None or not pupil.language.causal:
        return 1.0
    pupil.model.module.eval()
    ids = pupil.windows(pupil.judge.length, CALMED).batch(0)
    asked = torch.ones_like(ids, dtype=torch.bool)
    asked[:, -1] = False
    logits, wanted = pupil.language.logits(ids, torch.ones_like(ids), asked).float(), ids[:, 1:].reshape(-1)
    scale = min(SCALES, key=lambda one: float(F.cross_entropy(one * logits, wanted)))
    for weight in norm.parameters():
        weight.mul_(scale)
    return scale


def planned(pupil: Pupil, seconds: float | None) -> Plan:
    """As many steps as the time allows, by the clock, and the epochs."""
    lengths = tuple((begin, min(length, pupil.most)) for begin, length in LENGTHS[pupil.model.spec.kind])
    shares = [end - begin for (begin, _), (end, _) in zip(lengths, [*lengths[1:], (ROUNDS, 0)], strict=True)]
    enough, began = pupil.teaching.epochs * len(pupil.ids), time.monotonic()
    moving = 0.0 if seconds is None else _seconds_to_move(pupil)
    for batch in BATCHES:
        most = enough / batch
        if seconds is not None:
            took = [_seconds(pupil, length, batch) for _, length in lengths]
            mean = sum(share * one for share, one in zip(shares, took, strict=True)) / ROUNDS
            most = min(most, (seconds - time.monotonic() + began) / (BESIDE * (mean + moving)))
        if most >= ENOUGH_STEPS:
            break
    return Plan(max(1, math.floor(most / ROUNDS)), batch, lengths)


def _seconds(pupil: Pupil, length: int, batch: int) -> float:
    """Of a step without the optimizer, the faster of two after one to warm up."""
    pupil.model.module.train()
    given, took = pupil.windows(length, batch).batch(0), []
    for _ in range(3):
        began = time.perf_counter()
        pupil.language.loss_of(given, generator=torch.Generator().manual_seed(0)).backward()  # type: ignore[no-untyped-call]
        pupil.model.module.zero_grad(set_to_none=True)
        took.append(time.perf_counter() - began)
    return min(took[1:])


def _seconds_to_move(pupil: Pupil) -> float:
    """Of the optimizer's part of a step, on a copy of the module, the second of two."""
    module = copy.deepcopy(pupil.model.module)
    optimizers = optimizers_of(module, _schedule(pupil.teaching))
    began = 0.0
    for _ in range(2):
        for weight in module.parameters():
            weight.grad = torch.ones_like(weight) if weight.requires_grad else None
        began = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for one in optimizers:
            one.step()
    return time.perf_counter() - began


def _schedule(teaching: Teaching) -> Schedule:
    return Schedule(
        ROUNDS, teaching.rate, warmup=0.05, patience=ROUNDS, decay=teaching.decay, second_moment=0.95,
        to_deadline=True, muon=teaching.muon,
    )  # fmt: skip


def learn(pupil: Pupil, plan: Plan, checkpoint: Path | None, progress: Progress, deadline: Deadline) -> History:
    """Train the model in place by the plan and leave it with its best round's weights; figures are as Pupil.figure."""
    teaching = pupil.teaching
    windows = {length: pupil.windows(length, plan.batch) for _, length in plan.lengths}
    first = {length: begin for begin, length in reversed(plan.lengths)}

    def batches(number: int) -> Iterator[Tensor]:
        pupil.open(number < teaching.tables_first)
        pupil.language.generator.manual_seed(pupil.seed * 100_003 + number)
        length = plan.length(number)
        for step in range(plan.steps):
            yield windows[length].batch((number - first[length]) * plan.steps + step)

    course = Course(
        pupil.model.module, plan.steps, batches, lambda batch: pupil.language.loss_of(batch), pupil.figure
    )  # fmt: skip
    return study(
        course, _schedule(teaching), seed=pupil.seed, checkpoint=checkpoint, progress=progress, deadline=deadline
    )
