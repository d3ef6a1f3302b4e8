"""Copies without marks that are optional in writing, wholly and partly: people type both.

A model of words and character n-grams takes a word without its tones for another one. Which marks these are, by script
and by language, `augment.marks` says with its sources; a mark that makes another letter is never removed.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from pocketlm.augment.graphemes import graphemes, main_script, script_of
from pocketlm.augment.marks import BY_LANGUAGE, Optional, optional_marks, short_code
from pocketlm.augment.method import Made, Material
from pocketlm.augment.rows import Word, reworded, words_of
from pocketlm.outputs import Example


@dataclass(frozen=True)
class Orthography:
    """A row without any optional mark, and one without a share of them.

    typed: also leave out marks that are part of letters but that people leave out where keyboards lack them, such as
    the dots of Yoruba's ẹ, ọ and ṣ.
    """

    name: ClassVar[str] = "orthography"
    certain: ClassVar[bool] = True
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    share: float = 0.5
    typed: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is in (0, 1), got {self.share}")

    def refuses(self, material: Material) -> str:
        """Rows in a language none of whose marks are known to be optional."""
        script = main_script(" ".join(material.texts[:200]))
        if optional_marks(material.language, script, typed=self.typed):
            return ""
        if not material.language:
            return "what is optional depends on the language; name it with --language"
        known = ", ".join(sorted(BY_LANGUAGE))
        return f"no mark is known to be optional in {short_code(material.language)!r} (of such languages: {known})"

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """Up to two rows; none where the row has no optional mark."""
        words = words_of(example)
        made: list[tuple[list[Word], str]] = []
        for share, note in ((1.0, "all"), (self.share, "some")):
            new = [word._replace(text=self._without(word.text, share, random, material.language)) for word in words]
            if new != words and (not made or new != made[0][0]):
                made.append((new, note))
        return [Made(reworded(example, new), f"{note} optional marks left out") for new, note in made]

    def _without(self, word: str, share: float, random: np.random.Generator, language: str) -> str:
        if word.isascii():
            return word
        return "".join(_bare(one, share, random, language, self.typed) for one in graphemes(word))


def _bare(cluster: str, share: float, random: np.random.Generator, language: str, typed: bool) -> str:
    """The cluster without each of its optional marks with probability `share`; composed where it was."""
    plain = unicodedata.normalize("NFD", cluster)
    optional = _optional(language, script_of(plain), typed)
    removable = [
        place
        for place, char in enumerate(plain)
        if place and any(char in one.marks and (not one.bases or plain[0] in one.bases) for one in optional)
    ]
    gone = {place for place in removable if share >= 1 or random.random() < share}
    if not gone:
        return cluster
    left = "".join(char for place, char in enumerate(plain) if place not in gone)
    return unicodedata.normalize("NFC", left) if unicodedata.is_normalized("NFC", cluster) else left


@lru_cache(maxsize=256)
def _optional(language: str, script: str, typed: bool) -> tuple[Optional, ...]:
    return optional_marks(language, script, typed=typed)
