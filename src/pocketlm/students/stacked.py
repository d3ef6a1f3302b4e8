"""A teacher of two: an encoder and linear n-grams that learnt from the same rows, whose errors differ.

Stacked generalization (Wolpert 1992): the weights of their logits are those that say dev's labels best, and of a
training row the n-grams say what they would without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import texts_of
from pocketlm.runtime.decode import Prediction, decode
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.solve import Solve, cross_entropy
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import Lesson, Taught, lesson
from pocketlm.train.teach import ask

Floats = NDArray[np.float32]

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
# Two teachers are heard where together they have at most this share of the better one's cross-entropy on dev.
WORTH_IT = 0.98


@dataclass(frozen=True)
class Stack:
    """n-grams beside an encoder. weights: {output: (the encoder's, the n-grams')}. dev: their logits together.

    losses: mean cross-entropy on dev of the encoder, of the n-grams, and of both by these weights. held_out: what the
    n-grams say of the labelled training texts, (texts, labels of all outputs).
    """

    ngrams: TaskModel
    held_out: Floats
    weights: Mapping[str, tuple[float, float]]
    losses: tuple[float, float, float]
    dev: Mapping[str, Floats]

    @property
    def better(self) -> bool:
        """Whether both together are surely better than either."""
        return self.losses[2] <= WORTH_IT * min(self.losses[:2])

    def taught(self, given: Lesson, seen: bool) -> Lesson:
        """The lesson with what both say. seen: its labelled texts are, in order, those that the n-grams learnt from."""
        assert given.taught is not None
        said, logits = ask(self.ngrams, given.texts).logits, {}
        known = np.flatnonzero(np.all([np.asarray(own) >= 0 for own in given.labels.values()], axis=0))
        at = 0
        for name, own in said.items():
            rows = np.stack(list(own))
            if seen:
                rows[known] = self.held_out[:, at : at + rows.shape[1]]
            at += rows.shape[1]
            encoder, ngrams = self.weights[name]
            logits[name] = list(encoder * np.stack(list(given.taught.logits[name])) + ngrams * rows)
        return given.with_teacher(Taught(logits, given.taught.hidden))

    def answers(self, context: FitContext) -> list[Prediction]:
        """What both say of the dev texts."""
        texts = texts_of(context.dev, context.outputs)
        return decode(texts, context.outputs, self.dev, [0] * len(texts))


def linear_ngrams(context: FitContext) -> tuple[TaskModel, Floats | None]:
    """n-grams solved on the labels alone, and their held-out logits of the training texts where these are few."""
    student = HashedNgrams(width=0, hidden=False, rows=100_000, min_texts=1)(None, context)
    return Solve().with_held_out(student, context)


def stacked(encoder: TaskModel, ngrams: TaskModel, held_out: Floats, context: FitContext) -> Stack:
    """The two with the weights that are best on dev. Neither has learnt from dev's labels."""
    texts = texts_of(context.dev, context.outputs)
    gold = lesson(context.dev, context.outputs).labels
    said = [ask(model, texts).logits for model in (encoder, ngrams)]
    weights, losses, dev = {}, np.zeros(3), {}
    for output in context.outputs:
        first, second = (np.stack(list(one[output.name])) for one in said)
        right = np.asarray(gold[output.name], np.int64)
        tried = {(a, b): cross_entropy(a * first + b * second, right) for a, b in product(WEIGHTS, WEIGHTS)}
        best = min(tried, key=lambda pair: (tried[pair], pair))
        alone = (min(tried[a, 0.0] for a in WEIGHTS), min(tried[0.0, b] for b in WEIGHTS))
        losses += np.array([*alone, tried[best]])
        weights[output.name] = best
        dev[output.name] = (best[0] * first + best[1] * second).astype(np.float32)
    first_loss, second_loss, both = losses.tolist()
    return Stack(ngrams, held_out, weights, (first_loss, second_loss, both), dev)
