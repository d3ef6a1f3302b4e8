"""The light model fitted again after every batch: ridge regression on one-hot labels, in closed form.

Rifkin, Yeo and Poggio 2003, "Regularized least-squares classification". With few labels it does as well as a linear
support vector machine, takes a fraction of a second, and says in the same breath what it would have said of every
labelled row without that row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlm.labelling.features import Floats

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

# Added to the diagonal of the cosines.
RIDGE = 0.3
_TEMPERATURES = 2.0 ** np.arange(-1, 7)


@dataclass(frozen=True)
class Learner:
    """What was learnt of classes 0, 1, …. weights: (columns, classes); shift: (classes,).

    left_out: (labelled, classes), probabilities of each labelled row by a model that has not seen it.
    """

    weights: Floats
    shift: Floats
    temperature: float
    left_out: Doubles

    def probabilities(self, rows: Floats) -> Doubles:
        """(rows, classes)."""
        return softmax((rows @ self.weights + self.shift).astype(np.float64) * self.temperature)


def learn(rows: Floats, labels: Sequence[int], classes: int) -> Learner:
    """The model of labelled rows (labelled, columns); rows that are all of one class teach only how often it is."""
    gold = np.asarray(labels, np.int64)
    wanted = np.eye(classes)[gold]
    often = wanted.mean(axis=0)
    wanted -= often
    inverse = np.linalg.inv((rows @ rows.T).astype(np.float64) + RIDGE * np.eye(len(rows)))
    duals = inverse @ wanted
    # what the fit without a row says of it: Rifkin and Lippert 2007, "Notes on regularized least squares", section 3
    without = wanted - duals / np.diag(inverse)[:, None] + often
    temperature = max(_TEMPERATURES, key=lambda one: _likelihood(softmax(without * one), gold))
    weights = (rows.T @ duals.astype(np.float32)).astype(np.float32)
    return Learner(weights, often.astype(np.float32), float(temperature), softmax(without * temperature))


def _likelihood(probabilities: Doubles, gold: Ints) -> float:
    return float(np.log(np.maximum(probabilities[np.arange(len(gold)), gold], 1e-9)).mean())


def softmax(logits: Doubles) -> Doubles:
    """Each row as shares of 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Doubles = raised / raised.sum(axis=1, keepdims=True)
    return shares
