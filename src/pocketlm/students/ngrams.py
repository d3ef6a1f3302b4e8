"""Build a student on hashed word and character n-grams.

Weinberger et al. 2009, arXiv:0902.2206 (feature hashing); Joulin et al. 2016, arXiv:1607.01759 (a low-rank
linear model on n-gram bags). Only buckets that training texts fill get a row; the rest cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from pocketlm.knobs import Choice, Whole, knob
from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel, TaskSpec
from pocketlm.runtime.inputs import BagInputs
from pocketlm.runtime.ngrams import Ngrams
from pocketlm.train.context import FitContext


@dataclass(frozen=True)
class HashedNgrams:
    """A bag of hashed n-grams with a low-rank head.

    buckets: a power of two. width: rank of the head; 0 is one column a label, and no head but the identity (a linear
    model, for `solve`). hidden: norm and GELU before the head. rows: at most so many buckets, the ones in most texts.
    min_texts: a bucket in fewer training texts gets no row. dropout: share of features left out in training.
    max_words: words read of a long text.
    """

    name: ClassVar[str] = "hashed-ngrams"
    buckets: int = knob(2**18, Choice((2**16, 2**18, 2**20)))
    width: int = knob(64, Whole(16, 160, 16), decisive=True)
    hidden: bool = knob(True, Choice((True, False)))
    rows: int = 60_000
    min_texts: int = 2
    char_min: int = 2
    char_max: int = knob(5, Whole(3, 6))
    word_max: int = knob(2, Whole(1, 3))
    window: int = 2
    dropout: float = 0.1
    max_words: int = knob(512, Choice((48, 96, 192, 320, 512)), decisive=True)

    def __post_init__(self) -> None:
        if self.width < 0 or self.rows < 1:
            raise ValueError(f"width is at least 0 and rows at least 1, got {self.width} and {self.rows}")
        if not self.width and self.hidden:
            raise ValueError("width 0 is a linear model: it goes with hidden=False")
        if not 0 <= self.dropout < 1 or self.min_texts < 1:
            raise ValueError("dropout is from 0 to below 1, and min_texts at least 1")
        self.ngrams()

    def ngrams(self) -> Ngrams:
        """The features' own settings."""
        return Ngrams(self.buckets, self.char_min, self.char_max, self.word_max)

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """A fresh student; what came before is not used."""
        torch.manual_seed(context.seed)
        inputs = BagInputs(self.ngrams(), context.tagging, self.max_words)
        texts, words = _spread(inputs, context)
        seen = texts + words
        order = np.lexsort((np.arange(self.buckets), -seen))[: self.rows]
        kept = np.sort(order[seen[order] >= min(self.min_texts, seen.max())])
        lookup = np.full(self.buckets, -1, np.int32)
        lookup[kept] = np.arange(len(kept), dtype=np.int32)
        inputs.lookup = lookup
        module = BagModule(
            context.outputs, len(kept), self.width or sum(output.size for output in context.outputs),
            hidden=self.hidden, window=self.window if context.tagging else 0, dropout=self.dropout,
        )  # fmt: skip
        rarity = np.log((1 + len(context.lesson)) / (1 + np.maximum(seen[kept], 1))) + 1
        weight = seen[kept] / seen[kept].sum()
        module.importance.copy_(torch.from_numpy(rarity / (rarity * weight).sum()))
        return TaskModel(module, inputs, TaskSpec("bag", context.outputs))


def _spread(inputs: BagInputs, context: FitContext) -> tuple[np.ndarray, np.ndarray]:
    """In how many training texts (as text features) and words (as word features) each bucket occurs."""
    encoded = inputs.encode(context.lesson.texts)
    size = inputs.ngrams.buckets
    texts = np.bincount(np.concatenate([one.arrays[0] for one in encoded]), minlength=size)
    words = np.zeros(size, np.int64)
    if inputs.tagging:
        own = [np.unique(one.arrays[2]) for one in encoded]
        words = np.bincount(np.concatenate(own), minlength=size)
        words = np.maximum(words - texts, 0)
    return texts, words
