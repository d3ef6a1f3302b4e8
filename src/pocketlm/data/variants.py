"""Unlabelled variants of training texts, for a teacher to label: words dropped, replaced, spliced or exchanged.

More text for the student to hear its teacher on; as in TinyBERT's task distillation (Jiao et al. 2019,
arXiv:1909.10351) variants only need to lie near the data, since the teacher and not a label says what they are.
Words of like meaning also bring words that no training text has: the student learns of them from the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pocketlm.runtime.inputs import Text
from pocketlm.runtime.ngrams import ngram_words
from pocketlm.runtime.question import Question

DROP = 0.2
REPLACE = 0.2
EXCHANGE = 0.3

Neighbours = Mapping[str, Sequence[str]]


def variants(texts: Sequence[Text], rounds: int, seed: int, neighbours: Neighbours | None = None) -> list[Text]:
    """`rounds` variants of each text, of the same kind (a text, a tuple of tokens, a question), none empty or known.

    neighbours: words of like meaning for lower-case words; where there are any, two of three rounds exchange
    words for them. Of a question its own words vary and its context stays.
    """
    random = np.random.default_rng((seed, 0x7A12))
    split = [_words(text) for text in texts]
    pool = [word for words in split for word in words]
    known = {(tuple(words), _context(text)) for words, text in zip(split, texts, strict=True)}
    made: list[Text] = []
    for place in range(rounds):
        for text, words in zip(texts, split, strict=True):
            if neighbours and place % 3 != 2:
                new = tuple(_exchange(words, neighbours, random))
            else:
                new = tuple(_vary(words, split, pool, random))
            if new and (new, _context(text)) not in known:
                known.add((new, _context(text)))
                made.append(_like(text, new))
    return made


def _words(text: Text) -> list[str]:
    if isinstance(text, Question):
        return text.text.split()
    return text.split() if isinstance(text, str) else list(text)


def _context(text: Text) -> str:
    return text.context if isinstance(text, Question) else ""


def _like(text: Text, words: tuple[str, ...]) -> Text:
    """A text of these words, of the same kind."""
    if isinstance(text, Question):
        return replace(text, text=" ".join(words))
    return " ".join(words) if isinstance(text, str) else words


def _vary(words: list[str], split: list[list[str]], pool: list[str], random: np.random.Generator) -> list[str]:
    way = random.integers(3)
    if way == 0:
        return [word for word, kept in zip(words, random.random(len(words)) >= DROP, strict=True) if kept]
    if way == 1:
        replaced = random.random(len(words)) < REPLACE
        others = random.integers(len(pool), size=len(words))
        return [pool[other] if swap else word for word, swap, other in zip(words, replaced, others, strict=True)]
    other = split[random.integers(len(split))]
    return words[: random.integers(len(words) + 1)] + other[random.integers(len(other) + 1) :]


def _exchange(words: list[str], neighbours: Neighbours, random: np.random.Generator) -> list[str]:
    """Some words, without the punctuation at their edges, exchanged for words of like meaning."""
    new = []
    for word, chosen in zip(words, random.random(len(words)) < EXCHANGE, strict=True):
        parts = ngram_words(word) if chosen else []
        others = [neighbours.get(part, ()) for part in parts]
        if any(others):
            word = "".join(
                near[int(random.integers(len(near)))] if near else part
                for part, near in zip(parts, others, strict=True)
            )
        new.append(word)
    return new
