"""Easy data augmentation: words exchanged, put in, swapped or left out (Wei and Zou 2019, arXiv:1901.11196).

The paper's synonyms come from WordNet; here they are a teacher's nearest words, or words used alike in the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketlm.augment.exchange import exchanged
from pocketlm.augment.method import Made, Material
from pocketlm.augment.rows import Word, free, reworded, words_of
from pocketlm.outputs import Example

Edit = tuple[list[Word], str]


@dataclass(frozen=True)
class Eda:
    """One of the paper's four operations on a share of the words; words inside spans are left alone."""

    name: ClassVar[str] = "eda"
    certain: ClassVar[bool] = False
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is in (0, 1), got {self.share}")

    def refuses(self, material: Material) -> str:
        """Rows whose every word is a label: what a word is depends on those beside it."""
        return "its edits may change the tags" if material.tagged and material.scheme is None else ""

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where the operation drawn has no words to work on."""
        words = words_of(example)
        places = free(words, material.scheme is not None)
        if not places:
            return []
        count = max(1, round(self.share * len(places)))
        way = (_exchange, _insert, _swap, _drop)[random.integers(4)]
        new, note = way(words, places, count, random, material)
        return [Made(reworded(example, new), note)] if note else []


def _drawn(places: Sequence[int], count: int, random: np.random.Generator) -> list[int]:
    return sorted(random.choice(places, min(count, len(places)), replace=False).tolist())


def _exchange(
    words: list[Word], places: Sequence[int], count: int, random: np.random.Generator, material: Material
) -> Edit:
    new = list(words)
    for place in _drawn(places, count, random):
        new[place] = words[place]._replace(text=exchanged(words[place].text, material.neighbours, random))
    said = [f"{old.text!r} became {one.text!r}" for old, one in zip(words, new, strict=True) if old != one]
    return new, ", ".join(said)


def _insert(
    words: list[Word], places: Sequence[int], count: int, random: np.random.Generator, material: Material
) -> Edit:
    """Neighbours of words of the row, each put before a word that is in no span."""
    new, said = list(words), []
    for place in reversed(_drawn(places, count, random)):
        source = words[int(random.choice(places))]
        other = exchanged(source.text, material.neighbours, random)
        if other != source.text:
            new.insert(place, Word(other, words[place].tag, source.after or " "))
            said.append(f"put {other!r} before {words[place].text!r}")
    return new, ", ".join(reversed(said))


def _swap(words: list[Word], places: Sequence[int], count: int, random: np.random.Generator, _: Material) -> Edit:
    new, said = list(words), []
    for _time in range(count if len(places) > 1 else 0):
        one, other = _drawn(places, 2, random)
        if new[one].text != new[other].text:
            said.append(f"swapped {new[one].text!r} and {new[other].text!r}")
            new[one], new[other] = new[one]._replace(text=new[other].text), new[other]._replace(text=new[one].text)
    return new, ", ".join(said)


def _drop(words: list[Word], places: Sequence[int], count: int, random: np.random.Generator, _: Material) -> Edit:
    gone = _drawn(places, min(count, len(places) - 1), random) if len(places) > 1 else []
    kept = [word for place, word in enumerate(words) if place not in gone]
    return kept, "left out " + ", ".join(repr(words[place].text) for place in gone) if gone else ""
