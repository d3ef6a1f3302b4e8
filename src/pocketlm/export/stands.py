"""What stands in a module's place while it is traced, and the nodes that come in its place afterwards.

Every linear layer and embedding is one node of the traced graph, and so are all experts of a block together: which of
them run depends on the tokens, and a trace of each would take minutes. The nodes that replace an expert's run it on the
tokens routed to it only, as torch does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn
from transformers import activations

from pocketlm.errors import ModelError
from pocketlm.export.forms import Forms, opsets
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.experts import RoutedExperts
from pocketlm.model.layers import PackedEmbedding, PackedLinear, packed
from pocketlm.model.pretrained import Model

DOMAIN = "pocketlm"


@dataclass(frozen=True)
class Mixture:
    """The experts of a block. gated: gate, up and down of each. mapping: of every route its expert, as theirs."""

    gated: tuple[tuple[PackedLinear, PackedLinear, PackedLinear], ...]
    activation: nn.Module
    mapping: list[int] | None


Part = PackedLinear | PackedEmbedding | Mixture


class _LayerStand(nn.Module):
    """In a layer's place: one node that says which layer it is."""

    def __init__(self, number: int, layer: PackedLinear | PackedEmbedding) -> None:
        super().__init__()
        self.number, self.kind = number, "Rows" if isinstance(layer, PackedEmbedding) else "Linear"
        rows, columns = layer.stored.shape
        self.width = columns if self.kind == "Rows" else rows
        self.out_features, self.in_features = self.num_embeddings, self.embedding_dim = rows, columns
        self.padding_idx = getattr(layer, "padding_idx", None)
        self.weight, self.bias = torch.empty(0), None

    def forward(self, inputs: Tensor) -> Tensor:
        """One node."""
        shape = (*inputs.shape, self.width) if self.kind == "Rows" else (*inputs.shape[:-1], self.width)
        return _node(self.kind, self.number, (inputs,), shape)


class _MixtureStand(nn.Module):
    """In the place of a block's experts: one node that reads tokens, their routes and the weights of these."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """One node."""
        given = (hidden_states, top_k_index, top_k_weights)
        return _node("Experts", self.number, given, tuple(hidden_states.shape))


def _node(kind: str, number: int, inputs: tuple[Tensor, ...], shape: Sequence[int | torch.SymInt]) -> Tensor:
    made: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{kind}", inputs, {"number": number}, dtype=torch.float32, shape=shape, version=1
    )
    return made


def stood_in(model: Model) -> tuple[nn.Module, list[Part]]:
    """The module with a stand in every part's place, and the parts; the model itself stays as it is.

    Raises ModelError for experts whose activation is not known here.
    """
    kept: dict[int, nn.Module] = {}
    parts: list[Part] = []
    for name, child in model.module.named_modules():
        if isinstance(child, RoutedExperts):
            kept[id(child)] = _MixtureStand(len(parts))
            parts.append(_mixture(name, child))
    for info in model.layers:
        layer = packed(model.module.get_submodule(info.name))
        kept[id(model.module.get_submodule(info.name))] = _LayerStand(len(parts), layer)
        parts.append(layer)
    return copy.deepcopy(model.module, kept), parts  # type: ignore[arg-type]


def _mixture(name: str, experts: RoutedExperts) -> Mixture:
    activation = experts[0].act_fn
    if not isinstance(activation, tuple(_ACTIVATIONS)):
        known = ", ".join(sorted(one.__name__ for one in _ACTIVATIONS))
        raise ModelError(
            f"{name}: experts with the activation {type(activation).__name__} cannot be written as ONNX; "
            f"those with {known} can"
        )
    gated = tuple((packed(one.gate_proj), packed(one.up_proj), packed(one.down_proj)) for one in experts)
    return Mixture(gated, activation, experts.mapping)  # type: ignore[arg-type]


def fill(traced: ModelProto, parts: Sequence[Part], plain: bool) -> tuple[ModelProto, Forms]:
    """The graph with every stand replaced by its part's nodes, and what made them."""
    graph = ModelProto()
    graph.CopyFrom(traced)
    forms, nodes = Forms(plain), []
    for node in traced.graph.node:
        if node.domain != DOMAIN:
            nodes.append(node)
            continue
        before = len(forms.nodes)
        part = parts[node.attribute[0].i]
        found = (
            _mixed(forms, part, *node.input) if isinstance(part, Mixture) else layer_nodes(forms, part, node.input[0])
        )
        forms.nodes.append(onnx.helper.make_node("Identity", [found], list(node.output)))
        nodes += forms.nodes[before:]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(forms.constants.values())
    kept = [one for one in graph.opset_import if one.domain != DOMAIN]
    del graph.opset_import[:]
    graph.opset_import.extend([*kept, *opsets()])
    return graph, forms


def layer_nodes(forms: Forms, layer: PackedLinear | PackedEmbedding, x: str) -> str:
    """What a layer makes of x, or rows of an embedding for token ids, as new nodes of `forms`."""
    if isinstance(layer, PackedEmbedding):
        return forms.rows(layer.stored, x)
    if layer.rounding is None or forms.plain:
        out = forms.times(layer.stored, x)
    elif _whole_numbers(layer.stored):
        out = forms.integer(layer.stored, layer.rounding, x)
    else:
        out = forms.times(layer.stored, forms.rounded(layer.rounding, x))
    return out if layer.bias is None else forms.node("Add", [out, forms.floats(layer.bias)])


def _whole_numbers(weight: nn.Module) -> bool:
    """Whether a product with rounded inputs can be summed as whole numbers: signed codes, one scale a row."""
    return isinstance(weight, GridWeight) and weight.zeros is None and weight.scales.shape[1] == 1


def _mixed(forms: Forms, mixture: Mixture, hidden: str, routes: str, weights: str) -> str:
    """The weighted sum of the experts' outputs: (tokens, width), as `RoutedExperts.forward` has it."""
    if mixture.mapping is not None:
        routes = forms.node("Gather", [forms.constant(np.array(mixture.mapping, np.int64)), routes])
    last = forms.constant(np.array([-1], np.int64))
    total = forms.node("ConstantOfShape", [forms.node("Shape", [hidden])])
    for number, (gate, up, down) in enumerate(mixture.gated):
        chosen = forms.node("Equal", [routes, forms.constant(np.array(number, np.int64))])
        taken = forms.node("Cast", [chosen], to=TensorProto.FLOAT)
        places = forms.node("NonZero", [forms.node("ReduceMax", [taken, last], keepdims=0)])
        tokens = forms.node("Squeeze", [places, forms.constant(np.array([0], np.int64))])
        share = forms.node("ReduceSum", [forms.node("Mul", [weights, taken]), last], keepdims=1)
        x = forms.node("Gather", [hidden, tokens])
        opened = _activated(forms, mixture.activation, layer_nodes(forms, gate, x))
        out = layer_nodes(forms, down, forms.node("Mul", [opened, layer_nodes(forms, up, x)]))
        out = forms.node("Mul", [out, forms.node("Gather", [share, tokens])])
        indices = forms.node("Transpose", [places], perm=[1, 0])
        total = forms.node("ScatterND", [total, indices, out], reduction="add")
    return total


def _silu(forms: Forms, x: str) -> str:
    return forms.node("Mul", [x, forms.node("Sigmoid", [x])])


def _gelu_tanh(forms: Forms, x: str) -> str:
    return forms.node("Gelu", [x], approximate="tanh")


_ACTIVATIONS: dict[type[nn.Module], Callable[[Forms, str], str]] = {
    nn.SiLU: _silu,
    activations.SiLUActivation: _silu,
    nn.ReLU: lambda forms, x: forms.node("Relu", [x]),
    activations.GELUActivation: lambda forms, x: forms.node("Gelu", [x]),
    activations.GELUTanh: _gelu_tanh,
    activations.NewGELUActivation: _gelu_tanh,
}


def _activated(forms: Forms, activation: nn.Module, x: str) -> str:
    make = next(made for kind, made in _ACTIVATIONS.items() if isinstance(activation, kind))
    return make(forms, x)
