"""How many rows of hashed n-grams the texts of a job fill: more bytes than these take hold nothing more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.inputs import Text, plain_text
from pocketlm.runtime.ngrams import Ngrams, ngram_words, text_bags

# n-grams of one length are told apart by so many buckets. Of more words in all none are counted: that takes long, and
# they fill any table.
APART, MOST_WORDS = 2**22, 1_000_000


class GramCounts:
    """Distinct n-grams of some texts, counted by length when they are first asked for, since settings share lengths."""

    def __init__(self, texts: Sequence[Text], *, tagging: bool) -> None:
        self._texts, self._tagging = texts, tagging
        self._spread = cache(self._spread_of)

    @cached_property
    def _words(self) -> list[list[str]]:
        """Of each text; none where they are too many."""
        words, count = [], 0
        for text in self._texts:
            words.append(ngram_words(plain_text(text)))
            count += len(words[-1])
            if count > MOST_WORDS:
                return []
        return words if count else []

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._words))

    def rows(self, ngrams: Ngrams, max_words: int, min_texts: int) -> int | None:
        """Buckets that are filled by at least so many texts, which read so many words; None of too many words."""
        if not self._words:
            return None
        most = min(max_words, self._longest)
        kinds = [(size, 0) for size in range(ngrams.char_min, ngrams.char_max + 1)]
        kinds += [(0, order) for order in range(1, ngrams.word_max + 1)]
        kinds += [(0, 1)] if self._tagging else []  # of a word its shape, too
        distinct = sum(int(self._spread(*kind, most)[max(1, min_texts) :].sum()) for kind in kinds)
        return max(1, round(-ngrams.buckets * math.expm1(-distinct / ngrams.buckets)))

    def _spread_of(self, size: int, order: int, most: int) -> NDArray[np.int64]:
        """How many n-grams are in 0, 1, 2 … texts: of `size` characters, or of `order` words where size is 0."""
        read = [words[:most] for words in self._words]
        if order > 1:
            read = [[" ".join(words[at : at + order]) for at in range(len(words) - order + 1)] for words in read]
        if size:
            return np.bincount(np.bincount(text_bags(read, Ngrams(APART, size, size, 0)).ids))
        numbers: dict[str, int] = {}
        ids = [numbers.setdefault(one, len(numbers)) for words in read for one in set(words)]
        return np.bincount(np.bincount(np.array(ids, np.int64)))
