"""Figures with their 95 % intervals: a percentile bootstrap over rows (Efron and Tibshirani 1993, ch. 13)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.tasks.intervals import share
from pocketlm.tasks.metrics import Counts, f1_parts

RESAMPLES = 1000
# Resamples judged at once: bounds the memory of (resamples, kinds) weights.
_CHUNK = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """How a model did on n rows.

    metrics: by name. per_class, per_slot: {"label", "precision", "recall", "f1", "support"} of each.
    confusion: {"labels", "counts"} or None. signatures: how a metric is counted, where there is a choice.
    sureness: figures of how sure the model was, by name, where texts have one label.
    """

    n: int
    metrics: dict[str, Figure]
    per_class: list[dict[str, Any]]
    per_slot: list[dict[str, Any]] = field(default_factory=list)
    confusion: dict[str, Any] | None = None
    signatures: dict[str, str] = field(default_factory=dict)
    sureness: dict[str, Figure] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def figures_with_intervals(
    measure: Callable[[Floats], dict[str, Floats]], times: NDArray[np.int64], seed: int, resamples: int = RESAMPLES,
    of_rows: Collection[str] | None = (),
) -> dict[str, Figure]:  # fmt: skip
    """Each figure of `measure` with its bootstrap interval.

    times: (kinds,) how many rows of each kind there are; `measure` takes weights (resamples, kinds). Drawing
    rows with replacement is drawing kinds by their shares, so that rows alike cost no more than one. of_rows: figures
    that are 1 where all rows are right (None: all of them); there, and at 0, few rows are less sure than the bootstrap.
    """
    rows = int(times.sum())
    exact = measure(times[None].astype(np.float64))
    random = np.random.default_rng(seed)
    drawn: dict[str, list[Floats]] = {name: [] for name in exact}
    for begin in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - begin)
        weights = random.multinomial(rows, times / rows, size=count).astype(np.float64)
        for name, values in measure(weights).items():
            drawn[name].append(values)
    out = {}
    for name, parts in drawn.items():
        value = float(exact[name][0])
        low, high = map(float, np.quantile(np.concatenate(parts), [0.025, 0.975]))
        if of_rows is None or name in of_rows:
            low, high = _beyond_rows(value, low, high, rows)
        out[name] = Figure(round(value, 6), round(low, 6), round(high, 6))
    return out


def _beyond_rows(value: float, low: float, high: float, rows: int) -> tuple[float, float]:
    """The interval of a share that was the same in all resamples: all rows are right, or none is, and few are all."""
    if low == high == value and value in (0.0, 1.0):
        told = share(rows if value else 0, rows)
        return told.low, told.high
    return low, high


def per_label(labels: Sequence[str], counts: Counts) -> list[dict[str, Any]]:
    """One row a label; counts: (labels,)."""
    precision, recall, f1 = f1_parts(counts)
    return [
        {
            "label": label,
            "precision": round(float(precision[place]), 6),
            "recall": round(float(recall[place]), 6),
            "f1": round(float(f1[place]), 6),
            "support": int(counts.gold[place]),
        }
        for place, label in enumerate(labels)
    ]
