"""Words that stand in like places, from nothing but the rows: the nearest by their contexts.

Positive pointwise mutual information of a word and those within two places of it (Bullinaria and Levy 2007,
doi:10.3758/BF03193020), compared by cosine. Rough on little text: whoever uses it has new rows judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.ngrams import ngram_words

# Words looked at, the most frequent ones, and how many of these count as contexts.
MOST_WORDS, MOST_CONTEXTS = 2_000, 500
WINDOW = 2
NEAREST = 5
LEAST_TIMES = 3
LEAST_COSINE = 0.35


def own_neighbours(texts: Sequence[str]) -> dict[str, list[str]]:
    """{word: at most NEAREST words used like it, nearest first}, lower case, for words that occur often enough."""
    rows = [ngram_words(text) for text in texts]
    counts = Counter(word for row in rows for word in row)
    known = [word for word, times in counts.most_common(MOST_WORDS) if times >= LEAST_TIMES and word.isalpha()]
    if len(known) < 2:
        return {}
    vectors = _contexts(rows, {word: place for place, word in enumerate(known)})
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, 0)
    found = {}
    for place, word in enumerate(known):
        nearest = np.argsort(-likeness[place], kind="stable")[:NEAREST]
        near = [known[one] for one in nearest if likeness[place, one] >= LEAST_COSINE]
        if near:
            found[word] = near
    return found


def _contexts(rows: Sequence[Sequence[str]], places: dict[str, int]) -> NDArray[np.float32]:
    """(words, contexts): how much more often than by chance each stands near each, of unit length."""
    table = np.zeros((len(places), min(MOST_CONTEXTS, len(places))), np.float32)
    for row in rows:
        own = [places.get(word, -1) for word in row]
        for at, word in enumerate(own):
            for other in own[max(0, at - WINDOW) : at] + own[at + 1 : at + 1 + WINDOW]:
                if word >= 0 and 0 <= other < table.shape[1]:
                    table[word, other] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / max(1.0, float(table.sum()))
    ratio = np.divide(table, expected, out=np.ones_like(table), where=(table > 0) & (expected > 0))
    gain = np.maximum(np.log(np.where(table > 0, ratio, 1)), 0)
    unit: NDArray[np.float32] = gain / np.maximum(np.linalg.norm(gain, axis=1, keepdims=True), 1e-9)
    return unit
