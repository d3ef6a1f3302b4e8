"""The attentions and feed-forwards of a block as parts to shrink, and shrinking one of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlm.compress.columns import column_error, made_up
from pocketlm.compress.heads import HeadStep
from pocketlm.compress.journal import Journal
from pocketlm.compress.removal import heads_of, keep_heads, keep_units, matrix_of, set_matrix, spread
from pocketlm.model.families import Attention, FeedForward, attentions, feed_forwards
from pocketlm.model.pretrained import Model


@dataclass(frozen=True)
class Sublayer:
    """An attention or feed-forward of a block. block: its path."""

    block: str
    part: Attention | FeedForward

    @property
    def output(self) -> str:
        """The layer whose columns its heads or units are."""
        return f"{self.block}.{self.part.output}"

    @property
    def stack(self) -> str:
        """The path of the list of blocks."""
        return self.block.rpartition(".")[0]

    @property
    def names(self) -> list[str]:
        """All its layers."""
        return [*(f"{self.block}.{one}" for one in self.part.inputs), self.output]

    @property
    def together(self) -> bool:
        """Whether its heads can only go in all blocks of its stack."""
        return isinstance(self.part, Attention) and self.part.together

    def matrix(self, model: Model) -> Tensor:
        """The plain matrix of the output layer. Raises RecipeError where any of its layers has none."""
        for name in self.names:
            matrix_of(model.module.get_submodule(name), name)
        return matrix_of(model.module.get_submodule(self.output), self.output).float()

    def head_parameters(self, model: Model) -> tuple[int, int]:
        """Weights of a query head, with its columns of the output layer, and of a key head with its values."""
        assert isinstance(self.part, Attention)
        block = model.module.get_submodule(self.block)
        width = matrix_of(block.get_submodule(self.part.inputs[0])).shape[1]
        size, out = heads_of(block, self.part).size, matrix_of(block.get_submodule(self.part.output)).shape[0]
        if len(self.part.inputs) == 1:
            return size * (3 * width + out), 0
        return size * (width + out), 2 * size * matrix_of(block.get_submodule(self.part.inputs[1])).shape[1]

    def unit_parameters(self, model: Model) -> int:
        """Weights of one unit."""
        block = model.module.get_submodule(self.block)
        rows = sum(matrix_of(block.get_submodule(one)).shape[1] for one in self.part.inputs)
        return rows + matrix_of(block.get_submodule(self.part.output)).shape[0]


def sublayers(model: Model, block: str, chosen: set[str] | None = None) -> list[Sublayer]:
    """The attentions and feed-forwards of a block in the order they run, or those whose output layer is chosen."""
    module, kind = model.module.get_submodule(block), model.spec.model_type
    found = [Sublayer(block, one) for one in attentions(kind, module)]
    found += [Sublayer(block, one) for one in feed_forwards(kind, module)]
    return [one for one in found if chosen is None or one.output in chosen]


def staying(count: int, gone: Tensor) -> Tensor:
    """Places below `count` that are not among `gone`, in order."""
    stay = torch.ones(count, dtype=torch.bool)
    stay[gone] = False
    return stay.nonzero().squeeze(1)


def fit_output(
    model: Model, one: Sublayer, kept: Tensor, s: Tensor, compensate: bool = True, target: Tensor | None = None
) -> float:
    """Make the columns not among `kept` of a part's output layer zero, the others make up for them: in place.

    target: what the layer should be, where that is not what it is: (out, in). Returns the relative error to it.
    """
    weight = one.matrix(model) if target is None else target
    found = torch.zeros_like(weight)
    found[:, kept] = made_up(weight, s, kept) if compensate else weight[:, kept]
    set_matrix(model.module.get_submodule(one.output), found)
    return column_error(weight, found[:, kept], s, kept)


def take_units(model: Model, one: Sublayer, kept: Tensor, error: float, journal: Journal) -> None:
    """Leave a feed-forward only these units, and write that down: in place. error: of its output layer."""
    assert isinstance(one.part, FeedForward)
    before = one.matrix(model).shape[1]
    keep_units(model, one.block, one.part, kept)
    _write(model, one, error, journal, units=len(kept), units_before=before)


def take_heads(model: Model, one: Sublayer, step: HeadStep, error: float, journal: Journal) -> Model:
    """The model with only the heads of a step left in an attention, and that written down."""
    assert isinstance(one.part, Attention)
    before = heads_of(model.module.get_submodule(one.block), one.part).count
    model = keep_heads(model, one.block, one.part, step.kept)
    _write(model, one, error, journal, heads=step.count, heads_before=before)
    return model


def columns_of(model: Model, one: Sublayer, step: HeadStep) -> Tensor:
    """Columns of an attention's output layer that are of the heads of a step."""
    assert isinstance(one.part, Attention)
    size = heads_of(model.module.get_submodule(one.block), one.part).size
    return spread([head for group in step.kept for head in group], size)


def remove_units(model: Model, one: Sublayer, gone: Tensor, s: Tensor, compensate: bool, journal: Journal) -> None:
    """Take these units out of a feed-forward: in place."""
    kept = staying(one.matrix(model).shape[1], gone)
    take_units(model, one, kept, fit_output(model, one, kept, s, compensate), journal)


def remove_heads(
    model: Model, one: Sublayer, step: HeadStep | None, s: Tensor, compensate: bool, journal: Journal
) -> Model:
    """The model with only the heads of a step left in an attention; None: with all of them."""
    if step is None:
        journal.left(one.output, "no head to remove")
        return model
    error = fit_output(model, one, columns_of(model, one, step), s, compensate)
    return take_heads(model, one, step, error, journal)


def _write(model: Model, one: Sublayer, error: float, journal: Journal, **facts: int) -> None:
    for name in one.names:
        shape = list(matrix_of(model.module.get_submodule(name)).shape)
        journal.layer(name, "shrunk", error if name == one.output else None, shape=shape, **facts)
