"""Train the model at hand: on its teacher's outputs where there is a teacher, and on the labels.

Hinton et al. 2015, arXiv:1503.02531, with hidden states or relations where shapes allow (see train.losses).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, Real, knob
from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel
from pocketlm.train.context import FitContext
from pocketlm.train.loop import Schedule, gains_from_bf16, train
from pocketlm.train.losses import Objective

# Of a student that goes on with new texts: its share of the epochs, and of the peak rate.
FURTHER, FURTHER_RATE = 1 / 3, 1 / 2


@dataclass(frozen=True)
class Distill:
    """Train for at most `epochs`, and keep the epoch that is best on dev.

    rate: peak learning rate. alpha: weight of the teacher's logits against the labels, in [0, 1].
    beta: weight of hidden states (bags have none). temperature: above 0.
    """

    name: ClassVar[str] = "distill"
    epochs: int = 30
    rate: float = knob(5e-3, Real(1e-4, 2e-2, log=True))
    batch_size: int = 128
    alpha: float = knob(0.9, Real(0.3, 1.0))
    beta: float = knob(0.0, Choice((0.0, 0.3, 1.0, 3.0)))
    temperature: float = knob(8.0, Real(1.0, 16.0, log=True))
    patience: int = 10
    decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or self.beta < 0:
            raise ValueError(f"alpha is in [0, 1] and beta at least 0, got {self.alpha} and {self.beta}")
        if self.temperature <= 0 or self.rate <= 0:
            raise ValueError("temperature and rate are above 0")
        if min(self.epochs, self.batch_size, self.patience) < 1 or self.decay < 0:
            raise ValueError("epochs, batch_size and patience are at least 1, and decay at least 0")

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
        taught = context.lesson.taught
        bag = isinstance(model.module, BagModule)
        objective = Objective(
            alpha=self.alpha if taught is not None else 0.0,
            beta=self.beta if taught is not None and taught.hidden and not bag else 0.0,
            temperature=self.temperature,
            mixup=context.mixup,
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
            model, context.lesson, objective, schedule, context.watched,
            seed=context.seed, checkpoint=context.checkpoints, progress=context.progress, deadline=context.deadline,
            pace=context.pace,
        )  # fmt: skip
        return model
