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
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»“”„‘’…—–。，、！？：；（）「」『』।॥؟،؛።፣፤፧")
# A word runs from its first to its last sign that is not punctuation: "it's" is one, "card?" is two.
_WORD = re.compile(rf"[{_PUNCTUATION}]+|[^\s{_PUNCTUATION}](?:\S*[^\s{_PUNCTUATION}])?")
_SPACE = 32
_STEP = np.uint32(0x01000193)  # FNV's 32-bit prime, as the base of a rolling polynomial
_SPREAD = np.uint32(0x9E3779B1)
_DIGITS = str.maketrans(dict.fromkeys("123456789", "0"))
# 1 + ln of how often an n-gram occurs; beyond the table it stays at the last.
_LOG_WEIGHT = np.concatenate(([0.0], 1 + np.log(np.arange(1, 256)))).astype(np.float32)


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
    word_max: longest word n-gram (0 for none). lead: of a text with more words than these, the first so many count as
    much as the whole once more; 0 for none.
    """

    buckets: int = 2**16
    char_min: int = 2
    char_max: int = 5
    word_max: int = 2
    lead: int = 0

    def __post_init__(self) -> None:
        if self.buckets < 2 or self.buckets & (self.buckets - 1):
            raise ValueError(f"buckets is a power of two, got {self.buckets}")
        if not 1 <= self.char_min <= self.char_max:
            raise ValueError(f"1 <= char_min <= char_max, got {self.char_min} and {self.char_max}")
        if self.lead < 0:
            raise ValueError(f"lead is a number of words, at least 0, got {self.lead}")

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the manifest holds it; a lead of none is not told, so that older readers know all of it."""
        about = asdict(self)
        return about if self.lead else {name: value for name, value in about.items() if name != "lead"}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ngrams:
        """The settings that `to_json` described."""
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
    whole = _plain_bags(texts, settings)
    if not settings.lead or all(len(words) <= settings.lead for words in texts):
        return whole
    begin = [words[: settings.lead] if len(words) > settings.lead else () for words in texts]
    return _together(whole, _plain_bags(begin, settings), settings.buckets)


def _together(first: Bags, second: Bags, buckets: int) -> Bags:
    """The sums of the bags of each group, of unit length; every feature of `second` is one of `first`."""
    owner, own = (np.repeat(np.arange(len(first)), np.diff(bags.offsets)) for bags in (first, second))
    weights = first.weights.copy()
    weights[np.searchsorted(first.ids + buckets * owner, second.ids + buckets * own)] += second.weights
    lengths = np.sqrt(np.maximum(np.bincount(owner, weights * weights, len(first)), 1e-12)).astype(np.float32)
    return Bags(first.ids, weights / lengths[owner], first.offsets)


def _plain_bags(texts: Sequence[Sequence[str]], settings: Ngrams) -> Bags:
    """One bag a text, wherever in it an n-gram stands."""
    chars, char_words = _char_ngrams(texts, settings)
    runs = [_word_ngrams(words, settings.word_max) for words in texts]
    hashes = np.concatenate((chars, np.array([run for own in runs for run in own], np.uint32)))
    if len(texts) == 1:
        return _bags(hashes, None, 1, settings.buckets)
    text_of_word = np.repeat(np.arange(len(texts)), [len(words) for words in texts])
    owners = np.concatenate((text_of_word[char_words], np.repeat(np.arange(len(texts)), [len(own) for own in runs])))
    return _bags(hashes, owners, len(texts), settings.buckets)


def word_bags(texts: Sequence[Sequence[str]], settings: Ngrams) -> Bags:
    """One bag a word, over all texts in order: its character n-grams, itself, and itself with digits as 0."""
    chars, char_words = _char_ngrams(texts, settings)
    words = [word for own in texts for word in own]
    whole = [crc32(word.encode("utf-8", "surrogatepass")) for word in words]
    shapes = [crc32(b"\0" + word.translate(_DIGITS).encode("utf-8", "surrogatepass")) for word in words]
    count = np.arange(len(words))
    hashes = np.concatenate((chars, np.array(whole + shapes, np.uint32)))
    return _bags(hashes, np.concatenate((char_words, count, count)), len(words), settings.buckets)


def _word_ngrams(words: Sequence[str], most: int) -> list[int]:
    """Hashes of all runs of 1 to `most` words."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words] if most else []
    hashes = [crc32(word) for word in encoded]
    for order in range(2, most + 1):
        hashes += [crc32(b" ".join(encoded[at : at + order])) for at in range(len(encoded) - order + 1)]
    return hashes


def _char_ngrams(texts: Sequence[Sequence[str]], settings: Ngrams) -> tuple[NDArray[np.uint32], Ints]:
    """Rolling polynomial hashes of all character n-grams, and the number of the word each stands in."""
    joined = " " + " ".join([word for words in texts for word in words]) + " "
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    spaces = codes == _SPACE
    # spaces up to and with each place; the word a place belongs to follows the space before it
    before = np.cumsum(spaces)
    rolling, count = codes, len(codes)
    hashes, inside, words = [], [], []
    for order in range(1, settings.char_max + 1):
        if order > 1:
            rolling = rolling[:-1] * _STEP + codes[order - 1 :]
        if order >= settings.char_min and order <= count:
            starts = before[: count - order + 1]
            # a window may begin and end with a space, but has none inside, and is no lone space
            inner = ~spaces if order == 1 else before[order - 2 : count - 1] == starts
            hashes.append(rolling + np.uint32(order * 0x27D4EB2F & 0xFFFFFFFF))
            inside.append(inner)
            words.append(starts)
    if not hashes or count <= 2:
        return np.zeros(0, np.uint32), np.zeros(0, np.int64)
    kept = np.concatenate(inside)
    return np.concatenate(hashes)[kept], np.concatenate(words)[kept] - 1


def _bags(hashes: NDArray[np.uint32], owners: Ints | None, count: int, buckets: int) -> Bags:
    """Hashes put in buckets, counted and weighted in each group; owners: the group of each, None for one group."""
    if not len(hashes):
        return Bags(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(count + 1, np.int64))
    # multiplicative hashing (Knuth 1973, vol. 3, 6.4): the product's top bits depend on all bits
    keys = ((hashes * _SPREAD) >> np.uint32(33 - buckets.bit_length())).astype(np.int64)
    if owners is not None:
        keys += owners * buckets
    keys.sort()
    edges = np.empty(len(keys), bool)
    edges[0] = True
    np.not_equal(keys[1:], keys[:-1], out=edges[1:])
    first = edges.nonzero()[0]
    kept = keys[first]
    frequency = np.empty(len(first), np.int64)
    np.subtract(first[1:], first[:-1], out=frequency[:-1])
    frequency[-1] = len(keys) - first[-1]
    weights = _LOG_WEIGHT[np.minimum(frequency, len(_LOG_WEIGHT) - 1)]
    if owners is None:
        return Bags(kept, weights / np.sqrt(weights @ weights), np.array([0, len(kept)]))
    owner = kept // buckets
    offsets = np.searchsorted(owner, np.arange(count + 1))
    squares = np.concatenate(([0.0], np.cumsum(weights.astype(np.float64) ** 2)))
    norms = np.sqrt(np.maximum(squares[offsets[1:]] - squares[offsets[:-1]], 1e-12)).astype(np.float32)
    return Bags(kept - owner * buckets, weights / norms[owner], offsets)
