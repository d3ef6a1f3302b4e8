"""Logits of begins and ends to answers: the best span over a context's windows, as characters of the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.inputs import Encoded
from pocketlm.runtime.question import Question, whole_characters
from pocketlm.runtime.windows import Reading

Floats = NDArray[np.float32]
# A window of a question, and how it is read.
Window = tuple[Question, Encoded]


@dataclass(frozen=True)
class Found:
    """The best span of a context. margin: how much better it is than no answer, in logits.

    share, none: the share of all spans' likelihood that it has, and that no answer has.
    """

    start: int
    end: int
    margin: float
    share: float
    none: float


def best_span(windows: Sequence[Window], logits: Sequence[Floats], longest: int) -> Found:
    """The likeliest span of at most `longest` pieces. logits: (pieces, 2) of each window, begins and ends.

    Spans of all windows are compared by the sum of their logits, and no answer is as good as it is in the window
    where it is worst: a window that lacks the answer says so (Devlin et al. 2019, arXiv:1810.04805, section 4.3).
    """
    total = sum(_log_total(np.concatenate([one[:, side] for one in logits])) for side in (0, 1))
    none = min(float(one[0].sum()) for one in logits)
    best, chosen = -np.inf, (0, 0, 0)
    for place, ((_, encoded), own) in enumerate(zip(windows, logits, strict=True)):
        score, first, last = _in_window(own, encoded.arrays[2], longest)
        if score > best:
            best, chosen = score, (place, first, last)
    question, encoded = windows[chosen[0]]
    offsets = encoded.arrays[3]
    start, end = int(offsets[chosen[1], 0]) + question.at, int(offsets[chosen[2], 1]) + question.at
    return Found(start, end, best - none, float(np.exp(best - total)), float(np.exp(none - total)))


def _in_window(logits: Floats, places: NDArray[np.bool_], longest: int) -> tuple[float, int, int]:
    """(score, first, last piece) of the best span of the window's context."""
    allowed = np.where(places, 0.0, -1e4).astype(np.float32)
    allowed[0] = -1e4
    begins, ends = logits[:, 0] + allowed, logits[:, 1] + allowed
    best, first, last = -np.inf, 0, 0
    for more in range(min(longest, len(begins))):
        sums = begins[: len(begins) - more] + ends[more:]
        place = int(sums.argmax())
        if sums[place] > best:
            best, first, last = float(sums[place]), place, place + more
    return best, first, last


def _log_total(values: Floats) -> float:
    top = float(values.max())
    return top + float(np.log(np.exp(values - top).sum()))


def answer_of(context: str, found: Found, reading: Reading) -> dict[str, Any]:
    """{"answer", "start", "end", "score", "margin"}; the empty answer has no place.

    score: the share of likelihood in [0, 1]. margin: how much better the best answer is than none, in logits.
    """
    margin = round(found.margin, 4)
    if reading.threshold is not None and found.margin <= reading.threshold:
        return {"answer": "", "start": None, "end": None, "score": round(found.none, 4), "margin": margin}
    start, end = whole_characters(context, found.start, found.end)
    return {
        "answer": context[start:end], "start": start, "end": end, "score": round(found.share, 4), "margin": margin,
    }  # fmt: skip
