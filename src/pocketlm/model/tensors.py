"""A tensor as bytes and back, without loss, in whichever coding is smallest.

raw: its own bytes. bits: unsigned codes, as many bits each as the greatest needs. rans: codes by their frequencies,
in classes of rows and columns that spread alike. planes: each byte of a number coded by its frequencies. sparse: a
mask of what is not zero, and those values.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketlm.model.coding import frequencies, pack_bits, rans_decode, rans_encode, unpack_bits

# Below this, tables of frequencies cost more than they save.
SMALL = 256
# Coding the bytes of floats saves a sixth and takes a while: for scales, not for whole matrices.
LARGEST_PLANES = 1 << 17
# What is left of a sparse matrix has lost its many small values: a quarter is saved, and it is fewer to code.
LARGEST_VALUES = 1 << 23
LARGEST_ALPHABET = 4096
SPARSE_FROM = 0.2
CLASSES = 12

Blob = NDArray[np.uint8]


@dataclass(frozen=True)
class Coded:
    """A tensor as bytes, with what `decode_tensor` needs besides."""

    header: dict[str, Any]
    data: Blob


def _bytes_of(array: NDArray[Any]) -> Blob:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().contiguous().cpu()
    return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def digest(tensor: Tensor) -> bytes:
    """Sixteen bytes that tell a tensor, with its shape and type, from any other."""
    whole = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16)
    whole.update(_bytes_of(_numpy(tensor)).data)
    return whole.digest()


class Codings:
    """Codings by what they are of, so that what a pass left alone is not coded again: those of the last round only."""

    def __init__(self) -> None:
        self.last: dict[bytes, Coded] = {}
        self.now: dict[bytes, Coded] = {}

    def of(self, tensor: Tensor) -> Coded:
        """As `encode_tensor`; those stored as they are are not kept, as they cost nothing to make."""
        key = digest(tensor)
        coded = self.last.get(key) or self.now.get(key) or encode_tensor(tensor)
        if coded.header["coding"] != "raw":
            self.now[key] = coded
        return coded

    def turn(self) -> None:
        """End a round."""
        self.last, self.now = self.now, {}


def encode_tensor(tensor: Tensor) -> Coded:
    """The smallest coding of `tensor` (any shape, float or integer); -0.0, which masks leave behind, becomes 0.0."""
    if tensor.is_floating_point():
        tensor = tensor + 0.0
    header: dict[str, Any] = {"dtype": str(tensor.dtype)[6:], "shape": list(tensor.shape)}
    array = _numpy(tensor)
    found = [Coded({**header, "coding": "raw"}, _bytes_of(array))]
    if array.size >= SMALL:
        found += _integers(array, header) if array.dtype.kind in "iu" and array.dtype.itemsize <= 2 and (
            tensor.dtype != torch.bfloat16
        ) else _floats(array, header)  # fmt: skip
    return min(found, key=lambda one: len(one.data))


def decode_tensor(header: dict[str, Any], data: Blob) -> Tensor:
    """The tensor that `encode_tensor` coded."""
    dtype, shape = getattr(torch, header["dtype"]), header["shape"]
    kind = np.dtype(np.uint16) if dtype == torch.bfloat16 else np.dtype(header["dtype"])
    count = math.prod(shape)
    coding = header["coding"]
    if coding == "raw":
        array = np.frombuffer(data.tobytes(), kind).copy()
    elif coding == "bits":
        array = unpack_bits(data, header["bits"], count).astype(kind) + kind.type(header["low"])
    elif coding == "rans":
        array = (_rans_read(header, data, count) + header["low"]).astype(kind)
    elif coding == "planes":
        array = _read_planes(header, data, count, kind)
    else:
        array = _read_sparse(header, data, count, kind)
    tensor = torch.from_numpy(array)
    return (tensor.view(torch.bfloat16) if dtype == torch.bfloat16 else tensor).reshape(shape)


def _integers(array: NDArray[Any], header: dict[str, Any]) -> list[Coded]:
    low, high = int(array.min()), int(array.max())
    codes = array.astype(np.int32) - low
    found = []
    if high - low < 256:
        bits = max(1, (high - low).bit_length())
        found.append(Coded({**header, "coding": "bits", "bits": bits, "low": low}, pack_bits(codes, bits)))
    if high - low < LARGEST_ALPHABET:
        kinds = ("none", "columns", "both") if array.ndim == 2 and array.size >= 1 << 14 else ("none",)
        extra, data = _rans_write(codes, min(kinds, key=lambda kind: _expected_bits(codes, kind)))
        found.append(Coded({**header, "coding": "rans", "low": low, **extra}, data))
    elif array.dtype.itemsize == 2:  # one far code must not make all the others cost two bytes
        found.append(_write_planes(array, header))
    return found


def _classes(codes: NDArray[np.int32], kind: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classes of rows and of columns by how widely their codes spread, in half octaves; zeros where not asked for."""
    rows, columns = np.zeros(codes.shape[0], np.uint8), np.zeros(codes.shape[-1], np.uint8)
    if kind == "none":
        return rows, columns
    centred = codes - np.round(codes.mean())
    for axis, target in ((0, columns), (1, rows)):
        if axis == 1 and kind == "columns":
            continue
        spread = np.log2(np.sqrt((centred.astype(np.float32) ** 2).mean(axis=axis)) + 0.05)
        target[:] = np.clip(np.round(2 * (spread - np.median(spread))) + CLASSES // 2, 0, CLASSES - 1)
    return rows, columns


def _contexts(rows: NDArray[np.uint8], columns: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.int64]:
    if len(shape) != 2 or not (rows.any() or columns.any()):
        return np.zeros(math.prod(shape), np.int64)
    return (rows[:, None].astype(np.int64) + columns[None, :]).reshape(-1)


def _counted(codes: NDArray[np.int32], kind: str) -> tuple[Any, ...]:
    """Classes of rows and columns, the sums of them in use, each code's place in those, and counts (used, codes)."""
    rows, columns = _classes(codes, kind) if codes.ndim == 2 else (np.zeros(1, np.uint8), np.zeros(1, np.uint8))
    context, width = _contexts(rows, columns, codes.shape), int(codes.max()) + 1
    counts = np.bincount(context * width + codes.reshape(-1)).astype(np.int64)
    counts = np.pad(counts, (0, -len(counts) % width)).reshape(-1, width)
    used = np.flatnonzero(counts.any(axis=1))
    places = np.zeros(len(counts), np.int64)
    places[used] = np.arange(len(used))
    return rows, columns, used, places[context], counts[used]


def _expected_bits(codes: NDArray[np.int32], kind: str) -> float:
    """About how many bits `_rans_write` takes: entropies, tables and classes."""
    rows, columns, _, _, counts = _counted(codes, kind)
    share = counts / counts.sum(axis=1, keepdims=True)
    entropy = -(counts * np.log2(share, where=share > 0, out=np.zeros_like(share))).sum()
    sides = 0 if kind == "none" else len(columns) if kind == "columns" else len(columns) + len(rows)
    return float(entropy + 8 * np.count_nonzero(counts) + 3 * sides)


def expected_bits(codes: Tensor) -> float:
    """About how many bits `encode_tensor` takes for a matrix of integers, without coding it."""
    array = _numpy(codes).astype(np.int32)
    array = array - array.min()
    return min(_expected_bits(array, kind) for kind in ("none", "columns", "both"))


def _rans_write(codes: NDArray[np.int32], kind: str) -> tuple[dict[str, Any], Blob]:
    rows, columns, used, context, counts = _counted(codes, kind)
    flat, width = codes.reshape(-1), counts.shape[1]
    tables = np.stack([frequencies(one) for one in counts])
    words = rans_encode(flat, tables, context)
    sides = (tables.astype(np.uint16), rows if kind == "both" else rows[:0], columns if kind != "none" else columns[:0])
    parts = [np.frombuffer(zlib.compress(one.tobytes(), 9), np.uint8) for one in sides]
    header = {"classes": kind, "width": width, "used": used.tolist(), "parts": [len(one) for one in parts]}
    return header, np.concatenate([*parts, words.view(np.uint8)])


def _rans_read(header: dict[str, Any], data: Blob, count: int) -> NDArray[np.int32]:
    sides, place = [], 0
    for size in header["parts"]:
        sides.append(zlib.decompress(data[place : place + size].tobytes()))
        place += size
    tables = np.frombuffer(sides[0], np.uint16).reshape(-1, header["width"]).astype(np.uint32)
    shape = tuple(header["matrix"] if "matrix" in header else header["shape"])
    rows = np.frombuffer(sides[1] or bytes(shape[0]), np.uint8)
    columns = np.frombuffer(sides[2] or bytes(shape[-1]), np.uint8)
    context = _contexts(rows, columns, shape)
    context = np.searchsorted(np.asarray(header["used"]), context)
    words = np.frombuffer(data[place:].tobytes(), np.uint16)
    return rans_decode(words, tables, context, count)


def _floats(array: NDArray[Any], header: dict[str, Any]) -> list[Coded]:
    found = [_write_planes(array, header)] if array.size <= LARGEST_PLANES else []
    flat = array.reshape(-1)
    bits = flat.view(f"u{flat.itemsize}")  # there is no -0.0, and halves are slow to compare
    zeros = 1 - np.count_nonzero(bits) / flat.size
    if zeros >= SPARSE_FROM:
        mask = np.concatenate([flat != 0, np.zeros(-flat.size % 4, bool)]).reshape(-1, 4) @ np.array([1, 2, 4, 8])
        extra, coded = _rans_write(mask.astype(np.int32), "none")
        extra["matrix"] = [len(mask)]
        values = flat[flat != 0]
        coded_values = SMALL <= values.size <= LARGEST_VALUES
        inner = _write_planes(values, {}) if coded_values else Coded({"coding": "raw"}, _bytes_of(values))
        if len(inner.data) > values.nbytes:
            inner = Coded({"coding": "raw"}, _bytes_of(values))
        about = {"mask": extra, "mask_bytes": len(coded), "values": inner.header, "filled": int(values.size)}
        found.append(Coded({**header, "coding": "sparse", **about}, np.concatenate([coded, inner.data])))
    return found


def _read_sparse(header: dict[str, Any], data: Blob, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    size, groups = header["mask_bytes"], -(-count // 4)
    nibbles = _rans_read(header["mask"], data[:size], groups)
    mask = ((nibbles[:, None] >> np.arange(4)) & 1).astype(bool).reshape(-1)[:count]
    array = np.zeros(count, kind)
    rest, filled = data[size:], header["filled"]
    raw = header["values"]["coding"] == "raw"
    array[mask] = np.frombuffer(rest.tobytes(), kind) if raw else _read_planes(header["values"], rest, filled, kind)
    return array


def _write_planes(array: NDArray[Any], header: dict[str, Any]) -> Coded:
    """Each byte of the numbers, all first bytes, then all second ones: exponents repeat, low bits may be empty."""
    size = array.dtype.itemsize
    planes = _bytes_of(array).reshape(-1, size).T
    parts, headers = [], []
    for plane in planes:
        codes = plane.astype(np.int32)
        extra: dict[str, Any] = {}
        data = np.ascontiguousarray(plane)
        if (
            _expected_bits(codes, "none") < 8 * plane.size
        ):  # low bits of floats are noise: coding takes long for nothing
            coded = _rans_write(codes, "none")
            extra, data = coded if len(coded[1]) < plane.size else (extra, data)
        headers.append({**extra, "bytes": len(data)})
        parts.append(data)
    return Coded({**header, "coding": "planes", "planes": headers}, np.concatenate(parts))


def _read_planes(header: dict[str, Any], data: Blob, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    planes, place = np.empty((count, kind.itemsize), np.uint8), 0
    for number, about in enumerate(header["planes"]):
        part = data[place : place + about["bytes"]]
        place += about["bytes"]
        planes[:, number] = _rans_read({**about, "matrix": [count]}, part, count) if "parts" in about else part
    return np.frombuffer(planes.tobytes(), kind).copy()
