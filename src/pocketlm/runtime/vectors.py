"""Texts as vectors, and how alike they are: cosines, for any two texts that the same Pocket has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Digits of a vector's numbers as people and programs get them: cosines are then right to some 1e-4.
DIGITS = 5


def unit(vectors: Floats) -> Floats:
    """The same directions with length 1; zeros stay zeros. vectors: (…, width)."""
    length = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    out: Floats = vectors / np.maximum(length, np.float32(1e-12))
    return out


def cosine(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Cosine of each pair of rows, in [-1, 1]; 0 where one is zero. first, second: (…, width), floats or int8."""
    own, other = unit(first.astype(np.float32)), unit(second.astype(np.float32))
    out: Floats = np.clip((own * other).sum(axis=-1), -1, 1)
    return out


def to_int8(vectors: Floats) -> NDArray[np.int8]:
    """The vectors with a byte a dimension: each scaled by itself to ±127, which leaves its cosines as they were."""
    peak = np.maximum(np.abs(vectors).max(axis=-1, keepdims=True), 1e-12)
    out: NDArray[np.int8] = np.rint(vectors / peak * 127).astype(np.int8)
    return out


def correlation(first: Floats, second: Floats, most: int = 500) -> float:
    """How alike two models see texts: correlation of the cosines of every two texts, at least 0.

    first, second: (texts, any width), at most so many of them, spread over the whole, are compared.
    """
    some = np.linspace(0, len(first) - 1, min(len(first), most)).astype(int)
    if len(some) < 3:
        return 0.0
    places = np.triu_indices(len(some), 1)
    own, other = ((units @ units.T)[places] for units in (unit(first[some]), unit(second[some])))
    if min(own.std(), other.std()) < 1e-6:
        return 0.0
    return max(0.0, float(np.corrcoef(own, other)[0, 1]))


def vectors_of(predictions: Sequence[Mapping[str, Any]]) -> Floats:
    """The vectors of predictions: (texts, width)."""
    return np.array([one["vector"] for one in predictions], np.float32)
