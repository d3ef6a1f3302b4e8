"""Texts to vectors as peers make them, in classes that a process of its own can unpickle and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from peers import OnnxText


class OnnxEncode(OnnxText):
    """One text's vector."""

    def __call__(self, text: str) -> np.ndarray:
        return self.first(text)


class Model2VecEncode:
    """One text through a static model."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, text: str) -> np.ndarray:
        return self.model.encode([text])[0]


class TfidfEncode:
    """One text through a fitted vectorizer."""

    def __init__(self, union: Any) -> None:
        self.union = union

    def __call__(self, text: str) -> np.ndarray:
        return self.union.transform([text])

    def many(self, texts: Sequence[str]) -> np.ndarray:
        """Dense vectors with the products of the sparse ones, one dimension a text."""
        rows = self.union.transform(texts)
        values, vectors = np.linalg.eigh((rows @ rows.T).toarray())
        return vectors * np.sqrt(np.maximum(values, 0))
