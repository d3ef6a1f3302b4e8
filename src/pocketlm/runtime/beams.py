"""Beam search: the most probable sequences of so many kept side by side, scored and ended as `transformers` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.choose import Ids, Writing, penalized

# Scores of what is not to be chosen.
NEVER = np.float32(-1e9)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """ends: tokens that end a text. never: those that are never chosen. most: how many are written at most."""

    ends: tuple[int, ...]
    never: tuple[int, ...]
    most: int


class Rows(Protocol):
    """What reads the next token of every row."""

    def read(self, ids: Ids) -> Floats:
        """Logits (rows, words) after one more token of each row, (rows, 1)."""
        ...

    def take(self, order: Ids) -> None:
        """Rows become these of them."""
        ...


@dataclass
class Beams:
    """Sequences of every text: (texts, beams) of scores, (texts, beams, most) of tokens written and their lengths."""

    scores: Floats
    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    done: NDArray[np.bool_]

    def picked(self, places: Ids) -> Beams:
        """Some of each text's, (texts, count) places."""
        rows = np.arange(len(places))[:, None]
        return Beams(
            self.scores[rows, places], self.tokens[rows, places], self.lengths[rows, places], self.done[rows, places]
        )

    def joined(self, other: Beams) -> Beams:
        """Each text's of both."""
        both = ((getattr(self, name), getattr(other, name)) for name in ("scores", "tokens", "lengths", "done"))
        return Beams(*(np.concatenate(pair, axis=1) for pair in both))


def beam_search(rows: Rows, logits: Floats, seen: Sequence[Ids], how: Writing, limits: Limits) -> list[list[int]]:
    """The best sequence of each text, its end token among it. logits: (texts, words) after what each text begins with.

    rows: of the texts; become `beams` rows a text. seen: tokens that each text begins with.
    """
    texts, count, words, most = len(logits), how.beams, logits.shape[1], limits.most
    rows.take(np.repeat(np.arange(texts), count))
    logits = np.repeat(logits, count, axis=0)
    scores = np.full((texts, count), NEVER, np.float32)
    done = _empty(texts, count, most, scores.copy())
    scores[:, 0] = 0
    running = _empty(texts, count, most, scores)
    kept, better = max(2, 1 + len(limits.ends)) * count, np.ones((texts, 1), bool)
    for step in range(most):
        chances = _chances(logits, seen, running.tokens[..., :step], how, limits)
        sums = (chances.reshape(texts, count, words) + running.scores[..., None]).reshape(texts, -1)
        best = _greatest(sums, min(kept, sums.shape[1]))
        parents = best // words
        tried = running.picked(parents)
        tried.scores = np.take_along_axis(sums, best, axis=1)
        tried.tokens[..., step] = best % words
        tried.lengths = np.full(best.shape, step + 1)
        over = np.isin(best % words, limits.ends) | (step + 1 >= most)
        done = _update(done, tried, over, better, how, step + 1)
        open_ = np.where(over, tried.scores + NEVER, tried.scores)
        going = _greatest(open_, count)
        scores = np.take_along_axis(open_, going, axis=1)
        running, parents = tried.picked(going), np.take_along_axis(parents, going, axis=1)
        running.scores = scores
        better = np.logical_and(better, _improvable(running, done, how, step + 1, most))
        if not better.any() or over.all() or (how.early_stopping is True and done.done.all()):
            break
        rows.take((parents + np.arange(texts)[:, None] * count).reshape(-1))
        logits = rows.read(running.tokens[..., step].reshape(-1, 1))
    return [done.tokens[text, 0, : done.lengths[text, 0]].tolist() for text in range(texts)]


def _chances(logits: Floats, seen: Sequence[Ids], tokens: Ids, how: Writing, limits: Limits) -> Floats:
    """Log-probabilities, (rows, words), changed by what occurred and what is never chosen."""
    chances = _log_softmax(logits)
    if how.repetition_penalty != 1:
        for row in range(len(chances)):
            text, beam = divmod(row, how.beams)
            known = np.append(seen[text], tokens[text, beam])
            chances[row] = penalized(chances[row], known, how.repetition_penalty)
    chances[:, list(limits.never)] = -np.inf
    return chances


def _empty(texts: int, count: int, most: int, scores: Floats) -> Beams:
    shape = (texts, count)
    return Beams(scores, np.zeros((*shape, most), np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool))


def _update(done: Beams, tried: Beams, over: NDArray[np.bool_], better: Any, how: Writing, length: int) -> Beams:
    """The best of those done before and those that end now, which must be among the best `beams` of this step."""
    ended = over & (np.arange(over.shape[1]) < how.beams)
    scores = (tried.scores / np.float32(length**how.length_penalty)).astype(np.float32)
    if how.early_stopping is True:
        scores = scores + done.done.all(axis=1, keepdims=True) * NEVER
    scores = scores + ~better * NEVER + ~ended * NEVER
    both = done.joined(Beams(scores, tried.tokens, tried.lengths, ended))
    return both.picked(_greatest(both.scores, how.beams))


def _improvable(running: Beams, done: Beams, how: Writing, length: int, most: int) -> NDArray[np.bool_]:
    """Whether a text's best running sequence may still beat its worst one that is done: (texts, 1)."""
    if how.early_stopping == "never" and how.length_penalty > 0:
        length = most
    reachable = running.scores[:, :1] / np.float32(length**how.length_penalty)
    worst = np.where(done.done, done.scores.min(axis=1, keepdims=True), NEVER)
    found: NDArray[np.bool_] = np.any(reachable > worst, axis=1, keepdims=True)
    return found


def _greatest(values: Floats, count: int) -> NDArray[np.int64]:
    """Places of the greatest values of each row, falling: (rows, count)."""
    if count < values.shape[1]:
        some = np.sort(np.argpartition(values, values.shape[1] - count, axis=1)[:, -count:], axis=1)
    else:
        some = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.argsort(-np.take_along_axis(values, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
