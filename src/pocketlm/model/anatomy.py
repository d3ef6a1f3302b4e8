"""Where the weight matrices of a `transformers` module are: stacks of blocks, linear layers, embeddings, ties.

Modules are first brought to one form: GPT-2's Conv1D layers become linear layers (their matrix transposed), fused
experts modules of linear layers, Whisper's positions an embedding, so that every method sees one kind of layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from pocketlm.errors import ModelError
from pocketlm.model.experts import Router, is_fused_experts, split_experts
from pocketlm.model.layers import PackedEmbedding, PackedLinear, PositionTable, SinusoidTable

Kind = Literal["linear", "embedding", "head", "router", "expert"]

# Model types whose blocks, heads and ties the tests prove. kind: how it reads and what it predicts.
SUPPORTED: dict[str, str] = {
    "bert": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
    "distilbert": "encoder",
    "gpt2": "decoder",
    "llama": "decoder",
    "mistral": "decoder",
    "qwen2": "decoder",
    "qwen3": "decoder",
    "mixtral": "decoder",
    "qwen2_moe": "decoder",
    "qwen3_moe": "decoder",
    "t5": "encoder-decoder",
    "mt5": "encoder-decoder",
    "marian": "encoder-decoder",
    "whisper": "speech",
    "keras": "encoder",
}


@dataclass(frozen=True)
class LayerInfo:
    """One weight matrix. name: its module's path. block: the path of the block it is in, or "". shape: (out, in)."""

    name: str
    kind: Kind
    block: str
    shape: tuple[int, int]

    @property
    def role(self) -> str:
        """The last part of its name, such as "q_proj"."""
        return self.name.removeprefix(self.block).strip(".")

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return self.shape[0] * self.shape[1]


def kind_of(model_type: str) -> str:
    """What it is: "encoder", "decoder", "encoder-decoder" or "speech". Raises ModelError for an unsupported type."""
    if model_type not in SUPPORTED:
        raise ModelError(f"model type {model_type!r} is not supported; there is {', '.join(sorted(SUPPORTED))}")
    return SUPPORTED[model_type]


def is_linear(module: nn.Module) -> bool:
    """Whether it multiplies by a weight matrix."""
    return isinstance(module, (nn.Linear, PackedLinear))


def is_embedding(module: nn.Module) -> bool:
    """Whether it looks rows of a matrix up."""
    return isinstance(module, (nn.Embedding, PackedEmbedding))


def stacks(module: nn.Module) -> list[list[str]]:
    """Paths of the blocks of every stack, in the order they run: [["layers.0", "layers.1", …]], encoder first."""
    found: list[tuple[str, int]] = []
    for name, child in module.named_modules():
        if isinstance(child, nn.ModuleList) and len(child) and not any(name.startswith(f"{one}.") for one, _ in found):
            kinds = {type(block) for block in child}
            if len(kinds) == 1 and any(is_linear(inner) for inner in child[0].modules()) and not is_linear(child[0]):
                found.append((name, len(child)))
    return [[f"{name}.{place}" for place in range(count)] for name, count in found]


def layers(module: nn.Module) -> list[LayerInfo]:
    """Every linear layer and embedding, in module order; a shared weight once for each module that uses it."""
    blocks = [path for stack in stacks(module) for path in stack]
    heads = {id(head) for head in (_output_head(module),) if head is not None}
    routers = {id(child.proj) for child in module.modules() if isinstance(child, Router)}
    found = []
    for name, child in module.named_modules():
        if not (is_linear(child) or is_embedding(child)):
            continue
        block = next((path for path in blocks if name.startswith(f"{path}.")), "")
        kind: Kind = "embedding" if is_embedding(child) else "linear"
        if id(child) in heads:
            kind = "head"
        elif ".experts." in name:
            kind = "expert"
        elif id(child) in routers or name.endswith(".shared_expert_gate"):
            kind = "router"
        shape = (
            (child.num_embeddings, child.embedding_dim)
            if is_embedding(child)
            else (child.out_features, child.in_features)
        )
        found.append(LayerInfo(name, kind, block, (int(shape[0]), int(shape[1]))))
    return found


def _output_head(module: nn.Module) -> nn.Module | None:
    getter = getattr(module, "get_output_embeddings", None)
    head = getter() if getter is not None else None
    return head if isinstance(head, nn.Module) and is_linear(head) else None


def ties(module: nn.Module) -> list[list[str]]:
    """Groups of module names that share one weight matrix."""
    owners: dict[int, list[str]] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        if is_linear(child) or is_embedding(child):
            weight = child.stored if isinstance(child, (PackedLinear, PackedEmbedding)) else child.weight
            owners.setdefault(id(weight), []).append(name)
    return [names for names in owners.values() if len(names) > 1]


def unfuse(module: nn.Module) -> nn.Module:
    """The module with every odd layer in the one form passes know: in place; outputs stay the same."""
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding
    from transformers.models.whisper.modeling_whisper import WhisperPositionalEmbedding
    from transformers.pytorch_utils import Conv1D

    for name, child in list(module.named_modules()):
        if isinstance(child, Conv1D):
            linear = nn.Linear(child.weight.shape[0], child.weight.shape[1], device="meta")
            linear.weight = nn.Parameter(child.weight.detach().t().contiguous(), requires_grad=False)
            linear.bias = child.bias
            replace_module(module, name, linear)
        elif isinstance(child, WhisperPositionalEmbedding):
            replace_module(module, name, PositionTable(child.weight))
        elif isinstance(child, MarianSinusoidalPositionalEmbedding):
            replace_module(module, name, SinusoidTable(child.num_embeddings, child.embedding_dim))
        elif isinstance(experts := getattr(child, "experts", None), nn.Module) and is_fused_experts(experts):
            split_experts(child)
            module.config.output_router_logits = False  # type: ignore[union-attr]  # recorded from its own router only
    return module


def replace_module(module: nn.Module, name: str, new: nn.Module) -> None:
    """Put `new` where the module called `name` was."""
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, new)


def keep_blocks(module: nn.Module, stack: str, kept: Sequence[int]) -> None:
    """Leave the list at the path `stack` only these of its blocks or experts, in place.

    Blocks are numbered anew for the key cache; the config's kinds of attention, of which masks and caches are made by
    number, follow them.
    """
    blocks: Any = module.get_submodule(stack)
    chosen = [blocks[place] for place in kept]
    for place, block in enumerate(chosen):
        for inner in block.modules():
            if isinstance(getattr(inner, "layer_idx", None), int):
                inner.layer_idx = place
    replace_module(module, stack, type(blocks)(chosen))
    types = getattr(getattr(module, "config", None), "layer_types", None)
    if types is not None and not stack.endswith(".experts"):
        module.config.layer_types = ordered_types(types, kept)  # type: ignore[union-attr]


def ordered_types(types: Sequence[str], kept: Sequence[int]) -> list[str]:
    """Kinds of attention by block: of those kept first, as masks and caches are made by place, then of the others."""
    return [types[place] for place in (*kept, *(one for one in range(len(types)) if one not in kept))]


def first_types(types: Sequence[str], kept: Sequence[int]) -> list[str]:
    """Undoes `ordered_types`: kinds of attention by block as the model was first loaded."""
    order = [*kept, *(one for one in range(len(types)) if one not in kept)]
    return [types[order.index(place)] for place in range(len(types))]
