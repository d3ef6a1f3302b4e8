"""Taking parts out of a model: rows and columns of layers, heads, units, blocks. Shapes shrink; nothing is masked.

What a module says of its own shape (how many heads it has, …) is changed with it and kept in `ModelSpec.attributes`,
so that the model is rebuilt from its folder as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.errors import RecipeError
from pocketlm.model.anatomy import keep_blocks
from pocketlm.model.families import Attention, FeedForward, child
from pocketlm.model.layers import PackedEmbedding, PackedLinear
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight


@dataclass(frozen=True)
class Heads:
    """How an attention is divided: `groups` key heads, each read by `each` query heads, all `size` wide."""

    groups: int
    each: int
    size: int

    @property
    def count(self) -> int:
        """Query heads."""
        return self.groups * self.each


def matrix_of(layer: Any, name: str = "layer") -> Tensor:
    """The plain matrix of a layer. Raises RecipeError where it is held in a form whose parts cannot be removed."""
    if isinstance(layer, (PackedLinear, PackedEmbedding)):
        if not isinstance(layer.stored, DenseWeight):
            kind = layer.stored.settings()["kind"]
            raise RecipeError(f"{name}: is held as {kind}; remove parts before weights are quantized or factorized")
        return layer.stored.values.detach()
    found: Tensor = layer.weight.detach()
    return found


def set_matrix(layer: Any, matrix: Tensor) -> None:
    """Give a layer another matrix, of any shape: in place."""
    matrix = matrix.detach().contiguous()
    if isinstance(layer, (PackedLinear, PackedEmbedding)):
        layer.stored = DenseWeight(matrix)
        return
    layer.weight = nn.Parameter(matrix, requires_grad=False)
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = matrix.shape
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = matrix.shape
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(matrix.shape)


def take_rows(layer: Any, rows: Tensor, name: str = "layer") -> None:
    """Leave a linear layer only these outputs, in this order: in place."""
    set_matrix(layer, matrix_of(layer, name)[rows])
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[rows].contiguous(), requires_grad=False)


def take_columns(layer: Any, columns: Tensor, name: str = "layer") -> None:
    """Leave a linear layer only these inputs, or an embedding only these of its width: in place."""
    set_matrix(layer, matrix_of(layer, name)[:, columns])


def heads_of(block: nn.Module, attention: Attention) -> Heads:
    """How an attention of a block is divided now."""
    size = int(getattr(child(block, attention.module), attention.head_size))
    count = child(block, attention.output).in_features // size
    if len(attention.inputs) == 1:
        return Heads(count, 1, size)
    groups = child(block, attention.inputs[1]).out_features // size
    return Heads(groups, count // groups, size)


def spread(heads: Sequence[int], size: int) -> Tensor:
    """Places of all features of these heads."""
    return (torch.tensor(list(heads), dtype=torch.long)[:, None] * size + torch.arange(size)).reshape(-1)


def keep_heads(model: Model, name: str, attention: Attention, kept: Sequence[Sequence[int]]) -> Model:
    """The model whose attention in the block `name` has only these query heads left.

    kept: for each key head that stays, in order, the numbers of its query heads that stay: the same count for each.
    """
    block = model.module.get_submodule(name)
    now = heads_of(block, attention)
    queries = [head for group in kept for head in group]
    groups = [group[0] // now.each for group in kept]
    query, key = spread(queries, now.size), spread(groups, now.size)
    if len(attention.inputs) == 1:
        third = now.count * now.size
        take_rows(child(block, attention.inputs[0]), torch.cat([query, query + third, query + 2 * third]), name)
    else:
        for path, rows in zip(attention.inputs, (query, key, key), strict=True):
            take_rows(child(block, path), rows, f"{name}.{path}")
    take_columns(child(block, attention.output), query, f"{name}.{attention.output}")
    if attention.bias and child(block, attention.bias) is not None:
        take_columns(child(block, attention.bias), torch.tensor(queries), f"{name}.{attention.bias}")
    values: dict[str, Any] = dict.fromkeys(attention.heads, len(queries))
    values |= dict.fromkeys(attention.spans, len(queries) * now.size)
    if attention.groups:
        values[attention.groups] = len(kept[0])
    return set_attributes(model, f"{name}.{attention.module}", values)


def set_attributes(model: Model, path: str, values: dict[str, Any]) -> Model:
    """The model with these attributes on one of its modules, now and when it is loaded."""
    for key, value in values.items():
        setattr(model.module.get_submodule(path), key, value)
    if not values:
        return model
    changed = {**model.spec.attributes, path: {**model.spec.attributes.get(path, {}), **values}}
    return replace(model, spec=replace(model.spec, attributes=changed))


def keep_units(model: Model, name: str, feed_forward: FeedForward, kept: Tensor) -> None:
    """Leave the feed-forward in the block `name` only these units: in place."""
    block = model.module.get_submodule(name)
    for path in feed_forward.inputs:
        take_rows(child(block, path), kept, f"{name}.{path}")
    take_columns(child(block, feed_forward.output), kept, f"{name}.{feed_forward.output}")


def keep_stack(model: Model, stack: str, kept: Sequence[int]) -> Model:
    """The model with only these blocks of the stack at the path `stack`, in this order."""
    first = model.spec.kept.get(stack, tuple(range(len(model.module.get_submodule(stack)))))
    keep_blocks(model.module, stack, kept)
    inner = {path: places for path, places in model.spec.kept.items() if path != stack}
    spec = replace(
        model.spec,
        kept={stack: tuple(first[place] for place in kept), **_renumbered(inner, stack, kept)},
        attributes=_renumbered(model.spec.attributes, stack, kept),
        ties=_renumbered_ties(model.spec.ties, stack, kept),
    )
    return replace(model, spec=spec)


def _renumbered(facts: Mapping[str, Any], stack: str, kept: Sequence[int]) -> dict[str, Any]:
    """Facts by path, those of blocks that are gone left out, those of others under their new number."""
    found = {}
    for path, value in facts.items():
        if (new := _new_path(path, stack, kept)) is not None:
            found[new] = value
    return found


def _new_path(path: str, stack: str, kept: Sequence[int]) -> str | None:
    if not path.startswith(f"{stack}."):
        return path
    number, _, rest = path.removeprefix(f"{stack}.").partition(".")
    return f"{stack}.{list(kept).index(int(number))}.{rest}" if int(number) in kept else None


def _renumbered_ties(ties: tuple[tuple[str, ...], ...], stack: str, kept: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    groups = [[new for one in group if (new := _new_path(one, stack, kept)) is not None] for group in ties]
    return tuple(tuple(group) for group in groups if len(group) > 1)
