"""Values and weights of a LiteRT graph, for one text at a time.

Weights on a grid with one scale a row and no zeros stay 8-bit codes: LiteRT multiplies them with inputs that it rounds
to 8 bits as they come. Every other form is written as the float matrix it stands for, factors as two layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pocketlm.export.flat import FREE, File, Graph
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.layers import packed
from pocketlm.model.weights import ProductWeight, ScaledWeight, SumWeight


class Writer:
    """Writes a module's nodes into a graph. integers, floats: how many matrices are codes, and how many are not."""

    def __init__(self, file: File, graph: Graph) -> None:
        self.file, self.graph = file, graph
        self.mask = -1
        self.integers = self.floats = 0

    # values of the same shape

    def binary(self, op: str, one: int, other: int) -> int:
        """Two values joined place by place."""
        shapes = [self.graph.shape(value) for value in (one, other)]
        rank = max(map(len, shapes))
        both = [[1] * (rank - len(shape)) + shape for shape in shapes]
        shape = [b if a == 1 else a for a, b in zip(*both, strict=True)]
        return self.graph.add(op, [one, other], shape)

    def scalar(self, op: str, value: int, number: float) -> int:
        """A value joined with a number."""
        return self.binary(op, value, self.graph.constant(number))

    def unary(self, op: str, value: int, **options: Any) -> int:
        """A function of every number."""
        return self.graph.add(op, [value], self.graph.shape(value), **options)

    def reduced(self, op: str, value: int, axis: int, keep: bool = False) -> int:
        """The sum, mean or maximum along an axis."""
        shape = self.graph.shape(value)
        axis %= len(shape)
        shape = [1 if place == axis else one for place, one in enumerate(shape) if keep or place != axis]
        return self.graph.add(op, [value, self.graph.ints(axis)], shape, table="ReducerOptions", keepDims=keep)

    def reshaped(self, value: int, shape: Sequence[int]) -> int:
        """Another shape, FREE where a number of places may change."""
        count = -math.prod(self.graph.shape(value))
        if shape.count(FREE) == 1 and count < 0:
            shape = [count // math.prod(shape) if one == FREE else one for one in shape]
        return self.graph.add("RESHAPE", [value, self.graph.ints(*shape)], shape, newShape=list(shape))

    def turned(self, value: int, order: Sequence[int]) -> int:
        """Axes in another order."""
        shape = self.graph.shape(value)
        return self.graph.add("TRANSPOSE", [value, self.graph.ints(*order)], [shape[one] for one in order])

    # weights

    def times(self, weight: Any, x: int, bias: torch.Tensor | None = None) -> int:
        """X Wᵀ + bias."""
        if isinstance(weight, ProductWeight):
            return self.times(weight.left, self.times(weight.right, x), bias)
        if isinstance(weight, SumWeight):
            return self.binary("ADD", self.times(weight.base, x, bias), self.times(weight.correction, x))
        if isinstance(weight, ScaledWeight):
            scales = self.graph.constant(weight.column_scales.float().numpy())
            return self.times(weight.inner, self.binary("MUL", x, scales), bias)
        shape = self.graph.shape(x)
        inputs = [x, self.matrix(weight), self.bias(weight.shape[0], bias)]
        return self.graph.add("FULLY_CONNECTED", inputs, [*shape[:-1], weight.shape[0]], keepNumDims=len(shape) > 2)

    def bias(self, rows: int, bias: torch.Tensor | None) -> int:
        """The constant of a bias, or of zeros."""
        return self.graph.constant(np.zeros(rows) if bias is None else bias.detach().numpy())

    def matrix(self, weight: Any, shape: Sequence[int] | None = None) -> int:
        """The constant of a matrix (rows, columns), or of its numbers in another shape that begins with rows."""
        found = signed_codes(weight)
        if found is None:
            self.floats += 1
            return self.graph.constant(weight.matrix().numpy().reshape(shape or weight.shape))
        self.integers += 1
        codes, scales = found
        return self.graph.constant(codes.reshape(shape or codes.shape), stored(weight), scales)

    def linear(self, layer: Any, x: int) -> int:
        """A linear layer."""
        layer = packed(layer)
        return self.times(layer.stored, x, layer.bias)

    def place_mask(self) -> int:
        """1.0 where there is a word and 0.0 where there is padding: (1, places)."""
        return self.mask


def signed_codes(weight: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Int8 codes (rows, columns) and float32 scales (rows,) of a weight that LiteRT holds as it is; None of others."""
    if not isinstance(weight, GridWeight) or weight.zeros is not None or weight.scales.shape[1] != 1:
        return None
    codes = (weight.codes.int() - 2 ** (weight.bits - 1)).to(torch.int8).numpy()
    return codes, weight.scales.float()[:, 0].expand(weight.shape[0]).numpy()


def stored(weight: GridWeight) -> str:
    """The type that holds a weight's codes."""
    return "int4" if weight.bits <= 4 else "int8"


def activated(out: Writer, kind: str, x: int) -> int:
    """A function of `operations.ACTIVATIONS`."""
    names = {"relu": "RELU", "relu6": "RELU6", "tanh": "TANH", "sigmoid": "LOGISTIC", "elu": "ELU"}
    if kind in names:
        return out.unary(names[kind], x)
    if kind.startswith("gelu"):
        return out.unary("GELU", x, approximate=kind == "gelu-tanh")
    if kind == "softmax":
        return out.unary("SOFTMAX", x, beta=1.0)
    if kind == "silu":
        return out.binary("MUL", x, out.unary("LOGISTIC", x))
    if kind == "hard-sigmoid":
        return out.scalar("MUL", out.unary("RELU6", out.scalar("ADD", x, 3.0)), 1 / 6)
    return x
