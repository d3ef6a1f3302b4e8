"""Scales of a layer's inputs that the layer before it can take over, so that the model's outputs stay the same.

(x / s) (W · s)ᵀ = x Wᵀ: where x comes from a norm, its gain (and shift) is divided by s; where it is a linear
function of another layer's outputs (down of up, the attention's output of values), that layer's rows are. The last
is how AWQ (Lin et al. 2023, arXiv:2306.00978) and SmoothQuant (Xiao et al. 2022, arXiv:2211.10438) cost nothing
when the model runs. A norm whose output is also added to the stream (BERT) can take no scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.moments import Moments
from pocketlm.compress.walk import BlockView
from pocketlm.model.families import attentions, child, feed_forwards
from pocketlm.model.layers import PackedLinear
from pocketlm.model.weights import DenseWeight

Norms = tuple[tuple[str, tuple[str, ...]], ...]

_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_LLAMA: Norms = (
    ("input_layernorm", _QKV),
    ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
)
# In an expert block the router reads the second norm's output, too.
_EXPERTS: Norms = _LLAMA[:1]


def _t5_wi(path: str) -> tuple[str, ...]:
    return tuple(f"{path}.DenseReluDense.{name}" for name in ("wi", "wi_0", "wi_1"))


_T5: Norms = (
    ("layer.0.layer_norm", tuple(f"layer.0.SelfAttention.{name}" for name in "qkv")),
    ("layer.1.layer_norm", ("layer.1.EncDecAttention.q", *_t5_wi("layer.1"))),
    ("layer.2.layer_norm", _t5_wi("layer.2")),
)
_WHISPER: Norms = (
    ("self_attn_layer_norm", _QKV),
    ("encoder_attn_layer_norm", ("encoder_attn.q_proj",)),
    ("final_layer_norm", ("fc1",)),
)
# Norms by model type whose output is read by these layers and by nothing else.
NORMS: Mapping[str, Norms] = {
    "llama": _LLAMA, "mistral": _LLAMA, "qwen2": _LLAMA, "qwen3": _LLAMA,
    "mixtral": _EXPERTS, "qwen2_moe": _EXPERTS, "qwen3_moe": _EXPERTS,
    "gpt2": (("ln_1", ("attn.c_attn",)), ("ln_2", ("mlp.c_fc",))),
    "t5": _T5, "mt5": _T5, "whisper": _WHISPER,
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Layers of a block that read the same input. names: full ones. moments: of that input."""

    names: tuple[str, ...]
    moments: Moments


@dataclass(frozen=True)
class Source:
    """What a group's input comes from. path: in the block. norm: whether it is one.

    repeats: heads that share a value head, whose scales must be the same. head: a head's width.
    """

    path: str
    norm: bool
    repeats: int = 1
    head: int = 1


def input_groups(view: BlockView) -> list[Group]:
    """The block's linear layers by what they read, in the order they run; layers no token reached are in none."""
    found: dict[int, list[str]] = {}
    for name in view.linears():
        if name in view.statistics:
            found.setdefault(id(view.statistics[name]), []).append(name)
    return [Group(tuple(names), view.statistics[names[0]]) for names in found.values()]


def plain_values(layer: Any) -> Tensor | None:
    """The tensor that holds a linear layer's matrix plainly, or None where it is held in another form."""
    if isinstance(layer, nn.Linear):
        return layer.weight
    if isinstance(layer, PackedLinear) and isinstance(layer.stored, DenseWeight):
        return layer.stored.values
    return None


def source_of(model_type: str, view: BlockView, group: Group) -> Source | None:
    """What could take the scales of a group's input, or None where nothing can."""
    block, prefix = view.module, f"{view.name}."
    readers = {name.removeprefix(prefix) for name in group.names}
    for norm, paths in NORMS.get(model_type, ()):
        if child(block, norm) is not None and readers == {path for path in paths if child(block, path) is not None}:
            return Source(norm, True)
    for part in feed_forwards(model_type, block):
        # of two layers in, the activation is on the first: the second passes scales on
        if readers == {part.output} and len(part.inputs) == 2:
            return _plain(block, Source(part.inputs[-1], False))
    for one in attentions(model_type, block):
        if readers == {one.output}:
            return _values(block, one.inputs, one.output, getattr(child(block, one.module), one.head_size, 0))
    return None


def _plain(block: nn.Module, source: Source) -> Source | None:
    return source if plain_values(child(block, source.path)) is not None else None


def _values(block: nn.Module, inputs: tuple[str, ...], output: str, head: int) -> Source | None:
    rows, width = child(block, inputs[-1]).out_features, child(block, output).in_features
    rows = rows // 3 if len(inputs) == 1 else rows
    if not head or width % rows or rows % head:
        return None
    return _plain(block, Source(inputs[-1], False, width // rows, head))


def shared_scales(source: Source | None, scales: Tensor) -> Tensor:
    """Scales (in,) that the source can take: those of columns that come from one row are their geometric mean."""
    if source is None or source.repeats == 1:
        return scales
    parts = scales.log().view(-1, source.repeats, source.head)
    return parts.mean(1, keepdim=True).expand_as(parts).reshape(-1).exp()


def fold(block: nn.Module, source: Source, scales: Tensor) -> None:
    """Divide what the source puts out by the scales (in,)."""
    owner = child(block, source.path)
    weight = owner.weight if source.norm else plain_values(owner)
    assert weight is not None
    rows = scales.view(-1, source.repeats, source.head)[:, 0].reshape(-1) if source.repeats > 1 else scales
    first = len(weight) - len(rows)  # of one layer for query, key and value, values come last
    for one, divisor in ((weight, rows if source.norm else rows[:, None]), (getattr(owner, "bias", None), rows)):
        if one is not None:
            one.data = torch.cat([one.data[:first], one.data[first:] / divisor])  # a draft shares its model's weights


def scaled_moments(moments: Moments, scales: Tensor) -> Moments:
    """Moments of the input divided by scales (in,)."""
    return Moments(
        moments.s / (scales[:, None] * scales), moments.tokens, moments.absmax / scales, moments.abssum / scales
    )
