"""Which token comes next: the most probable one, or one drawn from those that filters leave, as `transformers` filters.

Filters are pure functions on the logits of one row, (words,), and return new ones; -inf is a token that is left out.
They are applied in the order in which they stand here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import UserError

Row = NDArray[np.float32]
Rows = NDArray[np.float32]
Ids = NDArray[np.integer[Any]]

# Below it the most probable token is taken as surely as at it, and a float32 cannot hold what is divided by it.
COLDEST = 1e-6


@dataclass(frozen=True)
class Writing:
    """How text is written.

    max_tokens: at most so many tokens. temperature: 0 takes the most probable token, else logits are divided by it.
    top_k: only so many most probable tokens, 0: all. top_p: the fewest tokens whose probabilities reach it. min_p: no
    token below this share of the greatest probability. repetition_penalty: logits of tokens that occurred are divided
    by it (Keskar et al. 2019, arXiv:1909.05858). beams: over 1, beam search, whose scores are divided by
    length^length_penalty; early_stopping: whether it ends with the first so many sequences that are done, or "never"
    before none can become better. stop: strings that end the text and are not part of it. cut: whether a prompt that is
    too long loses its beginning. seed: of the drawing.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    stop: tuple[str, ...] = ()
    cut: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise UserError(f"stop is a tuple of strings, got one string; write ({self.stop!r},)")
        for name, holds, allowed in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 (all) or more"),
            ("top_p", 0 < self.top_p <= 1, "over 0, up to 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "over 0"),
            ("beams", self.beams >= 1, "at least 1"),
            ("early_stopping", self.early_stopping in (True, False, "never"), "true, false or 'never'"),
            ("stop", all(self.stop), "strings that are not empty"),
            ("seed", self.seed >= 0, "0 or more"),
        ):
            if not holds:
                raise UserError(f"{name} is {allowed}, got {getattr(self, name)!r}")
        narrowed = [name for name, off in (("top_k", 0), ("top_p", 1), ("min_p", 0)) if getattr(self, name) != off]
        if narrowed and not self.temperature:
            raise UserError(f"{narrowed[0]} narrows what is drawn from; give a temperature above 0, such as 0.8, too")
        if self.beams > 1 and self.temperature:
            raise UserError("beams take the most probable tokens: give temperature or beams, not both")


def penalized(logits: Row, seen: Ids, penalty: float) -> Row:
    """Logits of tokens seen: divided by the penalty where they are positive, multiplied by it where not."""
    if penalty == 1:
        return logits
    found = logits.copy()
    some = found[seen]
    found[seen] = np.where(some < 0, some * np.float32(penalty), some / np.float32(penalty))
    return found


def top_k(logits: Row, count: int) -> Row:
    """Only tokens with a logit at least as great as the count-th greatest; 0 keeps all."""
    if not 0 < count < len(logits):
        return logits
    least = np.partition(logits, len(logits) - count)[len(logits) - count]
    return np.where(logits < least, np.float32(-np.inf), logits)


def top_p(logits: Row, share: float) -> Row:
    """The fewest most probable tokens whose probabilities reach `share` (Holtzman et al. 2019, arXiv:1904.09751)."""
    if share >= 1:
        return logits
    chances = softmax(logits)
    # all that lie below this together have less than is left out, and need no sorting
    floor = (1 - share) / len(logits)
    places = np.flatnonzero(chances >= floor)
    order = places[np.argsort(chances[places], kind="stable")]
    below = float(chances[chances < floor].sum())
    out = order[(below + np.cumsum(chances[order])) <= 1 - share]
    found = np.full_like(logits, -np.inf)
    found[places] = logits[places]
    found[out[: len(order) - 1]] = -np.inf  # the most probable one stays
    return found


def min_p(logits: Row, share: float) -> Row:
    """Tokens with at least `share` of the greatest probability (Nguyen et al. 2024, arXiv:2407.01082)."""
    if share <= 0:
        return logits
    chances = softmax(logits)
    return np.where(chances < share * chances.max(), np.float32(-np.inf), logits)


def softmax(logits: Row) -> Row:
    """Probabilities, float32."""
    powers = np.exp(logits - logits.max())
    found: Row = powers / powers.sum()
    return found


def filtered(logits: Row, seen: Ids, how: Writing) -> Row:
    """The logits that a token is drawn by."""
    logits = penalized(logits, seen, how.repetition_penalty)
    if not how.temperature:
        return logits
    logits = logits / np.float32(max(how.temperature, COLDEST))
    return min_p(top_p(top_k(logits, how.top_k), how.top_p), how.min_p)


def choose(logits: Rows, seen: Sequence[Ids], how: Writing, draws: Sequence[Any]) -> NDArray[np.int64]:
    """The next token of every row. logits: (rows, words). seen: tokens of each row so far. draws: a generator a row."""
    found: NDArray[np.int64] = np.argmax(logits, axis=1)
    if not how.temperature and how.repetition_penalty == 1:
        return found
    for row, (own, tokens, draw) in enumerate(zip(logits, seen, draws, strict=True)):
        kept = filtered(own, tokens, how)
        found[row] = _drawn(kept, draw) if how.temperature else kept.argmax()
    return found


def _drawn(logits: Row, draw: Any) -> int:
    """A token by its probability."""
    places = np.flatnonzero(logits > -np.inf)
    sums = np.cumsum(softmax(logits[places]).astype(np.float64))
    return int(places[min(np.searchsorted(sums, draw.random() * sums[-1], side="right"), len(places) - 1)])
