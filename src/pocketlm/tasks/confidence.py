"""How much a model's own certainty is worth: temperature, calibration, and which answers are better not given.

A temperature divides all logits of a text: it never changes which label is first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Temperatures tried, spaced evenly in their logarithm: 1 % apart.
TEMPERATURES = np.exp(np.arange(-300, 301) / 100)
# Fewer rows than this say nothing of a temperature.
FEWEST_ROWS = 20
# Bins of equal width that calibration is judged by, as Guo et al. have them.
BINS = 15


def fit_temperature(logits: NDArray[np.floating], gold: Ints) -> float:
    """The temperature under which rows that a model did not learn from are likeliest.

    logits: (rows, labels); gold: (rows,) places of labels, -1 for none of them, which does not count. Guo et al. 2017,
    arXiv:1706.04599, sec. 4.2, with a prior worth about one row (its logarithm is normal with variance 1): where every
    row is right, likelihood alone would take it to 0. 1.0 for fewer than FEWEST_ROWS.
    """
    known = gold >= 0
    if known.sum() < FEWEST_ROWS:
        return 1.0
    rows = logits[known].astype(np.float64)
    rows = rows - rows.max(1, keepdims=True)
    own = rows[np.arange(len(rows)), gold[known]]
    losses = [
        float((np.log(np.exp(rows / one).sum(1)) - own / one).sum() + np.log(one) ** 2 / 2) for one in TEMPERATURES
    ]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 4)


def shares(logits: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Softmax of logits (rows, labels) at a temperature."""
    rows = logits.astype(np.float64) / temperature
    grown = np.exp(rows - rows.max(-1, keepdims=True))
    out: Floats = grown / grown.sum(-1, keepdims=True)
    return out


def calibration_error(scores: Floats, right: Floats, weights: Floats) -> Floats:
    """Expected calibration error: mean distance of certainty and accuracy over BINS of scores, by how many are in each.

    scores, right: (rows,), in [0, 1]; weights: (resamples, rows); (resamples,) comes back. Guo et al. 2017, eq. 3.
    """
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = np.zeros((len(scores), BINS))
    bins[np.arange(len(scores)), places] = right - scores
    out: Floats = np.abs(weights @ bins).sum(-1) / weights.sum(-1)
    return out


def risk_coverage(scores: Floats, right: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(coverage, risk) when the surest answers alone are given, from few to all: two arrays (resamples, rows).

    Answers that are equally sure are given together. Risk is the share of wrong ones among those given.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.searchsorted(-scores[order], -scores[order], side="right") - 1
    given = np.cumsum(weights[:, order], axis=1)[:, ends]
    wrong = np.cumsum(weights[:, order] * (1 - right[order]), axis=1)[:, ends]
    risk = np.divide(wrong, given, out=np.zeros_like(wrong), where=given > 0)
    return given / weights.sum(1, keepdims=True), risk


def area_under_risk(scores: Floats, right: Floats, weights: Floats) -> Floats:
    """Mean risk over all coverages (AURC), the less the better: (resamples,). Geifman et al. 2019, arXiv:1805.08206."""
    order = np.argsort(-scores, kind="stable")
    _, risk = risk_coverage(scores, right, weights)
    out: Floats = (weights[:, order] * risk).sum(1) / weights.sum(1)
    return out


@dataclass(frozen=True)
class Cut:
    """The score below which nothing is answered, and what came of it on the rows it was chosen on.

    error: share of wrong answers among those given, one wrong answer more than were seen: what few rows can promise.
    coverage: share of rows that are answered.
    """

    below: float
    error: float
    coverage: float


def choose_cut(scores: Floats, right: Floats, error: float, able: NDArray[np.bool_] | None = None) -> Cut:
    """The cut that answers most rows of those whose error is at most `error`; else the one of least error.

    scores, right: (rows,). able: rows with an answer that could be given at all. The error counted is (wrong + 1) /
    (answered + 1), as conformal risk control does (Angelopoulos et al. 2022, arXiv:2208.02814).
    """
    able = np.ones(len(scores), bool) if able is None else able
    levels = np.unique(scores[able])
    best: Cut | None = None
    for place, level in enumerate(levels):
        given = able & (scores >= level)
        bound = float(((1 - right[given]).sum() + 1) / (given.sum() + 1))
        lower = float(levels[place - 1]) if place else 0.0
        # half way to the next score, so that a text a little less sure than those seen is answered too
        cut = Cut(round((level + lower) / 2, 4) if place else 0.0, bound, float(given.mean()))
        if bound <= error:
            return cut
        best = cut if best is None or bound < best.error else best
    return best or Cut(1.0, 1.0, 0.0)
