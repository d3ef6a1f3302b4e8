"""Arrays stored with few bits: symmetric, one scale a row, as the `Packed` layers of a Pocket.

A row r is stored as integers q with r ≈ scale * q, |q| ≤ 2^(bits-1) - 1. The scale is the largest
magnitude over the largest integer, or where that lowers the squared error, a clipped one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT_BITS = (16, 32)
_CLIPS = np.linspace(1.0, 0.6, 9, dtype=np.float32)

Floats = NDArray[np.float32]


def quantize_rows(array: Floats, bits: int) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Integers (rows, columns) and scales (rows,) with the least squared error over a grid of clips."""
    top = 2 ** (bits - 1) - 1
    peak = np.maximum(np.abs(array).max(axis=1), 1e-6) / top
    best_scale, best_error = peak, np.full(len(array), np.inf)
    for clip in _CLIPS if bits < 8 else _CLIPS[:1]:
        scale = np.maximum(peak * clip, 1e-7).astype(np.float16).astype(np.float32)
        rounded = np.clip(np.rint(array / scale[:, None]), -top, top)
        error = ((rounded * scale[:, None] - array) ** 2).sum(axis=1)
        better = error < best_error
        best_scale = np.where(better, scale, best_scale)
        best_error = np.where(better, error, best_error)
    integers = np.clip(np.rint(array / best_scale[:, None]), -top, top).astype(np.int8)
    return integers, best_scale.astype(np.float16)


def pack(array: Floats, bits: int) -> tuple[dict[str, Any], bytes]:
    """How `array` is stored (for the manifest) and its bytes. bits: 4 or 8 (2-D), 16 or 32 (any shape)."""
    about = {"bits": bits, "shape": list(array.shape)}
    if bits in FLOAT_BITS:
        return about, array.astype(f"<f{bits // 8}").tobytes()
    integers, scales = quantize_rows(array.astype(np.float32), bits)
    return about, scales.astype("<f2").tobytes() + pack_integers(integers, bits)


def pack_integers(integers: NDArray[np.int8], bits: int) -> bytes:
    """Rows of integers as bytes; two 4-bit values share a byte, low half first, the last one padded."""
    if bits == 8:
        return integers.tobytes()
    flat = (integers.reshape(-1) & 15).astype(np.uint8)
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    return (flat[0::2] | (flat[1::2] << 4)).tobytes()


def unpack(about: Mapping[str, Any], data: bytes) -> tuple[NDArray[Any], Floats | None]:
    """(int8 rows, scales (rows,)) of an integer array, or (float32 array, None)."""
    shape, bits = tuple(about["shape"]), int(about["bits"])
    if bits in FLOAT_BITS:
        return np.frombuffer(data, f"<f{bits // 8}").reshape(shape).astype(np.float32), None
    scales = np.frombuffer(data, "<f2", count=shape[0]).astype(np.float32)
    packed = np.frombuffer(data, np.uint8, offset=2 * shape[0])
    if bits == 8:
        return packed.view(np.int8).reshape(shape), scales
    halves = np.stack((packed & 15, packed >> 4), axis=1).reshape(-1)[: int(np.prod(shape))].astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(np.int8).reshape(shape), scales


def unpack_float(about: Mapping[str, Any], data: bytes) -> Floats:
    """The array as float32, whatever it was stored as."""
    values, scales = unpack(about, data)
    return values if scales is None else values.astype(np.float32) * scales[:, None]
