"""Split a text into words with offsets, in any script, without a model.

Words are runs between white space, so that tone marks, apostrophes and hyphens survive; punctuation at
a word's edge and symbols stand alone. Scripts written without spaces (Han, kana, Thai, Lao, Khmer,
Myanmar) are split into single characters, each with the marks that belong to it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Han, kana, Bopomofo, Thai, Lao, Myanmar, Khmer; Hangul writes spaces.
_UNSPACED = (
    "\u0e01-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3100-\u312f"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
_CHARACTER = re.compile(f"[{_UNSPACED}]")
_PIECE = re.compile(
    rf"[{_UNSPACED}]|\d+(?:[.,:]\d+)*|[^\W\d_{_UNSPACED}]+(?:[\u200c\u200d'’ʼ\-_][^\W\d_{_UNSPACED}]+)*|\S", re.UNICODE
)


@lru_cache(maxsize=4096)
def _joins(char: str) -> bool:
    """True for a character that belongs to the one before it: marks and joiners."""
    return unicodedata.category(char) in ("Mn", "Mc", "Me") or char in "\u200c\u200d"


def split_words(text: str) -> list[tuple[int, int]]:
    """Start and end offsets (in characters) of each word of `text`, in order."""
    spans: list[list[int]] = []
    letters = False  # whether the last span may still grow: a mark continues the word it stands in
    for match in _PIECE.finditer(text):
        start, end = match.span()
        touches = bool(spans) and spans[-1][1] == start
        if touches and _joins(text[start]):
            spans[-1][1] = end
            letters = True
        elif touches and letters and text[start].isalpha() and not _CHARACTER.match(text[start]):
            spans[-1][1] = end  # the rest of a word that a combining mark had cut
        else:
            spans.append([start, end])
            letters = False
    return [(start, end) for start, end in spans]


def unspaced(text: str) -> int:
    """How many characters of `text` are of scripts written without spaces."""
    return len(_CHARACTER.findall(text))


def words(text: str) -> list[str]:
    """The words of `text`, in order."""
    return [text[start:end] for start, end in split_words(text)]
