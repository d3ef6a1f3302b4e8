"""Where attention heads, feed-forward units and the hidden width are in the blocks of each model family, as data.

Paths of layers are relative to their block. A path that a block has not is none of its own: T5's encoder blocks have
no cross-attention, and its feed-forward has one or two layers in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Attention:
    """One attention in a block.

    module: its path. inputs: query, key and value layers, or one that holds all three. output: the layer after the
    heads. head_size: the attribute with a head's width. heads: attributes that count heads. spans: those that hold
    heads times width. groups: the one that says how many query heads share a key head. bias: an embedding with a
    column a head, which all blocks of the stack use: their heads can only be removed together.
    """

    module: str
    inputs: tuple[str, ...]
    output: str
    head_size: str
    heads: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()
    groups: str = ""
    bias: str = ""
    together: bool = False


@dataclass(frozen=True)
class FeedForward:
    """One feed-forward in a block. inputs: layers whose rows are its units, output: the one whose columns they are.

    A "*" in the paths is the number of an expert.
    """

    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Width:
    """Where the hidden width is, as the last parts of names, in blocks and outside them.

    readers: layers whose columns it is. writers: whose rows. embeddings: whose columns. norms: whose weights.
    """

    readers: tuple[str, ...]
    writers: tuple[str, ...]
    embeddings: tuple[str, ...]
    norms: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """What is known of the blocks of a family.

    anchored: the first block of a stack holds what the others need. width: None where it is not known how to shrink.
    alike: whether blocks are of one shape, so that some may go.
    """

    attentions: tuple[Attention, ...]
    feed_forwards: tuple[FeedForward, ...]
    anchored: bool = False
    width: Width | None = None
    alike: bool = True


_LLAMA_ATTENTION = Attention(
    "self_attn", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.o_proj", "head_dim",
    groups="num_key_value_groups",
)  # fmt: skip
_LLAMA = Family(
    (_LLAMA_ATTENTION,),
    (FeedForward(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),),
    width=Width(
        ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "lm_head", "score"), ("o_proj", "down_proj"),
        ("embed_tokens",), ("input_layernorm", "post_attention_layernorm", "model.norm", "norm"),
    ),
)  # fmt: skip


def _gated(path: str) -> FeedForward:
    return FeedForward((f"{path}.gate_proj", f"{path}.up_proj"), f"{path}.down_proj")


_EXPERTS = Family((_LLAMA_ATTENTION,), (_gated("mlp.experts.*"), _gated("mlp.shared_expert"), _gated("mlp")))
_BERT = Family(
    (Attention(
        "attention.self", ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.output.dense", "attention_head_size", ("num_attention_heads",), ("all_head_size",),
    ),),
    (FeedForward(("intermediate.dense",), "output.dense"),),
    width=Width(
        ("self.query", "self.key", "self.value", "intermediate.dense", "pooler.dense", "classifier.dense", "classifier",
         "transform.dense", "predictions.decoder", "lm_head.dense", "lm_head.decoder", "qa_outputs"),
        ("output.dense", "transform.dense", "lm_head.dense"),
        ("word_embeddings", "position_embeddings", "token_type_embeddings"), ("LayerNorm", "lm_head.layer_norm"),
    ),
)  # fmt: skip
_DISTILBERT = Family(
    (Attention(
        "attention", ("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin",
        "attention_head_size", ("n_heads",), ("dim",),
    ),),
    (FeedForward(("ffn.lin1",), "ffn.lin2"),),
    width=Width(
        ("q_lin", "k_lin", "v_lin", "lin1", "pre_classifier", "classifier", "qa_outputs"), ("out_lin", "lin2"),
        ("word_embeddings", "position_embeddings"), ("LayerNorm", "sa_layer_norm", "output_layer_norm"),
    ),
)  # fmt: skip
_GPT2 = Family(
    (Attention("attn", ("attn.c_attn",), "attn.c_proj", "head_dim", ("num_heads",), ("split_size",)),),
    (FeedForward(("mlp.c_fc",), "mlp.c_proj"),),
    width=Width(("c_attn", "c_fc", "lm_head", "score"), ("c_proj",), ("wte", "wpe"), ("ln_1", "ln_2", "ln_f")),
)


def _t5_attention(path: str, bias: str) -> Attention:
    names = tuple(f"{path}.{name}" for name in "qkv")
    spans, size = ("inner_dim",), "key_value_proj_dim"
    return Attention(path, names, f"{path}.o", size, ("n_heads",), spans, bias=bias, together=True)


def _t5_feed_forward(path: str) -> FeedForward:
    path = f"{path}.DenseReluDense"
    return FeedForward((f"{path}.wi", f"{path}.wi_0", f"{path}.wi_1"), f"{path}.wo")


_T5 = Family(
    (_t5_attention("layer.0.SelfAttention", "layer.0.SelfAttention.relative_attention_bias"),
     _t5_attention("layer.1.EncDecAttention", "")),
    (_t5_feed_forward("layer.1"), _t5_feed_forward("layer.2")),
    anchored=True,
)  # fmt: skip


def _bart_attention(path: str) -> Attention:
    names = tuple(f"{path}.{name}_proj" for name in "qkv")
    return Attention(path, names, f"{path}.out_proj", "head_dim", ("num_heads",))


_BART = Family((_bart_attention("self_attn"), _bart_attention("encoder_attn")), (FeedForward(("fc1",), "fc2"),))

FAMILIES: dict[str, Family] = {
    "bert": _BERT, "roberta": _BERT, "xlm-roberta": _BERT, "distilbert": _DISTILBERT, "gpt2": _GPT2,
    "llama": _LLAMA, "mistral": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA,
    "mixtral": _EXPERTS, "qwen2_moe": _EXPERTS, "qwen3_moe": _EXPERTS,
    "t5": _T5, "mt5": _T5, "whisper": _BART, "marian": _BART, "keras": Family((), (), alike=False),
}  # fmt: skip


def child(block: nn.Module, path: str) -> Any:
    """The submodule of a block, or None where it has none of this path."""
    try:
        return block.get_submodule(path)
    except AttributeError:
        return None


def attentions(model_type: str, block: nn.Module) -> list[Attention]:
    """The attentions that a block has."""
    return [one for one in FAMILIES[model_type].attentions if child(block, one.output) is not None]


def feed_forwards(model_type: str, block: nn.Module) -> list[FeedForward]:
    """The feed-forwards that a block has, with the layers in that it has; every expert is one."""
    found = []
    for one in FAMILIES[model_type].feed_forwards:
        experts, star, _ = one.output.partition(".*")
        for number in range(len(child(block, experts) or ()) if star else 1):
            output, *inputs = (path.replace("*", str(number)) for path in (one.output, *one.inputs))
            if child(block, output) is not None:
                found.append(FeedForward(tuple(path for path in inputs if child(block, path) is not None), output))
    return found
