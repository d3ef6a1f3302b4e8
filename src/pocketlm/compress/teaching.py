"""Training inside compression: what `distill` and `qat` share. A loss on rows of calibration, judged on rows held out.

Loss: logits · D(teacher ‖ student) + labels · cross-entropy + hidden · distance of states + relations · MiniLMv2
(Wang et al. 2020, arXiv:2012.15828), D the divergence of `train.losses` at a temperature T, times T² (Hinton et al.
2015, arXiv:1503.02531).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pocketlm.compress.context import Context
from pocketlm.compress.parts import in_parts
from pocketlm.compress.policy import sampled
from pocketlm.compress.rows import Row, collate, held_out, rows_of
from pocketlm.compress.signals import Answers, Said, ask, last_blocks, matching
from pocketlm.compress.trainable import CHOICES, Trainable
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import Model
from pocketlm.train.heal import Healing, HealSchedule, endless_batches, heal
from pocketlm.train.losses import TopTail, divergence, head_relation_loss, hidden_loss, state_distance, tail_shares
from pocketlm.train.spec_augment import spec_augment

# A place whose successor is not known.
NOTHING = -100
# More rows than these would judge no better.
MOST_HELD_OUT = 512

# Settings that are numbers, and what they may be.
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (("logits", "hidden", "relations", "labels", "decay", "spec_augment"), lambda value: value >= 0, "0 or more"),
    (
        ("steps", "rate", "scale_rate", "batch", "temperature", "top", "relation_heads", "sample_tokens"),
        lambda value: value > 0, "more than 0",
    ),
    (("beta", "on_policy", "held_out", "warmup"), lambda value: 0 <= value <= 1, "from 0 to 1"),
)  # fmt: skip


@dataclass(frozen=True)
class Training:
    """Settings that every pass which trains has. Weights of losses that are 0 cost nothing.

    steps: of the optimizer; epochs: instead of them, how often every row is seen. minutes: the most it may take.
    rate: peak learning rate; scale_rate: of scales and steps, relative to their size. batch: rows a step. logits,
    hidden, relations, labels: weights of the losses. temperature: of the logits. top: likeliest classes whose share is
    kept, the others' as one. beta: 0 for KL(teacher ‖ student), 1 for its reverse, between for generalized
    Jensen-Shannon. hidden_at: "last" or "every" block. hidden_by: "cosine" or "mse". relation_heads: of MiniLMv2.
    held_out: share of the rows that judge. spec_augment: of sound, so many stretches of time and as many of pitch are
    hidden from the student while it learns, and not from its teacher.
    """

    name: ClassVar[str] = ""
    steps: int = 300
    epochs: float | None = None
    minutes: float | None = None
    rate: float = 2e-5
    scale_rate: float = 1e-3
    batch: int = 8
    train: str = "all"
    logits: float = 1.0
    temperature: float = 1.0
    top: int = 64
    beta: float = 0.0
    hidden: float = 0.0
    hidden_at: str = "last"
    hidden_by: str = "mse"
    relations: float = 0.0
    relation_heads: int = 12
    labels: float = 0.0
    on_policy: float = 0.0
    sample_tokens: int = 64
    held_out: float = 0.1
    warmup: float = 0.1
    decay: float = 0.0
    clip: float = 1.0
    spec_augment: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("train", CHOICES), ("hidden_at", ("last", "every")), ("hidden_by", ("cosine", "mse"))
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, got {getattr(self, name)!r}")
        for names, right, said in _RANGES:
            for name in names:
                if not right(getattr(self, name)):
                    raise ValueError(f"{name} is {said}, got {getattr(self, name)}")
        if not self.logits + self.hidden + self.relations + self.labels:
            raise ValueError("logits, hidden, relations and labels are all 0: there is nothing to learn from")
        if self.on_policy and not self.logits:
            raise ValueError("on_policy learns from logits, whose weight is 0: give logits a weight")

    def schedule(self, rows: int, context: Context) -> HealSchedule:
        """Steps and limits for so many rows."""
        steps = self.steps if self.epochs is None else max(1, math.ceil(self.epochs * rows / self.batch))
        seconds = None if self.minutes is None else 60 * self.minutes
        return HealSchedule(steps, seconds, self.warmup, self.clip, context.fast)


@dataclass
class Classroom:
    """A student, its teacher, and the rows it learns from.

    learn, judge: places of rows. heard: batches of sound that were hidden in part.
    """

    student: Model
    teacher: Model
    rows: Sequence[Row]
    settings: Training
    answers: Answers
    learn: list[int]
    judge: list[int]
    fast: bool
    seed: int
    pairs: list[list[tuple[int, int]]]
    blocks: tuple[list[str], list[str]]
    heard: int = 0

    @property
    def _teacher_runs(self) -> bool:
        """Whether states are compared, which are too large to keep."""
        return bool(self.settings.hidden or self.settings.relations)

    def loss(self, places: list[int], trained: bool = True) -> Tensor:
        """The loss on these rows. trained: some of them may be replaced by what the student would write."""
        settings = self.settings
        batch = collate([self.rows[place] for place in places])
        if trained and settings.on_policy:
            own = sampled(self.student, batch, settings.on_policy, settings.sample_tokens, self.seed + sum(places))
            if own is not None:
                said, given = self._both(own.batch)
                assert said.logits is not None and given.logits is not None
                apart = self._divergence(said.logits[own.fresh], _whole(given.logits[own.fresh], settings))
                return settings.logits * apart
        heard = self._hidden_in_part(batch) if trained and settings.spec_augment else batch
        said = ask(self.student, heard, states=settings.hidden > 0, relations=self._relations(0))
        total = torch.zeros(())
        if self._teacher_runs:
            total = total + self._inner(said, self._given(batch))
        if settings.logits and said.logits is not None:
            total = total + settings.logits * self._divergence(said.logits, self.answers.of(places))
        if settings.labels:
            total = total + settings.labels * self._labels(said, batch, places)
        return total

    def _hidden_in_part(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with stretches of its sound hidden, others each time. Raises RecipeError for text."""
        if "input_features" not in batch:
            raise RecipeError(f"{self.settings.name}: spec_augment hides parts of sound; this model reads text")
        self.heard += 1
        random = np.random.default_rng((self.seed, self.heard))
        features = [spec_augment(one.numpy(), self.settings.spec_augment, random) for one in batch["input_features"]]
        return {**batch, "input_features": torch.from_numpy(np.stack(features))}

    def _relations(self, side: int) -> list[str]:
        return self.blocks[side] if self.settings.relations else []

    @torch.no_grad()
    def _given(self, batch: dict[str, Tensor]) -> Said:
        return ask(self.teacher, batch, states=self.settings.hidden > 0, relations=self._relations(1))

    def _both(self, batch: dict[str, Tensor]) -> tuple[Said, Said]:
        with torch.no_grad():
            given = ask(self.teacher, batch)
        return ask(self.student, batch), given

    def _divergence(self, logits: Tensor, given: TopTail) -> Tensor:
        """Mean over places."""
        temperature, beta, shares = self.settings.temperature, self.settings.beta, given.given()

        def apart(own: Tensor, part: slice) -> Tensor:
            scaled = own.float() if temperature == 1 else own.float() / temperature
            return divergence(tail_shares(scaled, given.indices[part]), shares[part], beta).sum()

        return in_parts(logits, apart) * temperature**2 / max(1, len(logits))

    def _inner(self, said: Said, given: Said) -> Tensor:
        """Losses on what is inside the models."""
        settings, total = self.settings, torch.zeros(())
        for number, mask in enumerate(said.masks):
            if settings.hidden:
                pairs = self.pairs[number][-1:] if settings.hidden_at == "last" else self.pairs[number]
                for own, theirs in pairs:
                    apart = _apart(said.states[number][own], given.states[number][theirs], mask, settings.hidden_by)
                    total = total + settings.hidden / len(pairs) * apart
            if settings.relations and len(said.relations[number]) == 3:
                causal = self.student.spec.kind != "encoder" and number == len(said.masks) - 1
                for one, other in zip(said.relations[number], given.relations[number], strict=True):
                    heads = math.gcd(math.gcd(one.shape[-1], other.shape[-1]), settings.relation_heads)
                    total = total + settings.relations / 3 * head_relation_loss(one, other, mask, heads, causal)
        return total

    def _labels(self, said: Said, batch: dict[str, Tensor], places: list[int]) -> Tensor:
        """Cross-entropy with the rows' classes, or of a model that writes, with the words that follow."""
        assert said.logits is not None
        if self.rows[places[0]].label is not None:
            return F.cross_entropy(said.logits.float(), torch.tensor([self.rows[place].label for place in places]))
        ids, mask = _written(batch), said.masks[-1]
        follows = torch.full_like(ids, NOTHING)
        follows[:, :-1] = ids[:, 1:].masked_fill(~mask[:, 1:], NOTHING)
        next_ones = follows[mask]

        def missed(own: Tensor, part: slice) -> Tensor:
            return F.cross_entropy(own.float(), next_ones[part], ignore_index=NOTHING, reduction="sum")

        return in_parts(said.logits, missed) / (next_ones != NOTHING).sum().clamp(min=1)

    @torch.no_grad()
    def judged(self) -> float:
        """The mean loss on the rows held out."""
        total = 0.0
        for at in range(0, len(self.judge), self.settings.batch):
            places = self.judge[at : at + self.settings.batch]
            with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
                total += float(self.loss(places, trained=False)) * len(places)
        return total / len(self.judge)

    def teach(self, trained: Trainable, context: Context) -> Healing:
        """Train what `trained` holds, in place."""
        settings = self.settings
        lengths = [self.rows[place].length for place in self.learn]
        places = ([self.learn[one] for one in own] for own in endless_batches(lengths, settings.batch, self.seed))
        torch.manual_seed(self.seed)
        return heal(
            trained.groups(settings.rate, settings.scale_rate, settings.decay), self.loss, places,
            settings.schedule(len(self.learn), context), after=trained.keep_zeros,
            progress=context.ticks(f"training: {settings.name}"), deadline=context.deadline,
        )  # fmt: skip


def _whole(logits: Tensor, settings: Training) -> TopTail:
    """All the teacher's shares: what the student wrote is seen once, so that nothing is kept."""
    every = torch.arange(logits.shape[-1], dtype=torch.int32).expand(len(logits), -1)
    return TopTail(every, (logits.float() / settings.temperature).log_softmax(-1))


def _apart(states: Tensor, teacher: Tensor, mask: Tensor, by: str) -> Tensor:
    if by == "cosine":
        return hidden_loss(states.float(), teacher.float(), mask)
    return state_distance(states[mask], teacher[mask])


def _written(batch: dict[str, Tensor]) -> Tensor:
    return batch.get("decoder_input_ids", batch.get("input_ids"))  # type: ignore[return-value]


def classroom(model: Model, settings: Training, context: Context) -> Classroom:
    """Everything that training needs. Raises RecipeError where a loss cannot be had from these models."""
    teacher, calibration = context.taught(settings.name), context.calibrated(settings.name)
    rows = rows_of(calibration, context.labels, getattr(model.module.config, "pad_token_id", None) or 0)
    learn, judge = held_out(len(rows), settings.held_out, context.seed)
    answers = Answers(teacher, rows, settings.top, settings.temperature, context.fast, context.disk)
    room = Classroom(
        model, teacher, rows, settings, answers, learn, judge[:MOST_HELD_OUT], context.fast, context.seed,
        matching(model, teacher), last_blocks(model, teacher),
    )  # fmt: skip
    _check(room)
    return room


def _check(room: Classroom) -> None:
    settings, config = room.settings, [one.module.config for one in (room.student, room.teacher)]
    first = collate([room.rows[room.learn[0]]])
    with torch.no_grad():
        said = ask(room.student, first, relations=room.blocks[0])
    name = f"pass {settings.name}"
    if (settings.labels or settings.on_policy) and said.logits is None:
        raise RecipeError(f"{name}: {room.student.spec.architecture} has no head whose answers labels could be for")
    if settings.labels and said.per_row and room.rows[0].label is None:
        raise RecipeError(f"{name}: labels has weight {settings.labels}, and the calibration has no labels")
    if said.logits is None and not settings.hidden + settings.relations:
        raise RecipeError(f"{name}: {room.student.spec.architecture} has no logits; give hidden or relations a weight")
    if settings.relations and not all(len(one) == 3 for one in said.relations):
        raise RecipeError(f"{name}: relations need query, key and value layers, and not all blocks have them")
    if settings.on_policy and (room.student.spec.kind != "decoder" or said.per_row):
        raise RecipeError(f"{name}: on_policy is for models that write on; this is an {room.student.spec.kind}")
    widths = [getattr(one, "hidden_size", None) or getattr(one, "d_model", None) for one in config]
    if settings.hidden and widths[0] != widths[1]:
        raise RecipeError(f"{name}: hidden states are {widths[0]} wide, the teacher's {widths[1]}; use relations")


def improve(model: Model, trained: Trainable, room: Classroom, context: Context, before: float | None = None) -> bool:
    """Train, store, and judge by the rows held out: whether they are better off; everything is as before if not.

    before: the loss to beat, where it is known.
    """
    before = room.judged() if before is None else before
    kept: list[Any] = trained.values()
    done = room.teach(trained, context)
    after = _rounded(model, trained, room)
    journal, label = context.journal, f"{len(done.losses)} steps on {len(room.learn):,} rows, {trained.count:,} numbers"
    if not after < before:
        trained.restore(kept)
        journal.note(f"{label}: held-out loss {before:.5g} did not fall ({after:.5g}); everything is as it was")
        return False
    journal.note(f"{label}: held-out loss {before:.5g} to {after:.5g}; {done.ended}")
    return True


def _rounded(model: Model, trained: Trainable, room: Classroom) -> float:
    """The held-out loss of what will be stored: scales as float16, plain weights as the model's type."""
    dtype = getattr(torch, model.spec.dtype)
    with torch.no_grad():
        for one in trained.scales:
            one.parameter.copy_(one.parameter.half())
        for weight in (*trained.weights, *trained.vectors):
            weight.copy_(weight.to(dtype))
    return room.judged()
