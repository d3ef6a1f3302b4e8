"""A fresh module of a model's class made the one that was stored: its shape, then its tensors, then what is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from pocketlm.model import anatomy
from pocketlm.model.layers import PackedEmbedding, PackedLinear, layer_from_settings


def stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name; a shared one under the first of its names only."""
    found: dict[str, Tensor] = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found[name] = tensor
    return found


def shared_vectors(module: nn.Module) -> dict[str, str]:
    """Parameters of one dimension, such as the bias of a BERT's head, that have a second name: {second: first}."""
    first: dict[int, str] = {}
    vectors = [(name, one) for name, one in module.named_parameters(remove_duplicate=False) if one.dim() == 1]
    names = {name: first.setdefault(id(one), name) for name, one in vectors}
    return {name: other for name, other in names.items() if name != other}


def packed_layers(module: nn.Module) -> dict[str, PackedLinear | PackedEmbedding]:
    """Layers held in a form of their own, by name, under each name where they are used."""
    return {
        name: child
        for name, child in module.named_modules(remove_duplicate=False)
        if isinstance(child, (PackedLinear, PackedEmbedding))
    }


def reshape(
    module: nn.Module, kept: Mapping[str, Sequence[int]], attributes: Mapping[str, Mapping[str, Any]],
    packed: Mapping[str, Any],
) -> None:  # fmt: skip
    """Make a fresh module of the model's class the one that was stored, but for its tensors: in place."""
    anatomy.unfuse(module)
    for stack, places in kept.items():
        anatomy.keep_blocks(module, stack, places)
    for path, values in attributes.items():
        for name, value in values.items():
            setattr(module.get_submodule(path), name, value)
    for name, settings in packed.items():
        anatomy.replace_module(module, name, layer_from_settings(dict(settings)))


def place(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put the tensor where the parameter or buffer called `name` is, whatever its shape was."""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    if last in owner._parameters:
        owner._parameters[last] = nn.Parameter(tensor.float(), requires_grad=False)
        follow(owner, last, tensor)
    else:
        owner._buffers[last] = tensor


def follow(owner: nn.Module, name: str, tensor: Tensor) -> None:
    """What a layer says of its shape follows the tensor it was given."""
    if name != "weight":
        return
    if isinstance(owner, nn.Linear):
        owner.out_features, owner.in_features = tensor.shape
    elif isinstance(owner, nn.Embedding):
        owner.num_embeddings, owner.embedding_dim = tensor.shape
    elif isinstance(owner, nn.LayerNorm):
        owner.normalized_shape = tuple(tensor.shape)


def tie(module: nn.Module, group: tuple[str, ...]) -> None:
    """Let the layers of the group share the matrix of the first."""
    owners: list[Any] = [module.get_submodule(name) for name in group]
    first = owners[0]
    for other in owners[1:]:
        if isinstance(first, (PackedLinear, PackedEmbedding)):
            assert isinstance(other, (PackedLinear, PackedEmbedding))
            other.stored = first.stored
        else:
            other.weight = first.weight
            follow(other, "weight", first.weight)


def share(module: nn.Module, name: str, first: str) -> None:
    """Let the parameter called `name` be the one called `first`."""
    path, _, last = name.rpartition(".")
    module.get_submodule(path)._parameters[last] = module.get_parameter(first)


def revive(module: nn.Module) -> None:
    """Give plain attributes that were left on no device the buffer they were a copy of."""
    for child in module.modules():
        copied = vars(child).get("original_inv_freq")
        if isinstance(copied, Tensor) and copied.is_meta:
            child.original_inv_freq = child.inv_freq
