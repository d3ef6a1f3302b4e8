"""A graph as it is drawn: its inputs, outputs, and the few kinds of nodes that models which write text are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from torch import Tensor

from pocketlm.errors import ModelError
from pocketlm.export.forms import NBITS, Forms, opsets
from pocketlm.export.onnx import OPSET
from pocketlm.export.stands import layer_nodes
from pocketlm.model.layers import PackedEmbedding, PackedLinear, packed

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
# Activations by their names in configs: node, domain, attributes.
ACTIVATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "silu": ("QuickGelu", NBITS, {"alpha": 1.0}),
    "swish": ("QuickGelu", NBITS, {"alpha": 1.0}),
    "quick_gelu": ("QuickGelu", NBITS, {"alpha": 1.702}),
    "gelu": ("Gelu", "", {}),
    "gelu_new": ("Gelu", "", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", "", {"approximate": "tanh"}),
    "relu": ("Relu", "", {}),
}
# Inputs of products with 4- and 8-bit weights are rounded to 8 bits a block, which is thrice as fast as float.
INTEGER_INPUTS = 4


class Graph:
    """Nodes in the order they run. rounded: whether inputs of products with few bits are rounded to 8 bits, too."""

    def __init__(self, rounded: bool = True) -> None:
        self.forms = Forms(accuracy_level=INTEGER_INPUTS if rounded else 1)
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._plain: dict[int, Any] = {}

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        """A new input of the graph."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def output(self, name: str, value: str, kind: int, shape: Sequence[int | str]) -> None:
        """A value of the graph under a name outside."""
        self.forms.nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The output of a new node."""
        return self.forms.node(kind, inputs, domain, **attributes)

    def nodes(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> list[str]:
        """Outputs of a new node of onnxruntime's own; those called "" are not made."""
        self.forms.nodes.append(helper.make_node(kind, list(inputs), list(outputs), domain=NBITS, **attributes))
        return list(outputs)

    def whole(self, *values: int) -> str:
        """A constant list of whole numbers."""
        return self.forms.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A constant without dimensions, float32 or int64 as its type is."""
        return self.forms.constant(torch.tensor(value))

    def span(self, ids: str) -> str:
        """How many tokens `ids` (rows, tokens) has, without dimensions."""
        return self.node("Squeeze", self.node("Shape", ids, start=1, end=2))

    def vector(self, values: Tensor) -> str:
        """A constant of floats that any number of nodes may read, float16 in the file where that loses nothing."""
        return self.forms.once(values, "floats", lambda: self.forms.floats(values.detach().float()))

    def reshape(self, x: str, *shape: int) -> str:
        """Another shape: 0 keeps a dimension, -1 is whatever is left."""
        return self.node("Reshape", x, self.whole(*shape))

    def linear(self, layer: Any, x: str) -> str:
        """X Wᵀ + b, whatever form the weight has."""
        return layer_nodes(self.forms, self._owner(layer), x)

    def rows(self, layer: Any, ids: str) -> str:
        """Rows of an embedding, or of a head, for token ids of any shape."""
        return self.forms.rows(self._owner(layer).stored, ids)

    def _owner(self, layer: Any) -> PackedLinear | PackedEmbedding:
        """The layer, packed: plain layers that share a matrix share its packed form, too."""
        owner = packed(layer)
        if owner is not layer:
            owner.stored = self._plain.setdefault(id(layer.weight), owner.stored)
        return owner

    def rms(self, norm: Any, x: str) -> str:
        """X over its root mean square, times the norm's weight."""
        return self.node(
            "SimplifiedLayerNormalization", x, self.vector(norm.weight), axis=-1, epsilon=_epsilon(norm), stash_type=1
        )

    def layer_norm(self, norm: Any, x: str) -> str:
        """X less its mean, over its deviation, times the norm's weight, plus its bias."""
        weights = self.vector(norm.weight), self.vector(norm.bias)
        return self.node("LayerNormalization", x, *weights, axis=-1, epsilon=_epsilon(norm))

    def added_rms(self, norm: Any, x: str, more: str) -> tuple[str, str]:
        """The norm of x + more, and x + more."""
        names = [f"{more}.normed", "", "", f"{more}.added"]
        weight = self.vector(norm.weight)
        self.nodes("SkipSimplifiedLayerNormalization", [x, more, weight], names, epsilon=_epsilon(norm))
        return names[0], names[3]

    def added_layer_norm(self, norm: Any, x: str, more: str) -> tuple[str, str]:
        """The norm of x + more, and x + more."""
        names = [f"{more}.normed", "", "", f"{more}.added"]
        weights = [self.vector(norm.weight), self.vector(norm.bias)]
        self.nodes("SkipLayerNormalization", [x, more, *weights], names, epsilon=_epsilon(norm))
        return names[0], names[3]

    def activation(self, name: str, x: str) -> str:
        """An activation by its name in configs. Raises ModelError for one that is not known."""
        if name not in ACTIVATIONS:
            raise ModelError(f"activation {name!r} cannot be drawn; there is {', '.join(ACTIVATIONS)}")
        kind, domain, attributes = ACTIVATIONS[name]
        return self.node(kind, x, domain=domain, **attributes)

    def model(self) -> ModelProto:
        """The graph as it is now."""
        graph = helper.make_graph(
            self.forms.nodes, "pocketlm", self._inputs, self._outputs, list(self.forms.constants.values())
        )
        made: ModelProto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET), *opsets()], ir_version=10, producer_name="pocketlm"
        )
        return made


def _epsilon(norm: Any) -> float:
    """What a norm adds before it divides; families call it differently."""
    return float(next(getattr(norm, name) for name in ("variance_epsilon", "eps") if hasattr(norm, name)))
