"""Words exchanged for words of like meaning, as in TinyBERT's task distillation (Jiao et al. 2019, arXiv:1909.10351).

Such words may be ones that no training text has: a student learns of them from the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketlm.augment.method import Made, Material, Neighbours
from pocketlm.augment.rows import free, reworded, words_of
from pocketlm.outputs import Example
from pocketlm.runtime.ngrams import ngram_words


@dataclass(frozen=True)
class Exchange:
    """Each word becomes one of like meaning with probability `share`; punctuation at its edges stays."""

    name: ClassVar[str] = "exchange"
    certain: ClassVar[bool] = False
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    share: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is in (0, 1], got {self.share}")

    def refuses(self, material: Material) -> str:
        """Rows without words that have neighbours, or whose every word is a label."""
        if material.tagged and material.scheme is None:
            return "another word may have another tag"
        return "" if material.neighbours else "no word is used often enough to have neighbours"

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where no word was exchanged."""
        words = words_of(example)
        chosen = random.random(len(words)) < self.share
        allowed = set(free(words, material.scheme is not None))
        said = []
        for place, word in enumerate(words):
            new = exchanged(word.text, material.neighbours, random) if chosen[place] and place in allowed else word.text
            if new != word.text:
                words[place] = word._replace(text=new)
                said.append(f"{word.text!r} became {new!r}")
        return [Made(reworded(example, words), ", ".join(said))] if said else []


def exchanged(word: str, neighbours: Neighbours, random: np.random.Generator) -> str:
    """The word, without the punctuation at its edges, exchanged for one of like meaning where there is any."""
    parts = ngram_words(word)
    others = [neighbours.get(part, ()) for part in parts]
    if not any(others):
        return word
    return "".join(
        near[int(random.integers(len(near)))] if near else part for part, near in zip(parts, others, strict=True)
    )
