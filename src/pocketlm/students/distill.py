"""Train the model at hand: on its teacher's outputs where there is a teacher, and on the labels.

Hinton et al. 2015, arXiv:1503.02531, with hidden states or relations where shapes allow (see train.losses).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, Real, knob
from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import Lesson, have_labels
from pocketlm.train.loop import Schedule, gains_from_bf16, train
from pocketlm.train.losses import Objective

# Of a student that goes on with new texts: its share of the epochs, and of the peak rate.
FURTHER, FURTHER_RATE = 1 / 3, 1 / 2
# Losses on a teacher's logits, and on its hidden states.
LOGITS, HIDDEN = ("divergence", "squares"), ("states", "relations")


@dataclass(frozen=True)
class Distill:
    """Train for at most `epochs`, and keep the epoch that is best on dev.

    rate: peak learning rate. alpha: weight of the teacher's logits against the labels, in [0, 1].
    beta: weight of hidden states (bags have none). temperature: above 0. unlabelled: share of the texts without labels,
    variants of the rows among them, that this pass reads, the same share in each epoch. mixup: of the Beta that shares
    of blended texts are drawn from (Zhang et al. 2018, arXiv:1710.09412); 0 is what `--augment mixup` came to, or none.
    logits: the loss on the teacher's, the "divergence" of softened shares or the "squares" of how far they are apart.
    hidden: that on hidden states, of the "states" themselves where student and teacher are as wide, or of the
    "relations" between a text's pieces.
    """

    name: ClassVar[str] = "distill"
    epochs: int = 30
    rate: float = knob(5e-3, Real(1e-4, 2e-2, log=True), decisive=True)
    batch_size: int = 128
    alpha: float = knob(0.9, Real(0.3, 1.0))
    beta: float = knob(0.0, Choice((0.0, 0.3, 1.0, 3.0)))
    temperature: float = knob(8.0, Real(1.0, 16.0, log=True))
    patience: int = 10
    decay: float = 0.0
    unlabelled: float = knob(1.0, Choice((0.0, 0.3, 1.0)), quiet=True)
    mixup: float = knob(0.0, Choice((0.0, 0.1, 0.2, 0.4)), quiet=True)
    logits: str = knob("divergence", Choice(LOGITS), quiet=True)
    hidden: str = knob("states", Choice(HIDDEN), quiet=True)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or self.beta < 0:
            raise ValueError(f"alpha is in [0, 1] and beta at least 0, got {self.alpha} and {self.beta}")
        if self.temperature <= 0 or self.rate <= 0:
            raise ValueError("temperature and rate are above 0")
        if min(self.epochs, self.batch_size, self.patience) < 1 or self.decay < 0:
            raise ValueError("epochs, batch_size and patience are at least 1, and decay at least 0")
        if self.logits not in LOGITS or self.hidden not in HIDDEN:
            raise ValueError(
                f"logits is one of {', '.join(LOGITS)} and hidden one of {', '.join(HIDDEN)}, "
                f"got {self.logits!r} and {self.hidden!r}"
            )
        if not 0 <= self.unlabelled <= 1 or self.mixup < 0:
            raise ValueError(f"unlabelled is in [0, 1] and mixup at least 0, got {self.unlabelled} and {self.mixup}")

    @property
    def further(self) -> Distill:
        """What a student that has learnt by this still needs, to learn from a few more rows as well."""
        return replace(self, epochs=max(1, round(FURTHER * self.epochs)), rate=FURTHER_RATE * self.rate)

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The trained model; without a teacher it learns from the labels alone."""
        if model is None:
            raise RecipeError("distill needs a student; put it after a pass that builds one")
        if context.trained is not None:
            model.module.load_state_dict(torch.load(context.trained, weights_only=True))
            return self.further(model, replace(context, trained=None))
        read = context.lesson if self.unlabelled == 1 else thinned(context, self.unlabelled)
        taught = read.taught
        bag = isinstance(model.module, BagModule)
        objective = Objective(
            alpha=self.alpha if taught is not None else 0.0,
            beta=self.beta if taught is not None and taught.hidden and not bag else 0.0,
            temperature=self.temperature,
            mixup=self.mixup or context.mixup,
            squares=self.logits == "squares",
            relations=self.hidden == "relations",
        )
        schedule = Schedule(
            self.epochs,
            self.rate,
            self.batch_size,
            warmup=0.05,
            patience=self.patience,
            decay=self.decay,
            autocast=not bag and gains_from_bf16(),
            second_moment=0.99 if bag else 0.999,
            to_deadline=True,
        )
        train(
            model, read, objective, schedule, context.watched,
            seed=context.seed, checkpoint=context.checkpoints, progress=context.progress, deadline=context.deadline,
            pace=context.pace,
        )  # fmt: skip
        return model


def thinned(context: FitContext, share: float) -> Lesson:
    """The context's lesson with this share of the texts that have no labels, drawn by its seed; all where none has."""
    told = have_labels(context.lesson, context.outputs)
    others = np.flatnonzero(~told)
    if not told.any():
        return context.lesson
    kept = np.random.default_rng(context.seed).permutation(others)[: round(share * len(others))]
    return context.lesson.at(sorted([*np.flatnonzero(told).tolist(), *kept.tolist()]))
