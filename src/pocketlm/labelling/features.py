"""What is known of texts before any label: hashed n-grams, and a few dimensions in which texts alike are near.

N-grams are weighted by rarity and folded with signs into a few thousand columns, which keeps their cosines to about
1/√WIDTH (Weinberger et al. 2009, arXiv:0902.2206), so that everything here is a product of small dense matrices. The
few dimensions are those of an encoder where there is one, and else the n-grams' own leading ones (latent semantic
analysis, Deerwester et al. 1990, by a randomized range finder, Halko et al. 2011, arXiv:0909.4061).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.ngrams import Bags, Ngrams, ngram_words, text_bags

Floats = NDArray[np.float32]

NGRAMS = Ngrams(buckets=2**18)
WIDTH = 4096
# Words read of a long text.
MOST_WORDS = 256
# Dimensions made of n-grams, and texts that they are found on.
DIMENSIONS, FOUND_ON = 128, 4_000
_AT_ONCE = 256


@dataclass(frozen=True)
class Features:
    """Of n texts, in rows of unit length. ngrams: (n, WIDTH). dense: (n, dimensions)."""

    ngrams: Floats
    dense: Floats

    def __len__(self) -> int:
        return len(self.dense)

    @property
    def both(self) -> Floats:
        """Side by side, as the learner reads them: (n, columns)."""
        return np.concatenate((self.ngrams, self.dense), axis=1)


def features(texts: Sequence[str], vectors: Floats | None = None, *, seed: int = 0) -> Features:
    """Features of the texts. vectors: (texts, dimensions) of an encoder, in place of dimensions made of n-grams."""
    ngrams = hashed_ngrams(texts)
    dense = _leading(ngrams, np.random.default_rng(seed)) if vectors is None else vectors - vectors.mean(axis=0)
    return Features(ngrams, unit_rows(dense))


def hashed_ngrams(texts: Sequence[str]) -> Floats:
    """The n-grams that at least two texts have, weighted by rarity: (texts, WIDTH), rows of unit length."""
    parts = [_bags(texts[begin : begin + _AT_ONCE]) for begin in range(0, len(texts), _AT_ONCE)]
    spread = np.sum([np.bincount(part.ids, minlength=NGRAMS.buckets) for part in parts], axis=0)
    rarity = np.where(spread > 1, np.log((1 + len(texts)) / (1 + spread)) + 1, 0)
    random = np.random.default_rng(0x5160)  # one way of folding, whatever the seed: the same text, the same columns
    column, sign = random.integers(WIDTH, size=NGRAMS.buckets), random.choice([-1.0, 1.0], NGRAMS.buckets)
    folded = []
    for part in parts:
        owners = np.repeat(np.arange(len(part)), np.diff(part.offsets))
        weights = part.weights * rarity[part.ids] * sign[part.ids]
        flat: NDArray[Any] = np.bincount(owners * WIDTH + column[part.ids], weights, len(part) * WIDTH)
        folded.append(unit_rows(flat.reshape(len(part), WIDTH)))
    return np.concatenate(folded)


def _bags(texts: Sequence[str]) -> Bags:
    return text_bags([ngram_words(text)[:MOST_WORDS] for text in texts], NGRAMS)


def _leading(rows: Floats, random: np.random.Generator) -> Floats:
    """The leading dimensions of centred rows, found on some of them: (rows, at most DIMENSIONS)."""
    centre = rows.mean(axis=0)
    some = rows[random.permutation(len(rows))[:FOUND_ON]] - centre
    width = max(1, min(DIMENSIONS, len(some) - 1))
    drawn = random.standard_normal((WIDTH, width + 10)).astype(np.float32)
    for _ in range(2):
        basis, _ = np.linalg.qr(some @ drawn)
        drawn = some.T @ basis
    directions, _, _ = np.linalg.svd(drawn, full_matrices=False)
    leading: Floats = rows @ directions[:, :width] - centre @ directions[:, :width]
    return leading


def unit_rows(rows: NDArray[Any]) -> Floats:
    """Each row at length 1; one of zeros as it is."""
    unit: Floats = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return unit
