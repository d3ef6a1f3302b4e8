"""Encoder-decoders, T5's kind and Marian's and BART's: a graph for the source, read once, and one for the target.

The encoder's graph puts out keys and values that every block of the decoder reads, (texts, heads, tokens, size). Rows
of the target may be more than texts: the beams of a text are neighbours, and share its keys and values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from pocketlm.errors import ModelError
from pocketlm.export.cached.attention import Heads, Places, full_attention, read_out, token_inputs
from pocketlm.export.cached.graph import FLOAT, INT32, INT64, Graph
from pocketlm.export.cached.marian import MarianBody
from pocketlm.export.cached.t5 import T5Body

BODIES: dict[str, Any] = {"t5": T5Body, "mt5": T5Body, "marian": MarianBody, "bart": MarianBody}


@dataclass(frozen=True)
class Drawn:
    """Graphs of an encoder-decoder. caches: heads and features of a head, of every block of the decoder.

    short: the decoder with a head of given columns. columns: of token ids, those columns.
    """

    encoder: Graph
    decoder: Graph
    short: Graph
    columns: Graph
    caches: list[tuple[int, int]]


def draw_encoder_decoder(module: Any, rounded: bool = True) -> Drawn:
    """Draw all graphs of an encoder-decoder. Raises ModelError for a type that is not known here."""
    kind = module.config.model_type
    if kind not in BODIES:
        raise ModelError(f"model type {kind!r} cannot be drawn with a cache; there is {', '.join(BODIES)}")
    body = BODIES[kind](module)
    decoder, short = Graph(rounded), Graph(rounded)
    caches: list[tuple[int, int]] = []
    for graph in (decoder, short):
        states, caches = _decoder(body, graph)
        words = int(body.head.out_features)
        if graph is decoder:
            logits = graph.linear(body.head, states)
            if body.head_bias is not None:
                logits = graph.node("Add", logits, graph.vector(body.head_bias))
            graph.output("logits", logits, FLOAT, ["answers", words])
        else:
            found = graph.node("MatMul", states, graph.input("columns", FLOAT, [body.width, "chosen"]))
            found = graph.node("Add", found, graph.input("bias", FLOAT, ["chosen"]))
            graph.output("logits", found, FLOAT, ["answers", "chosen"])
    return Drawn(_encoder(body, Graph(rounded)), decoder, short, _columns(body, Graph(rounded)), caches)


def _encoder(body: Any, graph: Graph) -> Graph:
    graph.input("input_ids", INT64, ["texts", "source"])
    mask = graph.input("source_mask", INT32, ["texts", "source"])
    hidden = body.encode(graph, mask)
    for number, layers in enumerate(body.crossed):
        heads = body.cross_heads(number)
        for kind, layer in zip(("key", "value"), layers, strict=True):
            split = graph.reshape(graph.linear(layer, hidden), 0, 0, heads.queries, heads.size)
            shape = ["texts", heads.queries, "source", heads.size]
            graph.output(f"cross_{kind}.{number}", graph.node("Transpose", split, perm=[0, 2, 1, 3]), FLOAT, shape)
    return graph


def _decoder(body: Any, graph: Graph) -> tuple[str, list[tuple[int, int]]]:
    places = token_inputs(graph)
    mask = graph.input("source_mask", INT32, ["texts", "source"])
    positions = token_places(graph, places)
    hidden, caches = body.decode(graph, places, positions, lambda number, x: _cross(body, graph, number, x, mask))
    return read_out(graph, hidden, body.width), caches


def token_places(graph: Graph, places: Places) -> str:
    """The place of every token of this run, (tokens,), int64: all rows of a target are equally long."""
    total = graph.node("Cast", places.total, to=INT64)
    count = graph.span("input_ids")
    one = graph.number(1)
    return graph.node("Range", graph.node("Sub", total, count), total, one)


def _cross(body: Any, graph: Graph, number: int, x: str, mask: str) -> str:
    """What rows of the target, beams of a text together, attend to in its source: (rows, tokens, heads · size)."""
    heads: Heads = body.cross_heads(number)
    shape: list[int | str] = ["texts", heads.queries, "source", heads.size]
    keys, values = (graph.input(f"cross_{kind}.{number}", FLOAT, shape) for kind in ("key", "value"))
    queries = graph.linear(body.cross_query(number), x)
    texts = graph.node("Shape", keys, start=0, end=1)
    together = graph.node("Concat", texts, graph.whole(-1, heads.queries * heads.size), axis=0)
    folded = graph.node("Reshape", queries, together)
    attended = full_attention(graph, heads, (folded, keys, values), mask)
    return graph.node("Reshape", attended, graph.node("Shape", queries))


def _columns(body: Any, graph: Graph) -> Graph:
    """From ids of chosen tokens to the head's columns for them, (width, chosen), and their biases."""
    ids = graph.input("chosen_ids", INT64, ["chosen"])
    rows = graph.rows(body.head, ids)
    graph.output("columns", graph.node("Transpose", rows, perm=[1, 0]), FLOAT, [body.width, "chosen"])
    bias = body.head_bias if body.head_bias is not None else torch.zeros(int(body.head.out_features))
    graph.output("bias", graph.node("Gather", graph.vector(bias), ids), FLOAT, ["chosen"])
    return graph
