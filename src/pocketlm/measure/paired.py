"""Whether two Pockets differ on the same rows: a paired bootstrap, and McNemar's test where each row is right or wrong.

Drawing rows for both at once takes away what the rows have in common (Efron and Tibshirani 1993, ch. 16; Koehn 2004,
"Statistical Significance Tests for Machine Translation Evaluation").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import comb
from typing import Any

import numpy as np

from pocketlm.errors import DataError
from pocketlm.tasks.scores import Figure

# Resamples where a figure is a mean over rows, and where it has to be counted anew for each; as many times as many as
# differences are told together. So many are drawn at once.
RESAMPLES, COUNTED_RESAMPLES, AT_ONCE = 2_000, 200, 100

# With fewer rows no difference is called real.
FEWEST_ROWS = 10
# The figure of a system on the rows at these places.
Judged = Callable[[Sequence[int]], float]


@dataclass(frozen=True)
class Difference:
    """How much more of a metric the first has than the second, with its 95 % interval. rows: it is of.

    p_value: of McNemar's exact test, that both are right equally often; None where the metric is not the share of rows
    that are right. won, lost: rows that only the first, and only the second, gets right. together: differences that are
    told at once; all their intervals hold together so often, and p-values are as many times as large (Dunn 1961,
    "Multiple comparisons among means").
    """

    metric: str
    gain: Figure
    rows: int
    p_value: float | None = None
    won: int | None = None
    lost: int | None = None
    together: int = 1

    @property
    def real(self) -> bool:
        """Whether the whole interval is on one side of 0, McNemar's test agrees, and rows are not all too few."""
        apart = self.gain.low > 0 or self.gain.high < 0
        return apart and self.rows >= FEWEST_ROWS and (self.p_value is None or self.p_value < 0.05)

    def __str__(self) -> str:
        sure = "a real difference" if self.real else "no sure difference"
        text = f"{self.metric} {self.gain.value:+.4f} ({self.gain.low:+.4f} to {self.gain.high:+.4f}): {sure}"
        if self.p_value is None:
            return text
        return f"{text}; {self.won} rows won, {self.lost} lost, McNemar p = {self.p_value:.2g}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "real": self.real}


def difference(
    metric: str, rows: int, first: Judged, second: Judged, seed: int = 0, together: int = 1
) -> Difference:  # fmt: skip
    """The first's figure less the second's on the same rows, one of so many that are told together.

    Raises DataError without rows.
    """
    if not rows:
        raise DataError("two Pockets cannot be compared on no rows")
    whole = first(range(rows)), second(range(rows))
    each = np.array([[judged([place]) for place in range(rows)] for judged in (first, second)])
    value, random = whole[0] - whole[1], np.random.default_rng(seed)
    is_mean = np.allclose(each.mean(axis=1), whole, atol=1e-6)
    if is_mean:
        apart = each[0] - each[1]
        even, sets = np.full(rows, 1 / rows), range(together * RESAMPLES // AT_ONCE)
        drawn = np.concatenate([random.multinomial(rows, even, size=AT_ONCE) @ apart / rows for _ in sets])
    else:
        places = [random.integers(0, rows, rows).tolist() for _ in range(together * COUNTED_RESAMPLES)]
        drawn = np.array([first(own) - second(own) for own in places])
    low, high = np.quantile(drawn, (0.025 / together, 1 - 0.025 / together))
    gain = Figure(round(value, 6), round(float(low), 6), round(float(high), 6))
    if not is_mean or not np.isin(each, (0.0, 1.0)).all():
        return Difference(metric, gain, rows, together=together)
    right = each == 1
    won, lost = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return Difference(metric, gain, rows, min(1.0, together * mcnemar(won, lost)), won, lost, together)


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value that of the rows which only one gets right, each would have half.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions": a binomial test.
    """
    few, count = min(won, lost), won + lost
    return float(min(1.0, 2 * sum(comb(count, place) for place in range(few + 1)) / 2**count))
