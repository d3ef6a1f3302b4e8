"""Slips of the finger: letters swapped, left out, doubled or mistaken (Belinkov and Bisk 2018, arXiv:1711.02173).

Letters are grapheme clusters and are never cut; one is mistaken for a neighbour on its keyboard, or where that is not
known for another letter of the same script that the rows use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from pocketlm.augment.graphemes import beside, graphemes, script_of
from pocketlm.augment.method import Made, Material
from pocketlm.augment.rows import reworded, words_of
from pocketlm.outputs import Example


@dataclass(frozen=True)
class Noise:
    """One slip in each of a share of the words that have at least `least` letters.

    Words stay as many as they were. Of a span's value the first and the last letter stay as they are.
    """

    name: ClassVar[str] = "noise"
    certain: ClassVar[bool] = True
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    share: float = 0.15
    least: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.least < 3:
            raise ValueError(f"share is in (0, 1] and least at least 3, got {self.share} and {self.least}")

    def refuses(self, material: Material) -> str:
        """No rows."""
        return ""

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where no word is long enough."""
        words = words_of(example)
        tags = [word.tag for word in words]
        open_places = {place: _open(word.text, place, tags) for place, word in enumerate(words)}
        able = [place for place, open_ in open_places.items() if len(open_) >= self.least - 1]
        if not able:
            return []
        count = max(1, round(self.share * len(able)))
        said = []
        for place in sorted(random.choice(able, min(count, len(able)), replace=False).tolist()):
            old = words[place].text
            new = _slip(graphemes(old), open_places[place], random, _letters(material))
            if new != old:
                words[place] = words[place]._replace(text=new)
                said.append(f"{old!r} became {new!r}")
        return [Made(reworded(example, words), ", ".join(said))] if said else []


def _open(word: str, place: int, tags: list[str]) -> list[int]:
    """Places of a word's letters that may change; without the borders of a span that begins or ends with it."""
    own = [at for at, cluster in enumerate(graphemes(word)) if script_of(cluster)]
    tag = tags[place]
    if not own or tag in ("", "O"):
        return own
    after = tags[place + 1] if place + 1 < len(tags) else "O"
    first = not tag.startswith(("I-", "E-"))
    last = not after.startswith(("I-", "E-"))
    return own[int(first) : len(own) - int(last)]


def _slip(letters: list[str], places: list[int], random: np.random.Generator, known: dict[str, list[str]]) -> str:
    """The word after one slip at one of the places."""
    at = int(random.choice(places))
    way = random.integers(4)
    if way == 0 and at + 1 in places:
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
    elif way == 1:
        del letters[at]
    elif way == 2:
        letters.insert(at, letters[at])
    else:
        letters[at] = _mistaken(letters[at], random, known)
    return "".join(letters)


def _mistaken(letter: str, random: np.random.Generator, known: dict[str, list[str]]) -> str:
    """Another letter of the same script, large where it was large."""
    near = beside(letter.lower()) or [one for one in known.get(script_of(letter), ()) if one != letter.lower()]
    if not near:
        return letter
    other = near[int(random.integers(len(near)))]
    return other.upper() if letter != letter.lower() and len(other.upper()) == len(other) else other


@lru_cache(maxsize=8)
def _letters_of(texts: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for text in texts:
        for cluster in graphemes(text.lower()):
            if script_of(cluster):
                found.setdefault(script_of(cluster), {})[cluster] = None
    return {script: sorted(letters) for script, letters in found.items()}


def _letters(material: Material) -> dict[str, list[str]]:
    """{script: its letters that occur in the rows}."""
    return _letters_of(material.texts)
