"""Punctuation put between words (Karimi et al. 2021, arXiv:2108.13230): no word is changed and none is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketlm.augment.graphemes import main_script
from pocketlm.augment.method import Made, Material
from pocketlm.augment.rows import Word, reworded, words_of
from pocketlm.outputs import Example

# The paper's six marks, and what stands for them in scripts that have their own.
MARKS = ".;?:!,"
OWN_MARKS = {
    "ARABIC": ".؛؟:!،", "ETHIOPIC": "።፤?፡!፣", "DEVANAGARI": "।;?:!,", "BENGALI": "।;?:!,", "CJK": "。；？：！，",
    "HIRAGANA": "。；？：！、", "KATAKANA": "。；？：！、", "ARMENIAN": "։;?:!,", "GREEK": ".·;:!,",
}  # fmt: skip


@dataclass(frozen=True)
class Aeda:
    """Between one mark and `share` of the words in marks, at places drawn, none of them inside a span.

    The marks are those of the text's script.
    """

    name: ClassVar[str] = "aeda"
    certain: ClassVar[bool] = True
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    share: float = 1 / 3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is in (0, 1], got {self.share}")

    def refuses(self, material: Material) -> str:
        """Rows whose every word has a plain tag: a mark's own is not known."""
        return "the tags of the marks are not known" if material.tagged and material.scheme is None else ""

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where there is no place for a mark."""
        words = words_of(example)
        # a mark before a word that goes on with a span would cut it in two
        places = [place for place, word in enumerate(words) if place and not word.tag.startswith(("I-", "E-"))]
        if not places:
            return []
        count = min(len(places), int(random.integers(1, max(1, int(len(words) * self.share)) + 1)))
        chosen = sorted(random.choice(places, count, replace=False).tolist(), reverse=True)
        marks = OWN_MARKS.get(main_script(example.text), MARKS)
        drawn = [marks[one] for one in random.integers(len(marks), size=count)]
        tag = "O" if example.tags else ""
        for place, mark in zip(chosen, drawn, strict=True):
            words[place - 1] = words[place - 1]._replace(after=" ")
            words.insert(place, Word(mark, tag))
        put = " ".join(mark * times for mark, times in Counter(drawn).items())
        return [Made(reworded(example, words), f"put {put} between words")]
