"""A question and the context that may hold its answer; characters of a context as readers see them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pocketlm.errors import DataError

# Joiners glue the signs beside them; jamo after a leading consonant belong to its syllable.
_JOINERS = "\u200c\u200d"
_LATER_JAMO = range(0x1160, 0x1200)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)


@dataclass(frozen=True)
class Question:
    """A question and its context. at: characters of the whole context before this part of it."""

    text: str
    context: str
    at: int = 0

    def __len__(self) -> int:
        return len(self.text) + len(self.context)

    def to_json(self) -> dict[str, str]:
        """Plain data, as `question_of` reads it."""
        return {"question": self.text, "context": self.context}


def question_of(value: Any, place: str) -> Question:
    """The question of an object with "question" and "context". Raises DataError, which names `place`."""
    if isinstance(value, Question):
        return value
    fields = value if isinstance(value, Mapping) else {}
    for name in ("question", "context"):
        if not isinstance(fields.get(name), str):
            raise DataError(f'{place}: a question is an object with "question" and "context", two strings')
        if not fields[name].strip():
            raise DataError(f"{place}: the {name} is empty")
    return Question(fields["question"], fields["context"])


def whole_characters(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends, widened where it cuts what is read as one character.

    Such are letters with combining marks, syllables of jamo, flags, and signs glued by joiners: grapheme clusters,
    as far as a piece of a tokenizer may end inside one (Unicode Standard Annex 29, without its rarer rules).
    """
    part = text[start:end]
    if not part.strip():
        return start, start
    start, end = start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
    while 0 < start < end and glued(text, start):
        start -= 1
    while start < end < len(text) and glued(text, end):
        end += 1
    return start, end


def glued(text: str, place: int) -> bool:
    """Whether the character at `place`, above 0, belongs to the one before it."""
    before, here = text[place - 1], text[place]
    if before.isspace():
        return False
    if unicodedata.category(here)[0] == "M" or here in _JOINERS or ord(here) in _SKIN_TONES:
        return True
    if before == _JOINERS[1] or (ord(here) in _LATER_JAMO and ord(before) in range(0x1100, 0x1200)):
        return unicodedata.category(here) != "Zs"
    if ord(here) in _FLAG_LETTERS:
        flags = 0
        while flags < place and ord(text[place - flags - 1]) in _FLAG_LETTERS:
            flags += 1
        return flags % 2 == 1
    return False
