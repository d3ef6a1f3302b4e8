"""Marian's and BART's blocks: norms after each part, places by rows of a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pocketlm.errors import ModelError
from pocketlm.export.cached.attention import Heads, Places, full_attention, self_attention
from pocketlm.export.cached.graph import FLOAT, Graph
from pocketlm.model.layers import SinusoidTable


class MarianBody:
    """Layers of a Marian or BART as its graphs need them.

    width: of a state. head_bias: added to logits, (tokens,). crossed: keys' and values' layers of every block.
    """

    def __init__(self, module: Any) -> None:
        self.module, self.config = module, module.config
        if getattr(module.config, "normalize_before", False):
            raise ModelError(f"{type(module).__name__}: has norms before its parts, which cannot be drawn")
        self.width, self.head = int(module.config.d_model), module.lm_head
        self.head_bias = module.final_logits_bias[0]
        self.scale = math.sqrt(self.width) if module.config.scale_embedding else 1.0
        layers = module.model.decoder.layers
        self.crossed = [(one.encoder_attn.k_proj, one.encoder_attn.v_proj) for one in layers]

    def cross_heads(self, number: int) -> Heads:
        """Heads with which block `number` reads the source."""
        return _heads(self.module.model.decoder.layers[number].encoder_attn)

    def cross_query(self, number: int) -> Any:
        """The layer of its queries."""
        return self.module.model.decoder.layers[number].encoder_attn.q_proj

    def encode(self, graph: Graph, mask: str) -> str:
        """States of the source: (texts, source, width)."""
        stack = self.module.model.encoder
        length = graph.span("input_ids")
        zero, one = graph.number(0), graph.number(1)
        hidden = self._embedded(graph, stack, graph.node("Range", zero, length, one))
        for block in stack.layers:
            attention = block.self_attn
            attended = full_attention(graph, _heads(attention), _queries(graph, attention, hidden), mask)
            hidden = self._added(graph, block.self_attn_layer_norm, hidden, graph.linear(attention.out_proj, attended))
            hidden = self._added(graph, block.final_layer_norm, hidden, self._wide(graph, block, hidden))
        return hidden

    def decode(
        self, graph: Graph, places: Places, positions: str, cross: Callable[[int, str], str]
    ) -> tuple[str, list[tuple[int, int]]]:
        """States of the target, as the head reads them, and the shapes of caches."""
        stack, caches = self.module.model.decoder, []
        hidden = self._embedded(graph, stack, positions)
        for number, block in enumerate(stack.layers):
            attention = block.self_attn
            heads = _heads(attention)
            caches.append((heads.keys, heads.size))
            attended = self_attention(graph, number, heads, _queries(graph, attention, hidden), places)
            hidden = self._added(graph, block.self_attn_layer_norm, hidden, graph.linear(attention.out_proj, attended))
            read = graph.linear(block.encoder_attn.out_proj, cross(number, hidden))
            hidden = self._added(graph, block.encoder_attn_layer_norm, hidden, read)
            hidden = self._added(graph, block.final_layer_norm, hidden, self._wide(graph, block, hidden))
        return hidden, caches

    def _embedded(self, graph: Graph, stack: Any, places: str) -> str:
        """Rows of the tokens, scaled, and of their places, (tokens,)."""
        rows = graph.rows(stack.embed_tokens, "input_ids")
        if self.scale != 1:
            rows = graph.node("Mul", rows, graph.number(self.scale))
        offset = 2 if self.config.model_type == "bart" else 0  # BART's first two rows are no place's
        if offset:
            places = graph.node("Add", places, graph.number(offset))
        hidden = graph.node("Add", rows, self._places(graph, stack.embed_positions, places))
        return graph.layer_norm(stack.layernorm_embedding, hidden) if hasattr(stack, "layernorm_embedding") else hidden

    def _places(self, graph: Graph, positions: Any, places: str) -> str:
        """Rows of places: of a table, or sines and cosines worked out, which take no room in the file."""
        if not isinstance(positions, SinusoidTable):
            return graph.rows(positions, places)
        floats = graph.node("Unsqueeze", graph.node("Cast", places, to=FLOAT), graph.whole(-1))
        angles = graph.node("Mul", floats, graph.vector(positions.rates()))
        sines, cosines = graph.node("Sin", angles), graph.node("Cos", angles)
        return graph.node("Concat", sines, cosines, axis=-1)

    def _added(self, graph: Graph, norm: Any, x: str, more: str) -> str:
        return graph.added_layer_norm(norm, x, more)[0]

    def _wide(self, graph: Graph, block: Any, x: str) -> str:
        return graph.linear(block.fc2, graph.activation(self.config.activation_function, graph.linear(block.fc1, x)))


def _heads(attention: Any) -> Heads:
    size = int(attention.head_dim)
    count = int(attention.q_proj.out_features) // size
    return Heads(count, count, size, size**-0.5)


def _queries(graph: Graph, attention: Any, x: str) -> tuple[str, str, str]:
    q, k, v = (graph.linear(getattr(attention, f"{name}_proj"), x) for name in "qkv")
    return q, k, v
