"""How sure a difference between two systems is."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.bool_]


def interval(right: Right) -> tuple[float, float]:
    """95 % percentile bootstrap of the share of rows that are right."""
    random = np.random.default_rng(0)
    shares = random.multinomial(len(right), np.full(len(right), 1 / len(right)), size=1000) @ right / len(right)
    return float(np.quantile(shares, 0.025)), float(np.quantile(shares, 0.975))


def mcnemar(right: Right, other: Right) -> float:
    """Two-sided exact p-value that two systems err equally often on the same rows.

    McNemar 1947: of the rows that only one of them gets right, each would have half (a binomial test).
    """
    won, lost = int((right & ~other).sum()), int((~right & other).sum())
    few, count = min(won, lost), won + lost
    return min(1.0, 2 * sum(comb(count, place) for place in range(few + 1)) / 2**count)
