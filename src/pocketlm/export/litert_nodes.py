"""Nodes of a text graph as LiteRT operators, for one text at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pocketlm.errors import ModelError
from pocketlm.export.flat import FREE
from pocketlm.export.litert_loop import recurrent
from pocketlm.export.litert_writer import Writer, activated, signed_codes, stored
from pocketlm.model.layers import packed
from pocketlm.model.operations import UNSEEN
from pocketlm.model.text_graph import Node
from pocketlm.model.weights import ProductWeight, ScaledWeight, SumWeight


def write_node(out: Writer, node: Node, module: nn.Module, given: Sequence[int]) -> int:
    """The result of one node."""
    return NODES[node.op](out, module, *given, **({"masked": True} if node.masked else {}))


def _embedding(out: Writer, layer: Any, ids: int) -> int:
    weight, graph = packed(layer).stored, out.graph
    shape = [*graph.shape(ids), weight.shape[1]]
    found = signed_codes(weight)
    if found is None:
        out.floats += 1
        return graph.add("GATHER", [graph.constant(weight.matrix().numpy()), ids], shape)
    out.integers += 1
    codes, scales = found
    if stored(weight) == "int4":
        flat = out.graph.add("RESHAPE", [ids, graph.ints(FREE)], [FREE], "INT32", newShape=[FREE])
        table = graph.constant(codes, "int4", scales)
        return out.reshaped(graph.add("EMBEDDING_LOOKUP", [flat, table], [FREE, shape[-1]]), shape)
    rows = graph.add("GATHER", [graph.constant(codes, "int8"), ids], shape, "INT8")
    kinds = graph.file.schema.TensorType
    values = graph.add("CAST", [rows], shape, inDataType=kinds.INT8, outDataType=kinds.FLOAT32)
    steps = graph.add("GATHER", [graph.constant(scales[:, None]), ids], [*shape[:-1], 1])
    return out.binary("MUL", values, steps)


def _activate(out: Writer, module: Any, x: int) -> int:
    return activated(out, module.kind, x)


def _merge(out: Writer, module: Any, *given: int) -> int:
    if module.kind == "concat":
        shape = out.graph.shape(given[0])
        axis = module.axis % len(shape)
        sizes = [out.graph.shape(one)[axis] for one in given]
        shape[axis] = FREE if FREE in sizes else sum(sizes)
        return out.graph.add("CONCATENATION", given, shape, axis=axis)
    op = {"multiply": "MUL", "subtract": "SUB", "maximum": "MAXIMUM", "minimum": "MINIMUM"}.get(module.kind, "ADD")
    joined = given[0]
    for other in given[1:]:
        joined = out.binary(op, joined, other)
    return out.scalar("MUL", joined, 1 / len(given)) if module.kind == "average" else joined


def _norm(out: Writer, module: Any, x: int) -> int:
    centred = out.binary("SUB", x, out.reduced("MEAN", x, -1, True))
    spread = out.reduced("MEAN", out.binary("MUL", centred, centred), -1, True)
    scale = out.unary("RSQRT", out.scalar("ADD", spread, module.eps))
    return _shifted(out, out.binary("MUL", centred, scale), module.weight, module.bias)


def _affine(out: Writer, module: Any, x: int) -> int:
    return _shifted(out, x, module.scale, module.shift)


def _shifted(out: Writer, x: int, scale: torch.Tensor, shift: torch.Tensor) -> int:
    scaled = out.binary("MUL", x, out.graph.constant(scale.detach().numpy()))
    return out.binary("ADD", scaled, out.graph.constant(shift.detach().numpy()))


def _constant(out: Writer, module: Any) -> int:
    return out.graph.constant(module.value.detach().numpy())


def _reshape(out: Writer, module: Any, x: int) -> int:
    return out.reshaped(x, [1, *module.shape])


def _flip(out: Writer, module: Any, x: int) -> int:
    return out.graph.add("REVERSE_V2", [x, out.graph.ints(1)], out.graph.shape(x))


def _bag(out: Writer, module: Any, ids: int) -> int:
    graph = out.graph
    rows = module.rows + 1
    given = [ids, graph.constant(rows, "int32"), graph.constant(1.0), graph.constant(0.0)]
    ones = graph.add("ONE_HOT", given, [*graph.shape(ids), rows], axis=-1)
    every = out.reduced("REDUCE_MAX" if module.mode == "multi-hot" else "SUM", ones, 1)
    return graph.add("SLICE", [every, graph.ints(0, 1), graph.ints(1, module.rows)], [1, module.rows])


def _pool(out: Writer, module: Any, x: int, masked: bool = False) -> int:
    if module.kind == "max":
        return out.reduced("REDUCE_MAX", x, 1)
    if not masked:
        return out.reduced("MEAN", x, 1)
    mask = out.place_mask()
    seen = out.binary("MUL", x, out.reshaped(mask, [*out.graph.shape(mask), 1]))
    count = out.scalar("MAXIMUM", out.reduced("SUM", mask, 1, True), 1.0)
    return out.binary("DIV", out.reduced("SUM", seen, 1), count)


def _window_pool(out: Writer, module: Any, x: int) -> int:
    _, places, width = out.graph.shape(x)
    op = "MAX_POOL_2D" if module.kind == "max" else "AVERAGE_POOL_2D"
    made = out.graph.add(
        op, [out.reshaped(x, [1, 1, places, width])],
        [1, 1, windows(places, module.size, module.stride, 1, module.padding), width], table="Pool2DOptions",
        padding=_padding(module.padding), strideW=module.stride, strideH=1, filterWidth=module.size, filterHeight=1,
    )  # fmt: skip
    return out.reshaped(made, [1, *out.graph.shape(made)[2:]])


def windows(places: int, size: int, stride: int, dilation: int, padding: str) -> int:
    """How many windows so many places have."""
    if places == FREE:
        return FREE
    return math.ceil((places if padding == "same" else places - dilation * (size - 1)) / stride)


def _padding(name: str) -> int:
    return {"same": 0, "valid": 1}[name]


def _convolution(out: Writer, module: Any, x: int) -> int:
    graph = out.graph
    layer: Any = packed(module.kernel)
    padding = module.padding
    if padding == "causal":
        reach = module.dilation * (module.size - 1)
        shape = graph.shape(x)
        grown = [1, FREE if shape[1] == FREE else shape[1] + reach, shape[2]]
        x, padding = graph.add("PAD", [x, graph.constant([[0, 0], [reach, 0], [0, 0]], "int32")], grown), "valid"
    _, places, width = graph.shape(x)
    if isinstance(layer.stored, (ProductWeight, SumWeight, ScaledWeight)):
        filters = out.graph.constant(layer.weight.numpy().reshape(-1, 1, module.size, width))
        out.floats += 1
    else:
        filters = out.matrix(layer.stored, [layer.stored.shape[0], 1, module.size, width])
    rows = layer.stored.shape[0]
    made = graph.add(
        "CONV_2D", [out.reshaped(x, [1, 1, places, width]), filters, out.bias(rows, layer.bias)],
        [1, 1, windows(places, module.size, module.stride, module.dilation, padding), rows], table="Conv2DOptions",
        padding=_padding(padding), strideW=module.stride, strideH=1, dilationWFactor=module.dilation, dilationHFactor=1,
    )  # fmt: skip
    return out.reshaped(made, [1, *graph.shape(made)[2:]])


def _attention(out: Writer, module: Any, query: int, value: int, key: int, masked: bool = False) -> int:
    heads = module.heads
    parts = [out.linear(layer, x) for layer, x in ((module.query, query), (module.value, value), (module.key, key))]
    q, v, k = (
        out.turned(out.reshaped(one, [1, out.graph.shape(one)[1], heads, size]), [0, 2, 1, 3])
        for one, size in zip(parts, (module.sizes[0], module.sizes[1], module.sizes[0]), strict=True)
    )
    places, others = out.graph.shape(q)[2], out.graph.shape(k)[2]
    if module.causal and FREE in (places, others):
        raise ModelError("attention to what came before needs a model that reads a fixed number of ids, in LiteRT")
    scores = out.graph.add(
        "BATCH_MATMUL", [q, k], [1, heads, places, others], "FLOAT32", table="BatchMatMulOptions", adjY=True
    )
    scores = out.scalar("MUL", scores, module.sizes[0] ** -0.5)
    if module.causal:
        scores = out.binary("ADD", scores, out.graph.constant(np.triu(np.full((places, others), UNSEEN), 1)))
    if masked:
        row = out.reshaped(out.place_mask(), [1, 1, 1, others])
        unseen = out.scalar("MUL", out.scalar("SUB", row, 1.0), -UNSEEN)
        scores = out.binary("ADD", scores, unseen)
    shares = out.unary("SOFTMAX", scores, beta=1.0)
    if masked:
        column = out.reshaped(out.place_mask(), [1, 1, places, 1])
        shares = out.binary("MUL", shares, column)
        if module.padding == "uniform":
            alike = out.unary("SOFTMAX", out.scalar("MUL", scores, 0.0), beta=1.0)
            nothing = out.binary("MUL", alike, out.scalar("MUL", out.scalar("SUB", column, 1.0), -1.0))
            shares = out.binary("ADD", shares, nothing)
    mixed = out.graph.add("BATCH_MATMUL", [shares, v], [1, heads, places, module.sizes[1]], table="BatchMatMulOptions")
    return out.linear(
        module.output, out.reshaped(out.turned(mixed, [0, 2, 1, 3]), [1, places, heads * module.sizes[1]])
    )


NODES: dict[str, Callable[..., int]] = {
    "embedding": _embedding,
    "linear": Writer.linear,
    "activate": _activate,
    "merge": _merge,
    "norm": _norm,
    "affine": _affine,
    "constant": _constant,
    "reshape": _reshape,
    "flip": _flip,
    "bag": _bag,
    "pool": _pool,
    "window-pool": _window_pool,
    "convolution": _convolution,
    "attention": _attention,
    "recurrent": recurrent,
}
