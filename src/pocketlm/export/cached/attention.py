"""Attention over a cache that the runtime keeps: past keys and values come in and go out as the same memory."""

from __future__ import annotations

from dataclasses import dataclass

from pocketlm.export.cached.graph import FLOAT, INT32, INT64, Graph
from pocketlm.export.forms import NBITS

# Heads whose width is a multiple of it are rotated by attention itself.
ROTATED = 16


@dataclass(frozen=True)
class Heads:
    """queries, keys: how many heads of each there are. size: features of one. scale: what scores are multiplied by.

    window: how many of the last tokens, itself included, a token sees; 0: all.
    """

    queries: int
    keys: int
    size: int
    scale: float
    window: int = 0


@dataclass(frozen=True)
class Places:
    """What attention is told of where tokens are.

    cosines, sines: of rotated positions, "" without. positions: of tokens, (rows, tokens), where they are needed.
    bias: added to scores, (1, heads, tokens, total), "" without.
    """

    lasts: str
    total: str
    cosines: str = ""
    sines: str = ""
    positions: str = ""
    bias: str = ""


def token_inputs(graph: Graph) -> Places:
    """Inputs of every decoder: input_ids (rows, tokens), lasts (rows,), the place of each row's last token, and total.

    total: the longest row's tokens, past ones included.
    """
    graph.input("input_ids", INT64, ["rows", "tokens"])
    return Places(graph.input("lasts", INT32, ["rows"]), graph.input("total", INT32, []))


def self_attention(graph: Graph, number: int, heads: Heads, qkv: tuple[str, str, str], places: Places) -> str:
    """What block `number` attends to: (rows, tokens, heads · size); its cache is past_… and present_… of the graph."""
    shape: list[int | str] = ["rows", heads.keys, "room", heads.size]
    pasts = [graph.input(f"past_{kind}.{number}", FLOAT, shape) for kind in ("key", "value")]
    names = [f"attended.{number}", f"made_key.{number}", f"made_value.{number}"]
    inputs = [*qkv, *pasts, places.lasts, places.total]
    turned = bool(places.cosines) and not places.positions
    if places.positions:
        inputs[:2] = [
            _turned(graph, one, count, places) for one, count in zip(qkv, (heads.queries, heads.keys), strict=False)
        ]
    elif turned:
        inputs += [places.cosines, places.sines]
    elif places.bias:
        inputs += ["", "", "", places.bias]
    graph.nodes(
        "GroupQueryAttention", inputs, names, num_heads=heads.queries, kv_num_heads=heads.keys, scale=heads.scale,
        do_rotary=int(turned), local_window_size=heads.window or -1,
    )  # fmt: skip
    for name, kind in zip(names[1:], ("key", "value"), strict=True):
        graph.output(f"present_{kind}.{number}", name, FLOAT, shape)
    return names[0]


def _turned(graph: Graph, x: str, heads: int, places: Places) -> str:
    """Queries or keys rotated by a node of their own, for heads of a width that attention itself does not rotate."""
    return graph.node(
        "RotaryEmbedding", x, places.positions, places.cosines, places.sines, domain=NBITS, num_heads=heads
    )


def read_out(graph: Graph, hidden: str, width: int) -> str:
    """States of the places asked for: `picks` (answers,) are places in the flattened (rows, tokens)."""
    return graph.node("Gather", graph.reshape(hidden, -1, width), graph.input("picks", INT64, ["answers"]))


def full_attention(graph: Graph, heads: Heads, qkv: tuple[str, str, str], mask: str, bias: str = "") -> str:
    """Attention of every query to every key that mask (texts, tokens) does not hide: (texts, queries, heads · size).

    Keys and values are (texts, tokens, heads · size), or (texts, heads, tokens, size).
    """
    inputs = [*qkv, "", mask, *([bias] if bias else [])]
    return graph.node(
        "MultiHeadAttention", *inputs, domain=NBITS, num_heads=heads.queries, scale=heads.scale,
        mask_filter_value=-3.4028234663852886e38,
    )  # fmt: skip
