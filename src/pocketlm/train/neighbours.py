"""Words of like meaning, as a pretrained encoder sees them: nearest by the cosine of their pooled states."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pocketlm.model.encoder import Pretrained
from pocketlm.model.vocabulary import whole_words
from pocketlm.runtime.ngrams import ngram_words
from pocketlm.train.frozen import frozen_vectors

# Whole words of the vocabulary that may be neighbours; vocabularies begin with the frequent ones.
MOST_CANDIDATES = 30_000
NEAREST = 10
LONGEST = 16


def is_word(word: str) -> bool:
    """Whether `word` is one lower-case word of at least two letters, without digits."""
    return len(word) > 1 and word[0].isalpha() and ngram_words(word) == [word] and not any(map(str.isdigit, word))


def neighbours(pretrained: Pretrained, words: Iterable[str]) -> dict[str, list[str]]:
    """For each of `words` (lower case) the NEAREST words among them and the encoder's vocabulary, nearest first."""
    own = sorted({word for word in words if is_word(word)})
    known = dict.fromkeys(own)
    others = [word for word in whole_words(pretrained.tokenizer_json) if is_word(word) and word not in known]
    candidates = [*own, *others[:MOST_CANDIDATES]]
    if len(candidates) <= NEAREST:
        return {}
    vectors = frozen_vectors(pretrained, candidates, LONGEST)
    found: dict[str, list[str]] = {}
    for begin in range(0, len(own), 1024):
        near = vectors[begin : begin + 1024][: len(own) - begin] @ vectors.T
        for row, scores in enumerate(near):
            scores[begin + row] = -np.inf
            places = np.argpartition(-scores, NEAREST)[:NEAREST]
            found[own[begin + row]] = [candidates[place] for place in places[np.argsort(-scores[places])]]
    return found
