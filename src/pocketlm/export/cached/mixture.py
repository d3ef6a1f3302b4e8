"""A mixture of experts: every expert reads the tokens that are routed to it and no others."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, helper

from pocketlm.export.cached.graph import Graph


def mixture(block: Any, config: Any, graph: Graph, x: str) -> str:
    """What the experts make of x (rows, tokens, width), weighted by the router."""
    width = config.hidden_size
    flat = graph.reshape(x, -1, width)
    weights, routes = _routed(block, graph, flat)
    total = graph.node("Mul", flat, graph.number(0.0))
    for number, expert in enumerate(block.experts):
        total = _expert(expert, config.hidden_act, graph, (flat, total), _share(graph, weights, routes, number))
    if hasattr(block, "shared_expert"):
        shared = gated(block.shared_expert, config.hidden_act, graph, flat)
        open_ = graph.node("Sigmoid", graph.linear(block.shared_expert_gate, flat))
        total = graph.node("Add", total, graph.node("Mul", open_, shared))
    return graph.node("Reshape", total, graph.node("Shape", x))


def _routed(block: Any, graph: Graph, flat: str) -> tuple[str, str]:
    """Weights and numbers of the experts each token is routed to, (tokens, top_k) each."""
    router, mapping = block.gate, block.experts.mapping
    chances = graph.node("Softmax", graph.linear(router.proj, flat), axis=-1)
    weights, routes = f"{chances}.weights", f"{chances}.routes"
    graph.forms.nodes.append(helper.make_node("TopK", [chances, graph.whole(router.top_k)], [weights, routes], axis=-1))
    if router.normalize:
        whole = graph.node("ReduceSum", weights, graph.whole(-1), keepdims=1)
        weights = graph.node("Div", weights, whole)
    if mapping is not None:
        routes = graph.node("Gather", graph.whole(*mapping), routes)
    return weights, routes


def _share(graph: Graph, weights: str, routes: str, number: int) -> str:
    """The weight that expert `number` has for each token: (tokens,)."""
    mine = graph.node("Equal", routes, graph.number(number))
    return graph.node(
        "ReduceSum", graph.node("Mul", weights, graph.node("Cast", mine, to=TensorProto.FLOAT)), graph.whole(-1),
        keepdims=0,
    )  # fmt: skip


def _expert(expert: Any, activation: str, graph: Graph, tokens: tuple[str, str], share: str) -> str:
    """The total with the weighted answers of one expert to its tokens."""
    flat, total = tokens
    places = graph.node("Transpose", graph.node("NonZero", share), perm=[1, 0])
    read = graph.node("GatherND", flat, places)
    weights = graph.node("Unsqueeze", graph.node("GatherND", share, places), graph.whole(1))
    made = graph.node("Mul", gated(expert, activation, graph, read), weights)
    return graph.node("ScatterND", total, places, made, reduction="add")


def gated(mlp: Any, activation: str, graph: Graph, x: str) -> str:
    """down(act(gate(x)) · up(x))."""
    gate = graph.activation(activation, graph.linear(mlp.gate_proj, x))
    return graph.linear(mlp.down_proj, graph.node("Mul", gate, graph.linear(mlp.up_proj, x)))
