"""The words of a row, each with its tag and what follows it, and a row of changed words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pocketlm.outputs import Example
from pocketlm.runtime.words import split_words, unspaced

# This share of a text in a script without spaces, and its characters stand for words.
MOSTLY = 0.3


class Word(NamedTuple):
    """A word. tag: its tag, empty in rows without. after: the white space between it and the next word, if any."""

    text: str
    tag: str = ""
    after: str = " "


def words_of(example: Example) -> list[Word]:
    """The row's tokens; without any, what stands between white space, or characters in scripts without spaces."""
    text = example.text
    if example.tokens:
        tags = example.tags or ("",) * len(example.tokens)
        gaps = _gaps(text, example.tokens)
        return [Word(*one) for one in zip(example.tokens, tags, gaps, strict=True)]
    if unspaced(text) <= MOSTLY * len(text):
        return [Word(word) for word in text.split()]
    spans = split_words(text)
    ends = [start for start, _ in spans[1:]] + [len(text)]
    return [
        Word(text[start:end], "", " " if text[end:after] else "")
        for (start, end), after in zip(spans, ends, strict=True)
    ]


def _gaps(text: str, tokens: Sequence[str]) -> list[str]:
    """What follows each token in the text: a space or nothing; a space throughout where the text is another."""
    gaps, at = [], 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0 or text[at:start].strip():
            return [" "] * len(tokens)
        if at:
            gaps.append(" " if start > at else "")
        at = start + len(token)
    return [*gaps, " "]


def text_of(words: Sequence[Word]) -> str:
    """The words as a text."""
    return "".join(word.text + word.after for word in words).strip()


def reworded(example: Example, words: Sequence[Word]) -> Example:
    """The row with other words, and their tags; all that stands beside them stays."""
    text = text_of(words)
    if not example.tokens:
        return replace(example, text=text)
    tags = tuple(word.tag for word in words) if example.tags else ()
    return replace(example, text=text, tokens=tuple(word.text for word in words), tags=tags)


def free(words: Sequence[Word], spans: bool) -> list[int]:
    """Places of the words that another word may stand for: all without tags, those outside of spans, or none.

    spans: whether tags are of spans; what a plain tag says of a word need not hold of another one.
    """
    return [
        place
        for place, word in enumerate(words)
        if any(map(str.isalpha, word.text)) and (not word.tag or (spans and word.tag == "O"))
    ]
