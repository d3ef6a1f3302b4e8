"""Lossless coding of integer tensors: packed bits, or rANS by the counts of the symbols themselves.

rANS (Duda 2013, arXiv:1311.2540) with interleaved lanes (Giesen 2014, arXiv:1402.3392): every lane has a state in
[2^16, 2^32), all lanes share one stream of 16-bit words, and a step codes one symbol a lane as one array operation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PRECISION = 14
LOWEST = 1 << 16
# Symbols a lane codes at most: more lanes are faster, each costs four bytes.
A_LANE = 4096
# Small tensors have shorter lanes, but only so many: a step takes as long for four lanes as for one.
SHORT_LANE, FEW_LANES = 1024, 4
# Steps whose frequencies are looked up together.
STRETCH = 256
# Up to this many lanes plain integers are faster than a dozen array operations a step.
SCALAR_LANES = 16

Integers = NDArray[np.integer]


def pack_bits(values: Integers, bits: int) -> NDArray[np.uint8]:
    """Unsigned integers below 2^bits as bytes, `bits` bits each, low bits first; the last byte is padded with zeros."""
    flat = np.ascontiguousarray(values, np.uint8).reshape(-1)
    if bits == 8:
        return flat
    planes = np.unpackbits(flat[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes.reshape(-1), bitorder="little")


def unpack_bits(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The `count` integers that `pack_bits` packed."""
    if bits == 8:
        return packed[:count].copy()
    planes = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(planes, axis=1, bitorder="little").reshape(-1)


def frequencies(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Integers proportional to counts that sum to 2^PRECISION, at least 1 where a count is."""
    total = 1 << PRECISION
    if not counts.any():
        counts = np.ones_like(counts)
    scaled = np.where(counts > 0, np.maximum(1, counts * total // counts.sum()), 0).astype(np.int64)
    while (over := int(scaled.sum()) - total) != 0:
        # the most frequent symbol pays or gains: it changes least in proportion
        place = int(scaled.argmax())
        scaled[place] -= min(over, int(scaled[place]) - 1) if over > 0 else over
    return scaled.astype(np.uint32)


def _lanes(count: int) -> int:
    return max(1, -(-count // A_LANE), min(FEW_LANES, -(-count // SHORT_LANE)))


def _order(size: int, lanes: int) -> tuple[int, int]:
    steps = -(-size // lanes) if size else 0
    return steps, steps * lanes - size


def rans_encode(symbols: Integers, tables: NDArray[np.uint32], context: Integers) -> NDArray[np.uint16]:
    """Words that code `symbols` (each below the tables' width), symbol i by the table `context[i]`.

    tables: (contexts, alphabet) frequencies, rows summing to 2^PRECISION.
    """
    lanes = _lanes(len(symbols))
    steps, padding = _order(len(symbols), lanes)
    places = context.astype(np.int64) * tables.shape[1] + symbols
    # padding repeats the last symbol, which has a frequency
    places = np.concatenate([places, np.repeat(places[-1:], padding)]).reshape(steps, lanes)
    shares = tables.astype(np.uint32).reshape(-1)
    starts = (np.cumsum(tables, axis=1, dtype=np.uint64) - tables).astype(np.uint32).reshape(-1)
    if lanes <= SCALAR_LANES:
        return _encode_scalar(shares[places].tolist(), starts[places].tolist(), lanes)
    # a state above it would not fit in 32 bits after its step; of a symbol without frequency it is never asked
    most = ((shares.astype(np.uint64) << np.uint64(32 - PRECISION)) - np.uint64(1)).astype(np.uint32)
    state, chunks = np.full(lanes, LOWEST, np.uint32), list[NDArray[np.uint16]]()
    for end in range(steps, 0, -STRETCH):
        own = places[max(0, end - STRETCH) : end]
        share, start, bound = shares[own], starts[own], most[own]
        gain, full, low = np.uint32(1 << PRECISION) - share, np.empty(own.shape, bool), np.empty(own.shape, np.uint16)
        for step in range(len(own) - 1, -1, -1):
            np.greater(state, bound[step], out=full[step])
            low[step] = state  # the bits that fit
            state >>= full[step] * np.uint32(16)
            state += state // share[step] * gain[step] + start[step]
        chunks.append(low[full])
    return np.concatenate([state.view(np.uint16), *reversed(chunks)])


def _encode_scalar(shares: list[list[int]], starts: list[list[int]], lanes: int) -> NDArray[np.uint16]:
    """The words of `rans_encode`, one symbol at a time."""
    states, words = [LOWEST] * lanes, list[int]()
    shift, order = 32 - PRECISION, range(lanes - 1, -1, -1)
    for share_row, start_row in zip(reversed(shares), reversed(starts), strict=True):
        for lane in order:
            share, state = share_row[lane], states[lane]
            if state >= share << shift:
                words.append(state & 0xFFFF)
                state >>= 16
            quotient, rest = divmod(state, share)
            states[lane] = (quotient << PRECISION) + rest + start_row[lane]
    head = np.array(states, np.uint32).view(np.uint16)
    return np.concatenate([head, np.array(words[::-1], np.uint16)])


def rans_decode(
    words: NDArray[np.uint16], tables: NDArray[np.uint32], context: Integers, count: int
) -> NDArray[np.int32]:
    """The `count` symbols that `rans_encode` coded with the same tables and context."""
    lanes = _lanes(count)
    steps, padding = _order(count, lanes)
    context = np.concatenate([context, np.repeat(context[-1:], padding)]).reshape(steps, lanes).astype(np.int64)
    starts = (np.cumsum(tables, axis=1, dtype=np.uint64) - tables).astype(np.uint32)
    slots = np.stack([np.repeat(np.arange(tables.shape[1], dtype=np.int32), row) for row in tables])
    state = words[: 2 * lanes].copy().view(np.uint32).astype(np.uint64)
    if lanes <= SCALAR_LANES:
        return _decode_scalar(words, state.tolist(), tables, context, starts, slots)[:count]
    place, mask = 2 * lanes, np.uint64((1 << PRECISION) - 1)
    found = np.empty((steps, lanes), np.int32)
    for step in range(steps):
        slot = (state & mask).astype(np.int64)
        symbol = slots[context[step], slot]
        found[step] = symbol
        share = tables[context[step], symbol].astype(np.uint64)
        state = share * (state >> np.uint64(PRECISION)) + slot.astype(np.uint64) - starts[context[step], symbol]
        low = np.flatnonzero(state < LOWEST)
        state[low] = (state[low] << np.uint64(16)) | words[place : place + len(low)]
        place += len(low)
    return found.reshape(-1)[:count]


def _decode_scalar(
    words: NDArray[np.uint16],
    states: list[int],
    tables: NDArray[np.uint32],
    context: Integers,
    starts: NDArray[np.uint32],
    slots: NDArray[np.int32],
) -> NDArray[np.int32]:
    """The symbols of `rans_decode` with those of the padding, one at a time."""
    stream, found = iter(words[2 * len(states) :].tolist()), list[int]()
    shares, firsts, symbols, mask = tables.tolist(), starts.tolist(), slots.tolist(), (1 << PRECISION) - 1
    for row in context.tolist():
        for lane, table in enumerate(row):
            state = states[lane]
            slot = state & mask
            symbol = symbols[table][slot]
            state = shares[table][symbol] * (state >> PRECISION) + slot - firsts[table][symbol]
            states[lane] = state << 16 | next(stream) if state < LOWEST else state
            found.append(symbol)
    return np.array(found, np.int32)
