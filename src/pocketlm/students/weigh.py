"""Weigh what an encoder says and what n-grams beside it say, where each has learnt the labels by itself.

Their errors differ, so that both together are right more often than either: stacked generalization (Wolpert 1992,
Neural Networks 5) with two weights, which some hundred dev rows can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch

from pocketlm.errors import RecipeError
from pocketlm.model.stack import StackModule, unstack
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import texts_of
from pocketlm.students.solve import cross_entropy, labelled
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import lesson
from pocketlm.train.teach import ask


@dataclass(frozen=True)
class Weigh:
    """Multiply the logits of a stack's encoder and of its n-grams by a weight each, the same for every output.

    encoder, ngrams: weights that are tried; the pair is taken by which dev's labels have the lowest cross-entropy.
    """

    name: ClassVar[str] = "weigh"
    encoder: tuple[float, ...] = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.25)
    ngrams: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5)

    def __post_init__(self) -> None:
        for name, tried in (("encoder", self.encoder), ("ngrams", self.ngrams)):
            if not tried or min(tried) <= 0:
                raise ValueError(f"{name} holds weights above 0, at least one, got {tried}")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The stack with both weights in its parts. Raises RecipeError where the model is no stack."""
        if model is None or not isinstance(model.module, StackModule):
            raise RecipeError("weigh needs an encoder with n-grams beside it; put it after beside-ngrams and solve")
        first, second = self._best(model, context)
        parts: Any = [part.module for part in unstack(model)]
        with torch.no_grad():
            for head in parts[0].readout.heads.values():
                head.weight *= first
                head.bias *= first
            parts[1].table *= second
            for head in parts[1].heads.values():
                head.bias *= second
        return model.settled(encoder=(first,), ngrams=(second,))

    def _best(self, model: TaskModel, context: FitContext) -> tuple[float, float]:
        """The pair of weights that says dev's labels best; the first of equal ones."""
        pairs = list(product(self.encoder, self.ngrams))
        if len(pairs) == 1:
            return pairs[0]
        places, gold = labelled(lesson(context.dev, context.outputs), context.outputs)
        texts = texts_of(context.dev, context.outputs)
        parts = [ask(part, [texts[place] for place in places]).logits for part in unstack(model)]
        said = {name: [np.stack(list(part[name])) for part in parts] for name in gold}

        def loss(pair: tuple[float, float]) -> float:
            both = {name: pair[0] * own + pair[1] * other for name, (own, other) in said.items()}
            return sum(cross_entropy(logits, gold[name]) for name, logits in both.items())

        return min(pairs, key=loss)
