"""Write a module as an ONNX graph: traced, cleaned, its tables stored with few bits.

Tables and matrices that stay float are stored as float16, or as int8 with a scale a row, and become float32
again when the runtime folds the constants at load: fewer bytes, the same speed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pocketlm.model.task_model import TaskModel
from pocketlm.runtime.inputs import PieceInputs, Text
from pocketlm.runtime.packed import quantize_rows
from pocketlm.runtime.question import Question
from pocketlm.runtime.windows import QuestionInputs
from pocketlm.train.lesson import tensors

OPSET = 20
# Smaller initializers are biases, norms and shape constants: not worth a node each.
SMALL = 1024


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's notices about itself kept away."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


def trace(model: TaskModel) -> ModelProto:
    """The module as a float32 graph with free numbers of texts, pieces and words; names as in `inputs.collate`."""
    inputs = model.inputs
    assert isinstance(inputs, (PieceInputs, QuestionInputs))
    sample: list[Text] = ["turn on the light", "stop"]
    if isinstance(inputs, QuestionInputs):
        sample = [Question("turn", "the light"), Question("on", "the light is here")]
    elif inputs.tagging:
        sample = [["turn", "on", "the", "light"], ["stop"]]
    arrays = tensors(inputs.collate(inputs.encode(sample)))
    texts, pieces = (
        torch.export.Dim("texts", min=1, max=2**16),
        torch.export.Dim("pieces", min=2, max=inputs.max_length),
    )
    dynamic = {name: {0: texts, 1: pieces} for name in arrays}
    if inputs.tagging:
        dynamic["word_index"] = {0: torch.export.Dim("words", min=1, max=2**20)}
    with _quiet():
        program = torch.onnx.export(
            model.module.eval(),
            (),
            kwargs=arrays,
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=list(arrays),
            output_names=[output.name for output in model.spec.outputs],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return clean(program.model_proto)


def clean(graph: ModelProto) -> ModelProto:
    """The graph without the exporter's notes on where each node came from."""
    for node in graph.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    graph.graph.ClearField("value_info")
    for holder in (graph, graph.graph):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    for value in [*graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    return graph


def store_tables(graph: ModelProto, bits: int) -> ModelProto:
    """Embedding tables (constants that Gather reads rows of) as int8 rows with a scale each; bits: 8 or less."""
    constants = {one.name: one for one in graph.graph.initializer}
    for node in list(graph.graph.node):
        if node.op_type != "Gather" or node.input[0] not in constants:
            continue
        table = numpy_helper.to_array(constants[node.input[0]])
        if table.ndim == 2 and table.dtype == np.float32 and table.size > SMALL:
            _gather_int8(graph, node, table, min(bits, 8))
    return _drop_unused(graph)


def _gather_int8(graph: ModelProto, node: onnx.NodeProto, table: np.ndarray, bits: int) -> None:
    integers, scales = quantize_rows(table, bits)
    name, out = node.input[0], node.output[0]
    graph.graph.initializer.extend(
        [
            numpy_helper.from_array(integers, f"{name}.integers"),
            numpy_helper.from_array(scales[:, None].astype(np.float32), f"{name}.scales"),
        ]
    )
    place = list(graph.graph.node).index(node)
    graph.graph.node.remove(node)
    new = [
        helper.make_node("Gather", [f"{name}.integers", node.input[1]], [f"{out}.integers"]),
        helper.make_node("Gather", [f"{name}.scales", node.input[1]], [f"{out}.scales"]),
        helper.make_node("Cast", [f"{out}.integers"], [f"{out}.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{out}.float", f"{out}.scales"], [out]),
    ]
    for shift, one in enumerate(new):
        graph.graph.node.insert(place + shift, one)


def store_floats(graph: ModelProto, bits: int) -> ModelProto:
    """Float32 constants stored with fewer bits: 16, or 8 for matrices (a scale a column, as MatMul reads them)."""
    for constant in list(graph.graph.initializer):
        if constant.data_type != TensorProto.FLOAT:
            continue
        array = numpy_helper.to_array(constant)
        if array.size <= SMALL:
            continue
        graph.graph.initializer.remove(constant)
        if bits == 8 and array.ndim == 2:
            _fold_int8(graph, constant.name, array)
        else:
            half = numpy_helper.from_array(array.astype(np.float16), f"{constant.name}.half")
            graph.graph.initializer.append(half)
            cast = helper.make_node("Cast", [half.name], [constant.name], to=TensorProto.FLOAT)
            graph.graph.node.insert(0, cast)
    return graph


def _fold_int8(graph: ModelProto, name: str, array: np.ndarray) -> None:
    integers, scales = quantize_rows(np.ascontiguousarray(array.T), 8)
    graph.graph.initializer.extend(
        [
            numpy_helper.from_array(np.ascontiguousarray(integers.T), f"{name}.integers"),
            numpy_helper.from_array(scales[None].astype(np.float32), f"{name}.scales"),
        ]
    )
    graph.graph.node.insert(0, helper.make_node("Mul", [f"{name}.float", f"{name}.scales"], [name]))
    cast = helper.make_node("Cast", [f"{name}.integers"], [f"{name}.float"], to=TensorProto.FLOAT)
    graph.graph.node.insert(0, cast)


def _drop_unused(graph: ModelProto) -> ModelProto:
    read = {name for node in graph.graph.node for name in node.input}
    for constant in list(graph.graph.initializer):
        if constant.name not in read:
            graph.graph.initializer.remove(constant)
    return graph


def to_bytes(graph: ModelProto) -> bytes:
    """The same bytes for the same graph."""
    onnx.checker.check_model(graph)
    data: bytes = graph.SerializeToString(deterministic=True)
    return data
