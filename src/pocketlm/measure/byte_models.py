"""What cheap models of bytes make of a text, in bits a byte: a compressor, and n-grams counted in training text.

A language model that foresees a text no better than these has learnt nothing that counting does not.
"""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
from numpy.typing import NDArray

ORDER = 6
# Bytes of training text that the compressor has read before, at most: its window.
_WINDOW = 1 << 26


def lzma_bits(train: bytes, text: bytes) -> float:
    """Bits a byte of the text after the training text: how much longer it makes what LZMA writes of that."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": _WINDOW}]

    def size(data: bytes) -> int:
        return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))

    return 8 * (size(train + text) - size(train)) / max(1, len(text))


def ngram_bits(train: bytes, text: bytes, order: int = ORDER) -> float:
    """Bits a byte of the text by n-grams of bytes up to `order`, each mixed with the shorter ones.

    Witten and Bell 1991, method C: the weight of shorter contexts is the share of new bytes that followed this one.
    order: at most 7.
    """
    read, said = (np.frombuffer(one, np.uint8).astype(np.uint64) for one in (train, text))
    shares = np.full(len(said), 1 / 256)
    for length in range(min(order, len(read) - 1)):
        counts = _Counts(read, length)
        count, kinds, follows = counts.of(said)
        known = count > 0
        mixed = (follows + kinds * shares) / np.maximum(1, count + kinds)
        shares = np.where(known, mixed, shares)
    return float(-np.log2(shares).mean())


class _Counts:
    """Of contexts of `length` bytes: how often they occur, how many kinds of bytes follow, and which how often."""

    def __init__(self, read: NDArray[Any], length: int) -> None:
        self.length = length
        codes = _codes(read, length + 1)[length:]
        self.grams, self.times = np.unique(codes, return_counts=True)
        contexts = self.grams >> np.uint64(8)
        self.contexts, starts = np.unique(contexts, return_index=True)
        self.counts = np.add.reduceat(self.times, starts)
        self.kinds = np.diff(np.append(starts, len(contexts)))

    def of(self, said: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Of every place of a text: its context's count and kinds, and how often its byte followed. 0: never seen."""
        codes = _codes(said, self.length + 1)
        count, kinds = (
            _looked_up(self.contexts, values, codes >> np.uint64(8)) for values in (self.counts, self.kinds)
        )
        follows = _looked_up(self.grams, self.times, codes)
        for found in (count, kinds, follows):
            found[: self.length] = 0  # nothing is before them
        return count, kinds, follows


def _codes(values: NDArray[Any], length: int) -> NDArray[Any]:
    """Of every place the last `length` bytes up to it as one number."""
    found = np.zeros(len(values), np.uint64)
    for back in range(length):
        found[back:] |= values[: len(values) - back] << np.uint64(8 * back)
    return found


def _looked_up(keys: NDArray[Any], values: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
