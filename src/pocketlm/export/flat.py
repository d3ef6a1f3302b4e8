"""A .tflite file as it is put together: tensors, constants and operators of LiteRT's published schema.

https://ai.google.dev/edge/litert and tensorflow/compiler/mlir/lite/schema/schema.fbs say what the fields mean. The
schema's classes come with the package ai-edge-litert.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pocketlm.errors import MissingExtraError

SCHEMA_VERSION, IDENTIFIER = 3, b"TFL3"
# Free numbers of places are written so, in shapes as in signatures.
FREE = -1


def schema() -> Any:
    """The schema's classes. Raises MissingExtraError where they are not there."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        raise MissingExtraError("LiteRT export", "keras") from None
    return schema_py_generated


KINDS = {"float32": "FLOAT32", "int32": "INT32", "int8": "INT8", "int4": "INT4"}


def _halved(codes: np.ndarray) -> np.ndarray:
    """Two 4-bit codes a byte, the first in its low half."""
    flat = np.append(codes.reshape(-1), np.zeros(codes.size % 2, np.int8)).astype(np.uint8) & 15
    return flat[::2] | flat[1::2] << 4


class File:
    """All graphs of one file: the main one, then conditions and bodies of loops."""

    def __init__(self) -> None:
        self.schema = schema()
        self.graphs: list[Graph] = []
        self.buffers: list[Any] = [self.schema.BufferT()]
        self.codes: dict[int, int] = {}

    def graph(self, name: str) -> Graph:
        """A new graph."""
        self.graphs.append(Graph(self, name, len(self.graphs)))
        return self.graphs[-1]

    def buffer(self, data: np.ndarray) -> int:
        """The number of a constant's bytes."""
        made = self.schema.BufferT()
        made.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        self.buffers.append(made)
        return len(self.buffers) - 1

    def code(self, name: str) -> int:
        """The number of an operator kind in this file."""
        builtin = int(getattr(self.schema.BuiltinOperator, name))
        return self.codes.setdefault(builtin, len(self.codes))

    def write(self, description: str) -> bytes:
        """The file's bytes."""
        import flatbuffers

        model = self.schema.ModelT()
        model.version, model.description, model.buffers = SCHEMA_VERSION, description, self.buffers
        model.operatorCodes = []
        for builtin in self.codes:
            made = self.schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = builtin, min(builtin, 127), 1
            model.operatorCodes.append(made)
        model.subgraphs = [one.packed() for one in self.graphs]
        model.signatureDefs = [self.graphs[0].signature()]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())


class Graph:
    """One graph. Values are numbers of its tensors; `shape` says what is known of each."""

    def __init__(self, file: File, name: str, number: int) -> None:
        self.file, self.name, self.number = file, name, number
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self._known: dict[tuple[Any, ...], int] = {}

    def tensor(self, shape: Sequence[int], kind: str = "FLOAT32", name: str = "", buffer: int = 0) -> int:
        """A new tensor."""
        made = self.file.schema.TensorT()
        made.shape = [1 if one == FREE else int(one) for one in shape]
        made.shapeSignature = [int(one) for one in shape] if FREE in shape else None
        made.type, made.buffer = int(getattr(self.file.schema.TensorType, kind)), buffer
        made.name = name or f"{self.name}.{len(self.tensors)}"
        self.tensors.append(made)
        return len(self.tensors) - 1

    def shape(self, value: int) -> list[int]:
        """The shape of a tensor, with FREE for what may change."""
        made = self.tensors[value]
        return list(made.shape if made.shapeSignature is None else made.shapeSignature)

    def constant(self, array: Any, dtype: str = "float32", scales: np.ndarray | None = None) -> int:
        """A constant of a type of KINDS, with a scale for each of its first axis where it is of codes."""
        data = np.asarray(array, "int8" if dtype == "int4" else dtype)
        key = (data.tobytes(), data.shape, dtype, None if scales is None else scales.tobytes())
        if key not in self._known:
            buffer = self.file.buffer(_halved(data) if dtype == "int4" else data)
            made = self.tensor(data.shape, KINDS[dtype], buffer=buffer)
            if scales is not None:
                quantization = self.file.schema.QuantizationParametersT()
                quantization.scale, quantization.zeroPoint = scales.astype(np.float32), np.zeros(len(scales), np.int64)
                quantization.quantizedDimension = 0
                self.tensors[made].quantization = quantization
            self._known[key] = made
        return self._known[key]

    def ints(self, *values: int) -> int:
        """A constant list of whole numbers, such as axes."""
        return self.constant(values, "int32")

    def add(
        self, op: str, inputs: Sequence[int], shape: Sequence[int], kind: str = "FLOAT32", **options: Any
    ) -> int:  # fmt: skip
        """The result of a new operator. options: fields of its options, with `table` naming them where need be."""
        made = self.tensor(shape, kind)
        self.operator(op, inputs, [made], **options)
        return made

    def operator(self, op: str, inputs: Sequence[int], outputs: Sequence[int], table: str = "", **options: Any) -> None:
        """A new operator."""
        made = self.file.schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = self.file.code(op), list(inputs), list(outputs)
        table = table or "".join(part.capitalize() for part in op.split("_")) + "Options"
        if hasattr(self.file.schema, f"{table}T"):
            made.builtinOptions = getattr(self.file.schema, f"{table}T")()
            made.builtinOptionsType = getattr(self.file.schema.BuiltinOptions, table)
            for name, value in options.items():
                assert hasattr(made.builtinOptions, name), f"{table} has no {name}"
                setattr(made.builtinOptions, name, value)
        else:
            assert not options, f"there is no {table}"
        self.operators.append(made)

    def packed(self) -> Any:
        """As the schema has it."""
        made = self.file.schema.SubGraphT()
        made.tensors, made.operators, made.name = self.tensors, self.operators, self.name
        made.inputs, made.outputs = self.inputs, self.outputs
        return made

    def signature(self) -> Any:
        """What the graph reads and says, by name."""
        made = self.file.schema.SignatureDefT()
        made.signatureKey, made.subgraphIndex = "serving_default", self.number
        for side in ("inputs", "outputs"):
            found = []
            for value in getattr(self, side):
                one = self.file.schema.TensorMapT()
                one.name, one.tensorIndex = self.tensors[value].name, value
                found.append(one)
            setattr(made, side, found)
        return made
