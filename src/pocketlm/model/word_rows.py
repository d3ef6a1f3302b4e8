"""The rows of a model that stand for the pieces of its vocabulary, and its config's numbers of pieces, made anew.

They are in the embeddings of words, in the head and in the head's bias. Shared ones stay shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.errors import ModelError
from pocketlm.model.layers import PackedEmbedding
from pocketlm.model.pretrained import Model
from pocketlm.model.rebuild import follow
from pocketlm.model.weights import DenseWeight

# Of a generation config, lists of pieces beside those called …_token_id.
_LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")
# These number places from the padding's number on, which therefore stays.
COUNT_FROM_PADDING = ("roberta", "xlm-roberta")


def word_layers(model: Model) -> list[str]:
    """Names of the layers with a row for every piece: embeddings of words, those that share with them, the head."""
    first = model.module.get_input_embeddings()
    rows = int(first.weight.shape[0])
    tied = {name for group in model.spec.ties for name in group}
    found = []
    for layer in model.layers:
        own = model.module.get_submodule(layer.name)
        words = own is first or layer.kind == "head" or layer.role in ("embed_tokens", "shared") or layer.name in tied
        if words and layer.shape[0] == rows:
            found.append(layer.name)
    return found


def piece_numbers(model: Model) -> list[tuple[Any, str, Any]]:
    """What the configs say of single pieces: (config, name, a number or lists of numbers), the unset ones left out."""
    configs = (model.module.config, getattr(model.module, "generation_config", None))
    return [
        (config, name, value)
        for config in configs
        if config is not None
        for name, value in vars(config).items()
        if value is not None and value != -1 and (name.endswith("_token_id") or name in _LISTS)
    ]


def fixed_pieces(model: Model) -> set[int]:
    """Pieces that stay in any case: those that the configs name, and of RoBERTa those before the padding's.

    Raises ModelError where a config names a piece that the tokenizer has not.
    """
    known, found = len(model.tokenizer), set()
    for _, name, value in piece_numbers(model):
        for number in _flat(value):
            if not 0 <= number < known:
                raise ModelError(
                    f"model {model.spec.source}: its config says {name} {number}, its tokenizer has {known:,} pieces"
                )
            found.add(number)
    pad = model.module.config.pad_token_id
    if model.spec.model_type in COUNT_FROM_PADDING and pad is not None:
        found |= set(range(pad))
    return found


def _flat(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else [one for inner in value for one in _flat(inner)]


def with_words(
    model: Model, tokenizer: Any, rows: Callable[[Tensor], Tensor], new_id: Mapping[int, int]
) -> Model:  # fmt: skip
    """The model with another tokenizer, its tables changed in place.

    rows: the new rows of a table (old pieces, columns), such as a selection. new_id: of old pieces that have one.
    Raises ModelError for a table that is quantized or factorized.
    """
    module, names = model.module, word_layers(model)
    before = int(module.get_input_embeddings().weight.shape[0])
    changed: dict[int, nn.Parameter] = {}
    for name in names:
        owner: Any = module.get_submodule(name)
        plain = isinstance(owner, (nn.Linear, nn.Embedding))
        if not (plain or isinstance(owner.stored, DenseWeight)):
            raise ModelError(f"layer {name}: is quantized or factorized; change the vocabulary before that")
        _remake(owner.weight if plain else owner.stored.values, rows, changed)
        for bias in _biases(module, name, before):
            _remake(bias, rows, changed)
    for child in module.modules():
        for key, parameter in list(child._parameters.items()):
            if id(parameter) in changed:
                child._parameters[key] = changed[id(parameter)]
                follow(child, key, changed[id(parameter)])
        if isinstance(given := child._buffers.get("final_logits_bias"), Tensor):
            child._buffers["final_logits_bias"] = rows(given.t()).t().contiguous()
    _renumber(model, new_id, len(tokenizer), names)
    return replace(model, tokenizer=tokenizer)


def _remake(weight: Any, rows: Callable[[Tensor], Tensor], changed: dict[int, nn.Parameter]) -> None:
    if id(weight) not in changed:
        table = weight.detach()
        made = rows(table if table.dim() == 2 else table[:, None])
        changed[id(weight)] = nn.Parameter((made if table.dim() == 2 else made[:, 0]).contiguous(), requires_grad=False)


def _biases(module: nn.Module, name: str, rows: int) -> list[nn.Parameter]:
    """Vectors with a number for each piece: of the layer, and of the module it is in."""
    found = []
    for path in (name, name.rpartition(".")[0]):
        owner = module.get_submodule(path)
        found += [one for one in owner._parameters.values() if one is not None and tuple(one.shape) == (rows,)]
    return found


def _renumber(model: Model, new_id: Mapping[int, int], rows: int, names: list[str]) -> None:
    """Every number of a piece, in configs and layers, made the new one."""
    module = model.module
    module.config.vocab_size = rows
    for config, name, value in piece_numbers(model):
        setattr(config, name, _mapped(value, new_id))
    for child in module.modules():
        if hasattr(child, "vocab_size") and isinstance(child.vocab_size, int):
            child.vocab_size = rows
    for name in names:
        owner: Any = module.get_submodule(name)
        if isinstance(owner, (nn.Embedding, PackedEmbedding)) and owner.padding_idx is not None:
            owner.padding_idx = new_id[owner.padding_idx]


def _mapped(value: Any, new_id: Mapping[int, int]) -> Any:
    return new_id[value] if isinstance(value, int) else [_mapped(one, new_id) for one in value]


def keep_words(model: Model, kept: tuple[int, ...], tokenizer: Any) -> Model:
    """The model with only these of its pieces, in place; bit-equal on texts that `tokenizer` cuts into them."""
    places = torch.tensor(kept)
    return with_words(model, tokenizer, lambda table: table[places], {old: new for new, old in enumerate(kept)})
