"""Texts to vectors as peers make them, in classes that a process of its own can unpickle and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class OnnxEncode:
    """One text at a time through a graph on one thread; the session is made in the process that uses it."""

    def __init__(self, graph: Path, tokenizer: str) -> None:
        self.graph, self.tokenizer, self.session = str(graph), tokenizer, None

    def __call__(self, text: str) -> np.ndarray:
        if self.session is None:
            import onnxruntime
            from tokenizers import Tokenizer

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(self.graph, options)
            self.read = Tokenizer.from_str(self.tokenizer)
            self.read.no_padding()
            self.read.enable_truncation(64)
        ids = np.array([self.read.encode(text).ids], np.int64)
        return self.session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]


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
