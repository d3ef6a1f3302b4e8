"""Decoders of Llama's kind, with experts or without, and GPT-2: one graph reads a prompt and every token after it."""

from __future__ import annotations

from typing import Any

from pocketlm.errors import ModelError
from pocketlm.export.cached.attention import ROTATED, Heads, Places, read_out, self_attention, token_inputs
from pocketlm.export.cached.graph import FLOAT, INT64, Graph
from pocketlm.export.cached.mixture import gated, mixture
from pocketlm.model.anatomy import stacks
from pocketlm.model.experts import RoutedExperts

LLAMAS = ("llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe")
# Ways of stretching positions whose frequencies do not change with the length of the text.
STEADY = ("default", "linear", "llama3", "yarn")

Caches = list[tuple[int, int]]


def draw_decoder(module: Any, graph: Graph) -> Caches:
    """Draw a causal language model; heads and features of a head of every block's cache.

    Raises ModelError for a type that is not known here.
    """
    kind = module.config.model_type
    if kind != "gpt2" and kind not in LLAMAS:
        raise ModelError(f"model type {kind!r} cannot be drawn with a cache; there is gpt2, {', '.join(LLAMAS)}")
    hidden, caches = _gpt2(module, graph) if kind == "gpt2" else _llama(module, graph)
    embedding, head = module.get_input_embeddings(), module.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(module).__name__}: has no head that predicts tokens")
    states = read_out(graph, hidden, int(embedding.embedding_dim))
    graph.output("logits", graph.linear(head, states), FLOAT, ["answers", int(head.out_features)])
    return caches


def _llama(module: Any, graph: Graph) -> tuple[str, Caches]:
    decoder, config = module.get_decoder(), module.config
    places = _rotated(decoder, token_inputs(graph), graph, int(config.max_position_embeddings))
    hidden, caches = graph.rows(module.get_input_embeddings(), "input_ids"), []
    blocks = [module.get_submodule(name) for name in stacks(module)[0]]
    normed = graph.rms(blocks[0].input_layernorm, hidden)
    for number, block in enumerate(blocks):
        attention = block.self_attn
        heads = _heads(attention, config, number)
        caches.append((heads.keys, heads.size))
        attended = self_attention(graph, number, heads, _queries(attention, heads, graph, normed), places)
        normed, hidden = graph.added_rms(
            block.post_attention_layernorm, hidden, graph.linear(attention.o_proj, attended)
        )
        after = blocks[number + 1].input_layernorm if number + 1 < len(blocks) else decoder.norm
        normed, hidden = graph.added_rms(after, hidden, _feed_forward(block.mlp, config, graph, normed))
    return normed, caches


def _queries(attention: Any, heads: Heads, graph: Graph, x: str) -> tuple[str, str, str]:
    """Queries, keys and values of x, with a norm of each head where the family has one."""
    made = [graph.linear(getattr(attention, f"{name}_proj"), x) for name in "qkv"]
    for place, name in enumerate(("q_norm", "k_norm")):
        if hasattr(attention, name):
            split = graph.reshape(made[place], 0, 0, -1, heads.size)
            made[place] = graph.reshape(graph.rms(getattr(attention, name), split), 0, 0, -1)
    return made[0], made[1], made[2]


def _feed_forward(mlp: Any, config: Any, graph: Graph, x: str) -> str:
    if isinstance(getattr(mlp, "experts", None), RoutedExperts):
        return mixture(mlp, config, graph, x)
    return gated(mlp, config.hidden_act, graph, x)


def _heads(attention: Any, config: Any, number: int) -> Heads:
    size = int(attention.head_dim)
    counts = [int(getattr(attention, f"{name}_proj").out_features) // size for name in "qk"]
    window, kinds = getattr(config, "sliding_window", None) or 0, getattr(config, "layer_types", None)
    if kinds is not None and kinds[number] != "sliding_attention":
        window = 0
    return Heads(counts[0], counts[1], size, float(attention.scaling), int(window))


def _rotated(decoder: Any, places: Places, graph: Graph, context: int) -> Places:
    """Places with cosines and sines, (context, half of the rotated features), made from the frequencies at load."""
    rotary = decoder.rotary_emb
    kind = decoder.config.rope_parameters.get("rope_type", "default")
    if kind not in STEADY:
        raise ModelError(f"positions are rotated as {kind!r}, which changes with length; there is {', '.join(STEADY)}")
    numbers = graph.node("Range", *(graph.number(float(value)) for value in (0, context, 1)))
    column = graph.node("Unsqueeze", numbers, graph.whole(1))
    angles = graph.node("Mul", column, graph.forms.constant(rotary.inv_freq.detach().float()[None]))
    scaling = float(rotary.attention_scaling)
    found = [graph.node(name, angles) for name in ("Cos", "Sin")]
    if scaling != 1:
        found = [graph.node("Mul", one, graph.number(scaling)) for one in found]
    rotated = 2 * rotary.inv_freq.shape[-1]
    positions = graph.input("position_ids", INT64, ["rows", "tokens"]) if rotated % ROTATED else ""
    return Places(places.lasts, places.total, found[0], found[1], positions)


def _gpt2(module: Any, graph: Graph) -> tuple[str, Caches]:
    places, body, config = token_inputs(graph), module.transformer, module.config
    positions = graph.input("position_ids", INT64, ["rows", "tokens"])
    hidden = graph.node("Add", graph.rows(body.wte, "input_ids"), graph.rows(body.wpe, positions))
    blocks, caches = list(body.h), []
    normed = graph.layer_norm(blocks[0].ln_1, hidden)
    for number, block in enumerate(blocks):
        attention = block.attn
        size = int(attention.head_dim)
        count = int(attention.c_proj.in_features) // size
        scale = _gpt2_scale(attention, size, number)
        caches.append((count, size))
        packed = graph.linear(attention.c_attn, normed)
        attended = self_attention(graph, number, Heads(count, count, size, scale), (packed, "", ""), places)
        normed, hidden = graph.added_layer_norm(block.ln_2, hidden, graph.linear(attention.c_proj, attended))
        wide = graph.activation(config.activation_function, graph.linear(block.mlp.c_fc, normed))
        after = blocks[number + 1].ln_1 if number + 1 < len(blocks) else body.ln_f
        normed, hidden = graph.added_layer_norm(after, hidden, graph.linear(block.mlp.c_proj, wide))
    return normed, caches


def _gpt2_scale(attention: Any, size: int, number: int) -> float:
    scale = size**-0.5 if attention.scale_attn_weights else 1.0
    return scale / (number + 1) if attention.scale_attn_by_inverse_layer_idx else scale
