"""Nodes of an ONNX graph for a weight in any form of `model.weights`: products with it, rows of it.

A product of factors is two MatMuls. Codes stay codes in the file: up to 4 bits as MatMulNBits where the group size
lets it, else as packed bytes that a few nodes unpack, which the runtime folds into a matrix when it loads the graph.
Layers with rounded inputs are integer products. Forms that are not known here are stored as the matrix they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.code_weights import CodebookWeight, GridWeight, StepWeight
from pocketlm.model.layers import InputRounding
from pocketlm.model.weights import DenseWeight, ProductWeight, ScaledWeight, SumWeight

NBITS = "com.microsoft"
LEAST_BLOCK = 16


@dataclass
class Forms:
    """Nodes and constants as they are made. plain: whether everything is stored as a float matrix, to compare with.

    accuracy_level: of MatMulNBits: 1 multiplies floats, 4 rounds inputs to 8 bits a block, which is what makes codes of
    8 bits worth their while. integer_products: layers in whole numbers. rounded_inputs: layers that read what 8-bit
    codes stand for.
    """

    plain: bool = False
    accuracy_level: int = 1
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    integer_products: int = 0
    rounded_inputs: int = 0
    _names: dict[Any, str] = field(default_factory=dict)
    _kept: list[Any] = field(default_factory=list)
    _grids: dict[Any, Any] = field(default_factory=dict)

    def node(self, kind: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """The output of a new node."""
        out = f"pocketlm.{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], domain=domain, **attributes))
        return out

    def constant(self, array: np.ndarray | Tensor, name: str = "") -> str:
        """The name of a constant."""
        values = array.detach().cpu().contiguous().numpy() if isinstance(array, Tensor) else np.ascontiguousarray(array)
        name = name or f"pocketlm.constant.{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def floats(self, array: Tensor) -> str:
        """Float32 values, stored as float16 where that loses nothing."""
        half = array.half()
        if torch.equal(half.float(), array.float()):
            return self.node("Cast", [self.constant(half)], to=TensorProto.FLOAT)
        return self.constant(array.float())

    def once(self, weight: Any, what: str, make: Any) -> str:
        """The name that `make` gives, made once for a weight that several layers share."""
        key = (id(weight), what)
        if key not in self._names:
            self._kept.append(weight)
            self._names[key] = make()
        return self._names[key]

    def times(self, weight: Any, x: str) -> str:
        """X Wᵀ."""
        if isinstance(weight, ProductWeight):
            return self.times(weight.left, self.times(weight.right, x))
        if isinstance(weight, SumWeight):
            return self.node("Add", [self.times(weight.base, x), self.times(weight.correction, x)])
        if isinstance(weight, ScaledWeight):
            return self.times(weight.inner, self.node("Mul", [x, self.floats(weight.column_scales.float())]))
        if not self.plain and isinstance(weight, BlockWeight):
            weight = self._grid(weight)
        if not self.plain and isinstance(weight, GridWeight) and _fits_nbits(weight, self.accuracy_level):
            return self._nbits(weight, x)
        return self.node("MatMul", [x, self.once(weight, "transposed", lambda: self._transposed(weight))])

    def _grid(self, weight: BlockWeight) -> Any:
        """The same codes as a grid, where all that a block has is a scale; else the weight as it is."""
        key = (id(weight), "grid")
        if key not in self._grids:
            self._kept.append(weight)
            self._grids[key] = _as_grid(weight)
        return self._grids[key]

    def _transposed(self, weight: Any) -> str:
        if isinstance(weight, DenseWeight) and (id(weight), "matrix") not in self._names:
            return self.floats(weight.matrix().t())  # as it is multiplied: nothing is left to do when it is loaded
        return self.node("Transpose", [self.once(weight, "matrix", lambda: self.matrix(weight))], perm=[1, 0])

    def matrix(self, weight: Any) -> str:
        """The matrix (rows, columns), from what the file stores of it."""
        if not self.plain and isinstance(weight, GridWeight) and weight.bits <= 8:
            zeros = self.constant(_zeros(weight)[..., None])
            return self._scaled(weight, self.node("Sub", [self._codes(weight, None), zeros]))
        if not self.plain and isinstance(weight, CodebookWeight) and len(weight.levels) == 1:
            levels = self.floats(weight.levels[0].float())
            codes = self.node("Cast", [self._codes(weight, None)], to=TensorProto.INT32)
            return self._scaled(weight, self.node("Gather", [levels, codes]))
        if not self.plain and isinstance(weight, StepWeight):
            codes = self.node("Cast", [self.constant(weight.codes)], to=TensorProto.FLOAT)
            rows = self.node("Mul", [codes, self.floats(weight.row_steps.float()[:, None])])
            return self.node("Mul", [rows, self.floats(weight.column_steps.float())])
        return self.floats(weight.matrix())

    def _scaled(self, weight: Any, values: str) -> str:
        """(rows, groups, size) times the groups' scales as (rows, columns)."""
        scaled = self.node("Mul", [values, self.floats(weight.scales.float()[..., None])])
        rows, columns = weight.shape
        whole = self.node("Reshape", [scaled, self.constant(np.array([rows, -1]))])
        return self._cut(whole, columns, _groups(weight)[0] * _groups(weight)[1])

    def _cut(self, values: str, columns: int, held: int) -> str:
        """The first columns of those held: a last group may be filled up."""
        if held == columns:
            return values
        ends = [self.constant(np.array([one])) for one in (0, columns, -1)]
        return self.node("Slice", [values, *ends])

    def _codes(self, weight: Any, rows: str | None) -> str:
        """Codes as float32 (rows, groups, size), of all rows or of those that `rows` (any shape) says."""
        size = _groups(weight)[1]
        packed = weight.bits <= 4 and size % 2 == 0
        stored = self.once(weight, "codes", lambda: self.constant(_pack(weight) if packed else _grouped(weight)))
        if rows is not None:
            stored = self.node("Gather", [stored, rows])
        if packed:
            low = self.node("BitwiseAnd", [stored, self.constant(np.array(15, np.uint8))])
            high = self.node("BitShift", [stored, self.constant(np.array(4, np.uint8))], direction="RIGHT")
            axis = self.constant(np.array([-1]))
            both = [self.node("Unsqueeze", [one, axis]) for one in (low, high)]
            pairs = self.node("Concat", both, axis=-1)
            lead = self.node("Shape", [stored], end=-1)
            stored = self.node("Reshape", [pairs, self.node("Concat", [lead, self.constant(np.array([size]))], axis=0)])
        return self.node("Cast", [stored], to=TensorProto.FLOAT)

    def _nbits(self, weight: GridWeight, x: str) -> str:
        size = _groups(weight)[1]
        rows, columns = weight.shape
        bits = 4 if weight.bits <= 4 else 8
        codes = self.once(weight, "codes", lambda: self.constant(_pack(weight) if bits == 4 else _grouped(weight)))
        scales = self.once(weight, "scales", lambda: self.floats(weight.scales.float().reshape(-1)))
        inputs = [x, codes, scales]
        if weight.zeros is not None or weight.bits != bits:  # the middle code is 0 where none is given
            inputs.append(self.once(weight, "zeros", lambda: self.constant(_nbits_zeros(weight, bits))))
        return self.node(
            "MatMulNBits", inputs, NBITS, K=columns, N=rows, bits=bits, block_size=size,
            accuracy_level=self.accuracy_level,
        )  # fmt: skip

    def rows(self, weight: Any, tokens: str) -> str:
        """Rows of a table: tokens (any shape) to (*shape, width)."""
        if not self.plain and isinstance(weight, BlockWeight):
            weight = self._grid(weight)
        if not self.plain and isinstance(weight, GridWeight):
            values = self._codes(weight, tokens)
            zeros = _zeros(weight)[..., None] if weight.zeros is not None else _zeros(weight)[:1, :1, None]
            values = self.node("Sub", [values, self._row_values(zeros, tokens)])
            values = self.node("Mul", [values, self._row_values(weight.scales.half()[..., None], tokens)])
            lead = self.node("Concat", [self.node("Shape", [tokens]), self.constant(np.array([-1]))], axis=0)
            groups, size = _groups(weight)
            return self._cut(self.node("Reshape", [values, lead]), weight.shape[1], groups * size)
        if not self.plain and isinstance(weight, (CodebookWeight, StepWeight)):
            return self.node("Gather", [self.once(weight, "matrix", lambda: self.matrix(weight)), tokens])
        table = self.once(weight, "matrix", lambda: self.floats(weight.matrix()))
        return self.node("Gather", [table, tokens])

    def _row_values(self, values: np.ndarray | Tensor, tokens: str) -> str:
        """A value a row and group, of the rows asked for; of a single row, that for all."""
        name = self.constant(values)
        found = self.node("Gather", [name, tokens]) if len(values) > 1 else name
        return self.node("Cast", [found], to=TensorProto.FLOAT)

    def integer(self, weight: GridWeight, rounding: InputRounding, x: str) -> str:
        """Rounded inputs times 8-bit weights, in whole numbers."""
        self.integer_products += 1
        codes = (weight.codes.int() - 2 ** (weight.bits - 1)).to(torch.int8).t()
        stored = self.once(weight, "int8", lambda: self.constant(codes))
        scales = weight.scales.float()[:, 0].expand(weight.shape[0])
        if rounding.static:
            zeros = self.constant(np.zeros(weight.shape[0], np.int8))
            matrix = self.node("DequantizeLinear", [stored, self.constant(scales), zeros], axis=1)
            return self.node("MatMul", [self.rounded(rounding, x), matrix])
        inputs, scale, zero = self._dynamic(x)
        product = self.node("MatMulInteger", [inputs, stored, zero])
        product = self.node("Cast", [product], to=TensorProto.FLOAT)
        return self.node("Mul", [product, self.node("Mul", [scale, self.constant(scales)])])

    def rounded(self, rounding: InputRounding, x: str) -> str:
        """An input as the floats that its 8-bit codes stand for."""
        self.rounded_inputs += 1
        if not rounding.static:
            return self.node("DequantizeLinear", self._dynamic(x))
        scale, zero = self.constant(rounding.scale.float()), self.constant(rounding.zero.to(torch.uint8))
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, scale, zero]), scale, zero])

    def _dynamic(self, x: str) -> tuple[str, str, str]:
        """Codes, scale and zero of an input that is rounded as it comes, once for all layers that read it."""
        names = (f"{x}.codes", f"{x}.scale", f"{x}.zero")
        if ("dynamic", x) not in self._names:
            self._names["dynamic", x] = x
            self.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], list(names)))
        return names


def _groups(weight: Any) -> tuple[int, int]:
    """How many groups a row has and how many columns each, the last filled up."""
    size = min(weight.group_size, weight.shape[1])
    if weight.scales.shape[1] == 1:
        return 1, weight.shape[1]
    return -(-weight.shape[1] // size), size


def _zeros(weight: GridWeight) -> np.ndarray:
    """Zeros as float32, (rows or 1, groups)."""
    if weight.zeros is None:
        return np.full(tuple(weight.scales.shape), 2.0 ** (weight.bits - 1), np.float32)
    return weight.zeros.float().numpy()


def _grouped(weight: Any) -> np.ndarray:
    """Codes as uint8 (rows, groups, size)."""
    groups, size = _groups(weight)
    codes = np.pad(weight.codes.numpy(), ((0, 0), (0, groups * size - weight.shape[1])))
    return codes.reshape(len(codes), groups, size)


def _pack(weight: Any) -> np.ndarray:
    """Two codes a byte, the first in its low half: (rows, groups, size / 2)."""
    codes = _grouped(weight)
    packed: np.ndarray = codes[..., ::2] | (codes[..., 1::2] << 4)
    return packed


def _as_grid(weight: BlockWeight) -> Any:
    """A grid with the codes and scales of the blocks; the weight as it is where they have more than a scale."""
    if not weight.kind.even or weight.minima is not None or weight.sub_scales is not None:
        return weight
    levels, bits = weight.kind.levels, (len(weight.kind.levels) - 1).bit_length()
    zeros = None
    if -levels[0] != 2 ** (bits - 1):
        zeros = torch.full_like(weight.scales, -levels[0]).to(torch.uint8)
    return GridWeight(weight.codes, weight.scales, zeros, bits, weight.kind.length)


def _fits_nbits(weight: GridWeight, accuracy_level: int) -> bool:
    """Whether MatMulNBits takes it: few bits, groups of a power of two, a scale for each row.

    Float products with codes of 8 bits are slower than with the matrix.
    """
    size, few = _groups(weight)[1], weight.bits <= (8 if accuracy_level == 4 else 4)
    return few and size >= LEAST_BLOCK and size & (size - 1) == 0 and len(weight.scales) == weight.shape[0]


def _nbits_zeros(weight: GridWeight, bits: int) -> np.ndarray:
    """Zeros as MatMulNBits takes them: codes of so many bits, or float32 where they are no codes."""
    zeros = _zeros(weight)
    if not ((zeros == zeros.round()) & (zeros >= 0) & (zeros < 2**bits)).all():
        return zeros.astype(np.float32).reshape(-1)
    if bits == 8:
        return zeros.astype(np.uint8).reshape(-1)
    codes = np.pad(zeros.astype(np.uint8), ((0, 0), (0, zeros.shape[1] % 2)))
    packed: np.ndarray = (codes[:, ::2] | (codes[:, 1::2] << 4)).reshape(-1)
    return packed


def opsets() -> list[onnx.OperatorSetIdProto]:
    """The operator set of MatMulNBits."""
    return [helper.make_opsetid(NBITS, 1)]
