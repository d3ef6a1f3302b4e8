"""What a GGUF says of a model besides its weights: counts, widths, and how positions are turned into rotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from pocketlm.errors import ModelError
from pocketlm.model.anatomy import stacks
from pocketlm.model.pretrained import Model

# Of a model type here, that of llama.cpp, and whether that rotates neighbouring features, not halves of a head.
ARCHITECTURES: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {"llama": ("llama", True), "mistral": ("llama", True), "qwen2": ("qwen2", False)}
)
# Ways of stretching positions that a file can tell; of llama3's only Llama reads the table.
STRETCHED = {"llama": ("default", "linear", "llama3"), "qwen2": ("default", "linear")}


@dataclass(frozen=True)
class Shape:
    """Counts and widths of a model, the same in every block.

    tied_head: the head's name where its matrix is the embedding's. context: tokens. stretch: by how much positions are
    stretched evenly. frequency_factors: what each rotation's frequency is divided by, (head_size / 2,), or None.
    """

    architecture: str
    interleaved: bool
    blocks: int
    context: int
    width: int
    feed_forward: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    epsilon: float
    theta: float
    stretch: float
    frequency_factors: Tensor | None
    tied_head: str

    def row_order(self, layer: str) -> Tensor | None:
        """Rows of a layer in the order of the file, (rows,): of queries and keys, halves of a head interleaved."""
        heads = {"q_proj": self.heads, "k_proj": self.key_heads}.get(layer.rpartition(".")[2])
        if heads is None or not self.interleaved:
            return None
        return torch.arange(heads * self.head_size).view(heads, 2, -1).transpose(1, 2).flatten()


def shape_of(model: Model) -> Shape:
    """The shape. Raises ModelError for a model that llama.cpp would not compute as torch does."""
    config, module, kind = model.module.config, model.module, model.spec.model_type
    if kind not in ARCHITECTURES or module.get_output_embeddings() is None:
        raise ModelError(
            f"{model.spec.architecture}: GGUF export is for language models of type {', '.join(ARCHITECTURES)}"
        )
    if config.hidden_act != "silu":
        raise ModelError(f"{model.spec.architecture}: GGUF export needs the activation silu, got {config.hidden_act}")
    architecture, interleaved = ARCHITECTURES[kind]
    blocks = [module.get_submodule(name) for name in stacks(module)[0]]
    head_size = int(blocks[0].self_attn.head_dim)
    counts = _same(
        {
            (int(one.mlp.gate_proj.out_features), int(one.self_attn.q_proj.out_features) // head_size,
             int(one.self_attn.k_proj.out_features) // head_size, int(one.self_attn.head_dim))
            for one in blocks
        }, model,
    )  # fmt: skip
    embedding, head = module.get_input_embeddings(), module.get_output_embeddings()
    width, window = int(embedding.embedding_dim), getattr(config, "sliding_window", None)
    stretch, factors = _positions(model, architecture, head_size)
    # all of the past is attended to by llama.cpp: up to the window that is the same
    context = min(int(config.max_position_embeddings), int(window or config.max_position_embeddings))
    return Shape(
        architecture, interleaved, len(blocks), context, width, *counts, int(embedding.num_embeddings),
        float(module.get_decoder().norm.variance_epsilon), float(config.rope_parameters["rope_theta"]), stretch,
        factors, _tied(model, embedding, head),
    )  # fmt: skip


def _same(found: set[tuple[int, int, int, int]], model: Model) -> tuple[int, int, int, int]:
    """Units, heads, key heads and a head's width, which all blocks share."""
    if len(found) > 1:
        shown = "; ".join(f"{one[0]} units, {one[1]} heads, {one[2]} key heads" for one in sorted(found)[:3])
        raise ModelError(
            f"{model.spec.architecture}: GGUF export needs blocks of one shape, got {shown}; remove as many from each"
        )
    return found.pop()


def _tied(model: Model, embedding: Any, head: Any) -> str:
    """The head's name where it has no matrix of its own, else ""."""
    first, other = (one.stored if hasattr(one, "stored") else one.weight for one in (embedding, head))
    return next((name for name, one in model.module.named_modules() if one is head and first is other), "")


def _positions(model: Model, architecture: str, head_size: int) -> tuple[float, Tensor | None]:
    """By how much positions are stretched evenly, and what the frequencies are divided by where that differs."""
    said = model.module.config.rope_parameters
    kind = said.get("rope_type", "default")
    frequencies = model.module.get_decoder().rotary_emb.inv_freq.detach().float()
    if kind not in STRETCHED[architecture] or 2 * len(frequencies) != head_size:
        allowed = ", ".join(STRETCHED[architecture])
        raise ModelError(
            f"{model.spec.architecture}: rotates positions as '{kind}' on {2 * len(frequencies)} of {head_size} "
            f"features; GGUF export is for {allowed} on all of them"
        )
    if kind != "llama3":
        return (float(said["factor"]) if kind == "linear" else 1.0), None
    plain = float(said["rope_theta"]) ** -(torch.arange(0, head_size, 2, dtype=torch.float32) / head_size)
    return 1.0, plain / frequencies


def write_shape(writer: Any, shape: Shape) -> None:
    """Put the shape into a `gguf.GGUFWriter`."""
    import gguf

    writer.add_block_count(shape.blocks)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.theta)
    if shape.stretch != 1:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(shape.stretch)
