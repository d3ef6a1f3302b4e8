"""How sure a difference between two systems is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocketlm.measure import paired

Right = NDArray[np.bool_]


def interval(right: Right) -> tuple[float, float]:
    """95 % percentile bootstrap of the share of rows that are right."""
    random = np.random.default_rng(0)
    shares = random.multinomial(len(right), np.full(len(right), 1 / len(right)), size=1000) @ right / len(right)
    return float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))


def mcnemar(right: Right, other: Right) -> float:
    """Two-sided exact p-value that two systems err equally often on the same rows."""
    return paired.mcnemar(int((right & ~other).sum()), int((~right & other).sum()))
