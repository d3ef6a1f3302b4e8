"""Unlabelled variants of training texts, for a teacher to label: words dropped, replaced, spliced or exchanged.

More text for the student to hear its teacher on; as in TinyBERT's task distillation (Jiao et al. 2019,
arXiv:1909.10351) variants only need to lie near the data, since the teacher and not a label says what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pocketlm.augment.exchange import Exchange
from pocketlm.augment.method import Made, Material, Neighbours
from pocketlm.augment.rows import Word, text_of, words_of
from pocketlm.outputs import Example
from pocketlm.runtime.inputs import Text
from pocketlm.runtime.question import Question


@dataclass(frozen=True)
class Splice:
    """Words dropped, words replaced by any others, or the text's beginning spliced to another's end.

    What comes out has no label: only a teacher can say what it is. drop, replace: shares of the words.
    """

    drop: float = 0.2
    replace: float = 0.2

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row without labels, or none where no word is left."""
        words, pool = words_of(example), material.pool
        way = random.integers(3)
        if way == 0:
            kept = random.random(len(words)) >= self.drop
            new = [word for word, stays in zip(words, kept, strict=True) if stays]
        elif way == 1:
            swaps = random.random(len(words)) < self.replace
            others = random.integers(len(pool), size=len(words))
            new = [pool[at] if swap else word for word, swap, at in zip(words, swaps, others, strict=True)]
        else:
            other = material.words[random.integers(len(material.words))]
            new = words[: random.integers(len(words) + 1)] + other[random.integers(len(other) + 1) :]
        note = ("words left out", "words replaced", "spliced to another text")[way]
        return [Made(_bare(example, new), note)] if new else []


def variants(texts: Sequence[Text], rounds: int, seed: int, neighbours: Neighbours | None = None) -> list[Text]:
    """`rounds` variants of each text, of the same kind (a text, a tuple of tokens, a question), none empty or known.

    neighbours: words of like meaning for lower-case words; where there are any, two of three rounds exchange
    words for them. Of a question its own words vary and its context stays.
    """
    random = np.random.default_rng((seed, 0x7A12))
    material = Material(tuple(_example(text) for text in texts), near=neighbours or {})
    known = {_key(example) for example in material.train}
    made: list[Text] = []
    for place in range(rounds):
        method = Exchange() if neighbours and place % 3 != 2 else Splice()
        for text, example in zip(texts, material.train, strict=True):
            for new, _ in method(example, random, material):
                if _key(new) not in known:
                    known.add(_key(new))
                    made.append(_like(text, new))
    return made


def _example(text: Text) -> Example:
    if isinstance(text, Question):
        return Example(text.text, pair=text.context)
    return Example(text) if isinstance(text, str) else Example(" ".join(text), tokens=tuple(text))


def _key(example: Example) -> tuple[str, ...]:
    return (example.pair, *(word.text for word in words_of(example)))


def _bare(example: Example, words: Sequence[Word]) -> Example:
    """The words alone, with what they are about."""
    tokens = tuple(word.text for word in words) if example.tokens else ()
    return Example(text_of(words), tokens=tokens, pair=example.pair)


def _like(text: Text, new: Example) -> Text:
    """The new text, of the same kind."""
    if isinstance(text, Question):
        return replace(text, text=new.text)
    return new.text if isinstance(text, str) else new.tokens
