"""A head on an encoder's vectors as they are: a logistic regression, as strong as rows that it did not see allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, texts_of
from pocketlm.runtime.unsure import single_output
from pocketlm.train.frozen import pooled_vectors
from pocketlm.train.lesson import lesson

# Parts of the rows that are held out in turn to choose between strengths.
FOLDS = 5
# Up to so many rows a class, on average, every class weighs as much as any other: a regression on few rows otherwise
# says little but the frequent ones, and is not right more often for it. With more rows the root of that weight.
FEW_ROWS = 32


def fit_head(model: TaskModel, examples: Sequence[Example], strengths: Sequence[float], *, seed: int = 0) -> float:
    """Put a logistic regression on the examples' pooled vectors in place of the head of the single-label output.

    strengths: as C of scikit-learn; of several the one is taken, and returned, whose regressions on other examples say
    held-out labels best.
    """
    output = single_output(model.spec.outputs)
    assert output is not None, "a head is fitted to texts with one label each"
    given = [one for one in examples if one.labels]
    vectors = torch.from_numpy(pooled_vectors(model, texts_of(given, model.spec.outputs)))
    labels = torch.tensor(np.array(lesson(given, model.spec.outputs).labels[output.name], np.int64))
    middle = vectors.mean(0)
    # of mean square length 1, whatever the encoder's scale: one strength then suits them all
    scale = (vectors - middle).square().sum(1).mean().sqrt().clamp(min=1e-6)
    units = (vectors - middle) / scale
    weights = class_weights(labels, output.size)
    strength = strengths[0]
    if len(strengths) > 1:
        strength = best_strength(units, labels, weights, strengths, seed)
    weight, bias = regression(units, labels, weights, strength)
    module: Any = model.module
    head = module.readout.heads[output.name]
    with torch.no_grad():
        head.weight.copy_(weight / scale)
        head.bias.copy_(bias - weight @ middle / scale)
    return strength


def class_weights(labels: Tensor, classes: int) -> Tensor:
    """What a row of each class counts: (classes,), 1 on average over the rows."""
    counts = torch.bincount(labels, minlength=classes).float()
    power = 1.0 if len(labels) <= FEW_ROWS * int((counts > 0).sum()) else 0.5
    weights = counts.clamp(min=1) ** -power
    found: Tensor = weights * len(labels) / (weights * counts).sum()
    return found


def best_strength(vectors: Tensor, labels: Tensor, weights: Tensor, strengths: Sequence[float], seed: int) -> float:
    """The strength with the least cross-entropy of labels that a regression on the other parts did not see.

    weights: of the classes, (classes,).
    """
    parts = np.random.default_rng(seed).permutation(len(labels)) % min(FOLDS, len(labels))
    losses = dict.fromkeys(strengths, 0.0)
    for part in range(parts.max() + 1):
        held, rest = (torch.from_numpy(np.flatnonzero(one)) for one in (parts == part, parts != part))
        for strength in strengths:
            weight, bias = regression(vectors[rest], labels[rest], weights, strength)
            said = F.linear(vectors[held], weight, bias)
            losses[strength] += float(F.cross_entropy(said, labels[held], weights, reduction="sum"))
    return min(losses, key=lambda strength: (losses[strength], strength))


def regression(vectors: Tensor, labels: Tensor, weights: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weights (classes, width) and biases of multinomial logistic regression: strength · summed loss + ‖weights‖² / 2.

    As scikit-learn's LogisticRegression with C = strength and these weights of the classes, (classes,); by L-BFGS, in
    float64.
    """
    rows, counted = vectors.double(), weights.double()
    classes = len(weights)
    weight = torch.zeros(classes, rows.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        summed = F.cross_entropy(F.linear(rows, weight, bias), labels, counted, reduction="sum")
        loss = (summed + weight.square().sum() / (2 * strength)) / len(rows)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        solver.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach().float(), bias.detach().float()
