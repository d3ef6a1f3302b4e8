"""How parts of a block of weights lie in its bytes, as the types of ggml (llama.cpp's tensors) have them.

A block's parts are arrays of whole numbers, or float16 scales, one row a block. A layout is a sequence of fields, each
a run of bytes made from one or two parts; several may share a part, each with some bits of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Parts = dict[str, NDArray[Any]]


class Field(Protocol):
    """A run of a block's bytes."""

    def size(self, counts: Mapping[str, int]) -> int:
        """How many bytes, where a block's parts have so many values."""
        ...

    def pack(self, parts: Mapping[str, NDArray[Any]]) -> Bytes:
        """(blocks, bytes) from the parts, (blocks, values) each."""
        ...

    def unpack(self, data: Bytes, parts: Parts) -> None:
        """Add what the bytes say to the parts, which begin as zeros."""
        ...


@dataclass(frozen=True)
class Half:
    """One float16."""

    part: str

    def size(self, counts: Mapping[str, int]) -> int:
        """Two."""
        return 2

    def pack(self, parts: Mapping[str, NDArray[Any]]) -> Bytes:
        """Its bytes, the low one first."""
        return np.ascontiguousarray(parts[self.part], "<f2").view(np.uint8)

    def unpack(self, data: Bytes, parts: Parts) -> None:
        """The float16."""
        parts[self.part] = np.ascontiguousarray(data).view("<f2").astype(np.float16)


@dataclass(frozen=True)
class Planes:
    """`bits` bits of every value from bit `shift` on, several values a byte.

    Of a run of `run` values that share bytes, byte l holds values l, l + stride, l + 2 · stride, …, low bits first.
    bias: what is added to a value before its bits are taken, so that a negative one has some.
    """

    part: str
    bits: int
    run: int
    shift: int = 0
    bias: int = 0

    def size(self, counts: Mapping[str, int]) -> int:
        """Values times bits, over eight."""
        return counts[self.part] * self.bits // 8

    def _shifts(self) -> NDArray[np.uint8]:
        return np.arange(0, 8, self.bits, dtype=np.uint8)[:, None]

    def pack(self, parts: Mapping[str, NDArray[Any]]) -> Bytes:
        """Bytes of all runs."""
        values = (parts[self.part].astype(np.int16) + self.bias).astype(np.uint8) >> np.uint8(self.shift)
        values &= np.uint8(2**self.bits - 1)
        shifts = self._shifts()
        runs = values.reshape(len(values), -1, len(shifts), self.run // len(shifts)) << shifts
        packed: Bytes = np.bitwise_or.reduce(runs, axis=2).reshape(len(values), -1)
        return packed

    def unpack(self, data: Bytes, parts: Parts) -> None:
        """These bits of the values; the bias is taken off once, with the lowest of them."""
        shifts = self._shifts()
        runs = data.reshape(len(data), -1, 1, self.run // len(shifts)) >> shifts & np.uint8(2**self.bits - 1)
        values = runs.reshape(len(data), -1).astype(np.int16) << self.shift
        parts[self.part] = parts[self.part] + values - (0 if self.shift else self.bias)


@dataclass(frozen=True)
class Pairs:
    """Two numbers of 4 bits a byte: the first part's below the second's."""

    low: str
    high: str

    def size(self, counts: Mapping[str, int]) -> int:
        """One a pair."""
        return counts[self.low]

    def pack(self, parts: Mapping[str, NDArray[Any]]) -> Bytes:
        """Low and high half of each byte."""
        return parts[self.low].astype(np.uint8) | parts[self.high].astype(np.uint8) << np.uint8(4)

    def unpack(self, data: Bytes, parts: Parts) -> None:
        """Both parts."""
        parts[self.low], parts[self.high] = data & np.uint8(15), data >> np.uint8(4)


@dataclass(frozen=True)
class SixBits:
    """Eight and eight numbers of 6 bits in 12 bytes.

    Four bytes hold the first part's first four numbers, four the second part's, above each of them the two high bits of
    the number four further on; four more hold the low bits of those, the first part's below the second's.
    """

    first: str
    second: str

    def size(self, counts: Mapping[str, int]) -> int:
        """Twelve."""
        return 12

    def pack(self, parts: Mapping[str, NDArray[Any]]) -> Bytes:
        """Numbers below 64 as bytes."""
        first, second = (parts[one].astype(np.uint8) for one in (self.first, self.second))
        heads = [one[:, :4] | (one[:, 4:] >> np.uint8(4)) << np.uint8(6) for one in (first, second)]
        return np.concatenate([*heads, first[:, 4:] & np.uint8(15) | second[:, 4:] << np.uint8(4)], axis=1)

    def unpack(self, data: Bytes, parts: Parts) -> None:
        """Both parts."""
        tails = data[:, 8:]
        for name, head, low in (
            (self.first, data[:, :4], tails & np.uint8(15)),
            (self.second, data[:, 4:8], tails >> np.uint8(4)),
        ):
            high = (head >> np.uint8(6)) << np.uint8(4)
            parts[name] = np.concatenate([head & np.uint8(63), low | high], axis=1)


def pack_fields(layout: Sequence[Field], parts: Mapping[str, NDArray[Any]]) -> Bytes:
    """(blocks, bytes) of blocks with these parts."""
    return np.concatenate([one.pack(parts) for one in layout], axis=1)


def unpack_fields(layout: Sequence[Field], data: Bytes, counts: Mapping[str, int]) -> Parts:
    """The parts that `pack_fields` packed. counts: how many values of each a block has."""
    parts: Parts = {name: np.zeros((len(data), count), np.int16) for name, count in counts.items()}
    for one, run in zip(layout, _runs(layout, data, counts), strict=True):
        one.unpack(run, parts)
    return parts


def _runs(layout: Sequence[Field], data: Bytes, counts: Mapping[str, int]) -> Iterator[Bytes]:
    place = 0
    for one in layout:
        size = one.size(counts)
        yield data[:, place : place + size]
        place += size
