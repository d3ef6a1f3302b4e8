"""T5's blocks: norms before, no scaling of scores, biases by the distance of two tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pocketlm.export.cached.attention import Heads, Places, full_attention, self_attention
from pocketlm.export.cached.graph import INT64, Graph


class T5Body:
    """Layers of a T5 as its graphs need them. width: of a state. crossed: keys' and values' layers of every block."""

    def __init__(self, module: Any) -> None:
        self.module, self.config = module, module.config
        self.width, self.head, self.head_bias = int(module.config.d_model), module.lm_head, None
        self.crossed = [
            (one.layer[1].EncDecAttention.k, one.layer[1].EncDecAttention.v) for one in module.decoder.block
        ]

    def cross_heads(self, number: int) -> Heads:
        """Heads with which block `number` reads the source."""
        return _heads(self.module.decoder.block[number].layer[1].EncDecAttention)

    def cross_query(self, number: int) -> Any:
        """The layer of its queries."""
        return self.module.decoder.block[number].layer[1].EncDecAttention.q

    def encode(self, graph: Graph, mask: str) -> str:
        """States of the source: (texts, source, width)."""
        stack = self.module.encoder
        hidden = graph.rows(stack.embed_tokens, "input_ids")
        length = graph.span("input_ids")
        zero, one = graph.number(0), graph.number(1)
        places = graph.node("Range", zero, length, one)
        bias = distance_bias(graph, stack.block[0].layer[0].SelfAttention, (places, places))
        normed = graph.rms(stack.block[0].layer[0].layer_norm, hidden)
        for number, block in enumerate(stack.block):
            attention, second = block.layer[0].SelfAttention, block.layer[1]
            qkv = tuple(graph.linear(getattr(attention, name), normed) for name in "qkv")
            attended = full_attention(graph, _heads(attention), qkv, mask, bias)  # type: ignore[arg-type]
            normed, hidden = graph.added_rms(second.layer_norm, hidden, graph.linear(attention.o, attended))
            after = _after(stack, number)
            normed, hidden = graph.added_rms(after, hidden, self._wide(graph, second.DenseReluDense, normed))
        return normed

    def decode(
        self, graph: Graph, places: Places, positions: str, cross: Callable[[int, str], str]
    ) -> tuple[str, list[tuple[int, int]]]:
        """States of the target, as the head reads them, and the shapes of caches."""
        stack, caches = self.module.decoder, []
        hidden = graph.rows(stack.embed_tokens, "input_ids")
        zero, one = graph.number(0), graph.number(1)
        keys = graph.node("Range", zero, graph.node("Cast", places.total, to=INT64), one)
        bias = distance_bias(graph, stack.block[0].layer[0].SelfAttention, (positions, keys))
        places = Places(places.lasts, places.total, bias=bias)
        normed = graph.rms(stack.block[0].layer[0].layer_norm, hidden)
        for number, block in enumerate(stack.block):
            attention, second, third = block.layer[0].SelfAttention, block.layer[1], block.layer[2]
            heads = _heads(attention)
            caches.append((heads.keys, heads.size))
            q, k, v = (graph.linear(getattr(attention, name), normed) for name in "qkv")
            attended = self_attention(graph, number, heads, (q, k, v), places)
            normed, hidden = graph.added_rms(second.layer_norm, hidden, graph.linear(attention.o, attended))
            read = graph.linear(second.EncDecAttention.o, cross(number, normed))
            normed, hidden = graph.added_rms(third.layer_norm, hidden, read)
            wide = self._wide(graph, third.DenseReluDense, normed)
            normed, hidden = graph.added_rms(_after(stack, number), hidden, wide)
        if self.config.scale_decoder_outputs:
            normed = graph.node("Mul", normed, graph.number(self.module.model_dim**-0.5))
        return normed, caches

    def _wide(self, graph: Graph, layers: Any, x: str) -> str:
        if hasattr(layers, "wi"):
            return graph.linear(layers.wo, graph.activation(self.config.dense_act_fn, graph.linear(layers.wi, x)))
        gate = graph.activation(self.config.dense_act_fn, graph.linear(layers.wi_0, x))
        return graph.linear(layers.wo, graph.node("Mul", gate, graph.linear(layers.wi_1, x)))


def _after(stack: Any, number: int) -> Any:
    """The norm after block `number`."""
    if number + 1 < len(stack.block):
        return stack.block[number + 1].layer[0].layer_norm
    return stack.final_layer_norm


def _heads(attention: Any) -> Heads:
    size = int(attention.key_value_proj_dim)
    count = int(attention.q.out_features) // size
    return Heads(count, count, size, 1.0)


def distance_bias(graph: Graph, attention: Any, places: tuple[str, str]) -> str:
    """Biases of scores, (1, heads, queries, keys), for places of queries and of keys.

    Beyond the greatest distance they do not change, so that a table of the distances up to it says all.
    """
    most, table = distance_table(attention)
    queries, keys = (graph.node("Unsqueeze", one, graph.whole(axis)) for one, axis in zip(places, (1, 0), strict=True))
    away = graph.node("Sub", keys, queries)
    ends = [graph.number(one) for one in (-most, most)]
    numbers = graph.node("Add", graph.node("Clip", away, *ends), ends[1])
    found = graph.node("Gather", graph.vector(table), numbers)
    return graph.node("Unsqueeze", graph.node("Transpose", found, perm=[2, 0, 1]), graph.whole(0))


def distance_table(attention: Any) -> tuple[int, Tensor]:
    """The greatest distance that counts, and biases of the distances from its negative on: (2 · most + 1, heads)."""
    most = int(attention.relative_attention_max_distance)
    buckets = attention._relative_position_bucket(
        torch.arange(-most, most + 1), bidirectional=not attention.is_decoder,
        num_buckets=attention.relative_attention_num_buckets, max_distance=most,
    )  # fmt: skip
    return most, attention.relative_attention_bias.weight.detach().float()[buckets]
