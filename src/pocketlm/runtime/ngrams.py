"""Hashed word and character n-grams of a batch of texts, in a few numpy passes over the whole batch.

Character n-grams stay inside a word padded by one space on each side (scikit-learn's `char_wb`); word
n-grams are hashed from the words themselves. Feature hashing: Weinberger et al. 2009, arXiv:0902.2206.
A term frequency f weighs 1 + ln f, and each text's weights have unit length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»“”„‘’…—–。，、！？：；（）「」『』।॥؟،؛።፣፤፧")
# A word runs from its first to its last sign that is not punctuation: "it's" is one, "card?" is two.
_WORD = re.compile(rf"[{_PUNCTUATION}]+|[^\s{_PUNCTUATION}](?:\S*[^\s{_PUNCTUATION}])?")
_SPACE = 32
_STEP = np.uint32(0x01000193)  # FNV's 32-bit prime, as the base of a rolling polynomial
_POWERS = np.cumprod(np.full(64, _STEP, np.uint32), dtype=np.uint32)


def normalize(text: str) -> str:
    """`text` in Unicode NFC and lower case, so that equal words are equal strings; marks and tones stay."""
    return unicodedata.normalize("NFC", text).lower()


def ngram_words(text: str) -> list[str]:
    """The normalized words of `text`, edge punctuation apart."""
    return _WORD.findall(normalize(text))


@dataclass(frozen=True)
class Ngrams:
    """Which n-grams count, and into how many buckets they are hashed.

    buckets: a power of two. char_min..char_max: character n-gram lengths (both included).
    word_max: longest word n-gram (0 for none).
    """

    buckets: int = 2**16
    char_min: int = 2
    char_max: int = 5
    word_max: int = 2

    def __post_init__(self) -> None:
        if self.buckets < 2 or self.buckets & (self.buckets - 1):
            raise ValueError(f"buckets is a power of two, got {self.buckets}")
        if not 1 <= self.char_min <= self.char_max:
            raise ValueError(f"1 <= char_min <= char_max, got {self.char_min} and {self.char_max}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ngrams:
        return cls(**value)


@dataclass(frozen=True)
class Bags:
    """Weighted features of several groups (texts or words), one group after the other.

    ids: (features,) bucket or row numbers. weights: (features,). offsets: (groups + 1,), where each begins.
    """

    ids: Ints
    weights: Floats
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1


def text_bags(texts: Sequence[Sequence[str]], settings: Ngrams) -> Bags:
    """One bag a text. texts: the words of each."""
    hashes = _Hashes.of(texts, settings)
    groups = [hashes.text_of_word[words] for words in hashes.char_words]
    parts = list(hashes.chars)
    if settings.word_max >= 1:
        parts.append(hashes.words)
        groups.append(hashes.text_of_word)
    for order in range(2, settings.word_max + 1):
        grams, owners = hashes.word_ngrams(order)
        parts.append(grams)
        groups.append(owners)
    return _bags(parts, groups, len(texts), settings.buckets)


def word_bags(texts: Sequence[Sequence[str]], settings: Ngrams) -> Bags:
    """One bag a word, over all texts in order: its character n-grams, itself, and itself with digits as 0."""
    hashes = _Hashes.of(texts, settings)
    count = np.arange(len(hashes.words))
    return _bags(
        [*hashes.chars, hashes.words, hashes.shapes],
        [*hashes.char_words, count, count],
        len(count),
        settings.buckets,
    )


@dataclass(frozen=True)
class _Hashes:
    """32-bit hashes of a batch's n-grams: `chars[k]` with the words they stand in, and whole words."""

    chars: list[NDArray[np.uint32]]
    char_words: list[Ints]
    words: NDArray[np.uint32]
    shapes: NDArray[np.uint32]
    text_of_word: Ints

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]], settings: Ngrams) -> _Hashes:
        lengths = [len(words) for words in texts]
        text_of_word = np.repeat(np.arange(len(texts)), lengths)
        if not len(text_of_word):
            empty = np.zeros(0, np.uint32)
            return cls([], [], empty, empty, text_of_word)
        joined = " " + " ".join([word for words in texts for word in words]) + " "
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        spaces = codes == _SPACE
        starts = np.flatnonzero(spaces)[:-1]
        before = np.cumsum(spaces)  # spaces up to and with each place, so before - 1 is the word it belongs to
        chars, char_words = _char_ngrams(codes, before, settings)
        place = np.arange(len(codes)) - starts[np.minimum(before - 1, len(starts) - 1)]
        power = np.where(spaces, np.uint32(0), _POWERS[place & 63])
        digits = np.where((codes >= 48) & (codes <= 57), np.uint32(48), codes)
        return cls(
            chars,
            char_words,
            np.add.reduceat(codes * power, starts, dtype=np.uint32)[: len(starts)],
            np.add.reduceat(digits * power, starts, dtype=np.uint32)[: len(starts)] ^ np.uint32(0x5BD1E995),
            text_of_word,
        )

    def word_ngrams(self, order: int) -> tuple[NDArray[np.uint32], Ints]:
        """Hashes of runs of `order` words inside one text, and the text of each."""
        count = len(self.words) - order + 1
        if count <= 0:
            return np.zeros(0, np.uint32), np.zeros(0, np.int64)
        grams = self.words[:count]
        for shift in range(1, order):
            grams = (grams ^ np.uint32(0x9E3779B9)) * _STEP + self.words[shift : shift + count]
        inside = self.text_of_word[:count] == self.text_of_word[order - 1 :]
        return grams[inside], self.text_of_word[:count][inside]


def _char_ngrams(
    codes: NDArray[np.uint32], before: Ints, settings: Ngrams
) -> tuple[list[NDArray[np.uint32]], list[Ints]]:
    rolling = codes
    chars: list[NDArray[np.uint32]] = []
    owners: list[Ints] = []
    for order in range(1, settings.char_max + 1):
        if order > 1:
            rolling = rolling[:-1] * _STEP + codes[order - 1 :]
        if order < settings.char_min or not len(rolling):
            continue
        last = len(codes) - order
        # no space strictly inside the window, and the window is not a lone space
        inner = before[order - 2 : order - 1 + last] == before[: last + 1] if order > 2 else slice(None)
        kept = np.flatnonzero(inner) if order > 2 else np.arange(last + 1)
        if order == 1:
            kept = np.flatnonzero(codes != _SPACE)
        chars.append(rolling[kept] + np.uint32(order * 0x27D4EB2F & 0xFFFFFFFF))
        owners.append(before[kept] - 1)
    return chars, owners


def _mix(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """MurmurHash3's 32-bit finalizer: every input bit reaches every output bit."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def _bags(parts: list[NDArray[np.uint32]], groups: list[Ints], count: int, buckets: int) -> Bags:
    if not parts:
        return Bags(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(count + 1, np.int64))
    bucket = (_mix(np.concatenate(parts)) & np.uint32(buckets - 1)).astype(np.int64)
    keys = np.concatenate(groups) * buckets + bucket
    keys.sort()
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.zeros(0, np.int64)
    frequency = np.diff(first, append=len(keys))
    kept = keys[first]
    owner = kept // buckets
    weights = (1 + np.log(frequency)).astype(np.float32)
    offsets = np.searchsorted(owner, np.arange(count + 1))
    squares = np.concatenate(([0.0], np.cumsum(weights.astype(np.float64) ** 2)))
    norms = np.sqrt(np.maximum(squares[offsets[1:]] - squares[offsets[:-1]], 1e-12))
    return Bags(kept - owner * buckets, (weights / norms[owner]).astype(np.float32), offsets)
