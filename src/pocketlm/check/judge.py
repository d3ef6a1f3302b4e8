"""A linear model of hashed n-grams that judges every row without having seen it, in closed form.

Ridge regression onto the classes: with X = USV' and Y less their means, the model of all other rows is wrong about a
row by (Y - HY) / (1 - h - 1/n), where H = U S²/(S² + λ) U' and h is its diagonal (Rifkin and Lippert 2007,
MIT-CSAIL-TR-2007-025, with the mean as one more column that no ridge shrinks). So other labels of the same rows, such
as some changed on purpose, cost one matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.ngrams import Bags, Ngrams, ngram_words, text_bags

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Words read of a row; rows judged together at most.
MOST_WORDS, MOST_ROWS = 200, 12_000
# Columns of X where rows are fewer than WIDE, and where they are more: the work grows with rows · columns².
COLUMNS, WIDE = 1_024, 1_500
COLUMNS_OF_FEW = 8_192
_BUCKETS = 2**16
# Ridges tried, as shares of the mean squared singular value.
_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0)
_SHARPNESS = np.geomspace(1, 64, 13)


@dataclass(frozen=True)
class Judge:
    """Rows, ready to be judged by any labels of theirs. left: U, (rows, rank). power: S² as shares of its mean."""

    left: Floats
    power: Floats

    def chances(self, labels: Ints, count: int) -> Floats:
        """The share of each class in what the model of all other rows says of each: (rows, count).

        labels: (rows,) of numbers below `count`. The ridge, and how sharp the shares are, are those under which the
        labels are the likeliest.
        """
        rows = np.arange(len(labels))
        found, least = np.full((len(labels), count), 1 / count, np.float32), np.inf
        for ridge in _RIDGES:
            scores = self._held_out(labels, count, ridge)
            for sharpness in _SHARPNESS:
                shares = _softmax(scores * np.float32(sharpness))
                loss = -float(np.log(np.maximum(shares[rows, labels], 1e-12)).mean())
                if loss < least:
                    found, least = shares, loss
        return found

    def _held_out(self, labels: Ints, count: int, ridge: float) -> Floats:
        """Scores of each class by the model of all other rows: (rows, count)."""
        targets = np.zeros((len(labels), count), np.float32)
        targets[np.arange(len(labels)), labels] = 1
        means = targets.mean(0)
        targets -= means
        shrunk = self.power / (self.power + np.float32(ridge))
        own = np.square(self.left) @ shrunk
        fitted = self.left @ (shrunk[:, None] * (self.left.T @ targets))
        # the mean is fitted too, and takes 1/n of each row's own label into account
        left = np.maximum(1 - own - 1 / len(labels), 1e-4)
        held: Floats = means + targets - (targets - fitted) / left[:, None]
        return held


def _softmax(scores: Floats) -> Floats:
    shares: Floats = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return shares


def judge_of(texts: Sequence[str]) -> Judge:
    """The judge of texts by their words and character n-grams, case apart."""
    return _decomposed(_matrix(text_bags([ngram_words(text)[:MOST_WORDS] for text in texts], Ngrams(_BUCKETS))))


def judge_of_forms(texts: Sequence[str]) -> Judge:
    """The judge of texts by how they are written alone: case, digits, marks and signs, whatever the words."""
    shapes = [[form_of(word) for word in text.split()[:MOST_WORDS]] for text in texts]
    return _decomposed(_matrix(text_bags(shapes, Ngrams(2**12, 1, 3, 1))))


def form_of(word: str) -> str:
    """What the word looks like: a for small letters, A for capital ones, c where there is no case, 0, and signs."""
    kinds = ("A" if one.isupper() else "a" if one.islower() else "c" if one.isalpha() else "0" if one.isdecimal()
             else one for one in word)  # fmt: skip
    out = ""
    for kind in kinds:
        out += kind if kind != out[-1:] else ""
    return out


def _matrix(bags: Bags) -> Floats:
    """Rows of weights by inverse document frequency, of unit length: (rows, columns).

    The heaviest buckets have columns of their own, the others share the second half of the columns, by sign.
    """
    rows = len(bags)
    columns = COLUMNS_OF_FEW if rows <= WIDE else COLUMNS
    owners = np.repeat(np.arange(rows), np.diff(bags.offsets))
    seen = np.bincount(bags.ids, minlength=_BUCKETS)
    rarity = np.log((1 + rows) / (1 + seen)) + 1
    weights = bags.weights * rarity[bags.ids]
    heavy = np.argsort(-np.bincount(bags.ids, weights**2, minlength=_BUCKETS), kind="stable")[: columns // 2]
    place = columns // 2 + (np.arange(_BUCKETS) * 0x9E3779B1 >> 7) % (columns // 2)
    place[heavy] = np.arange(len(heavy))
    sign = np.where(np.arange(_BUCKETS) * 0x85EBCA6B >> 9 & 1, 1.0, -1.0)
    flat = np.bincount(owners * columns + place[bags.ids], weights * sign[bags.ids], minlength=rows * columns)
    matrix: Floats = flat.reshape(rows, columns).astype(np.float32)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return matrix


def _decomposed(matrix: Floats) -> Judge:
    """U and S² of the matrix without its columns' means, by the smaller of its two Gram matrices."""
    matrix = matrix - matrix.mean(0)
    wide = matrix.shape[0] <= matrix.shape[1]
    power, vectors = np.linalg.eigh(matrix @ matrix.T if wide else matrix.T @ matrix)
    kept = power > 1e-5 * power[-1]
    power, vectors = power[kept], vectors[:, kept]
    left = vectors if wide else (matrix @ vectors) / np.sqrt(power)
    return Judge(left.astype(np.float32), (power / max(float(power.mean()), 1e-12)).astype(np.float32))
