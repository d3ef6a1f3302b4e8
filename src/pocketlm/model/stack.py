"""An encoder and a bag of n-grams that read the same texts, and whose logits are added."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel
from pocketlm.runtime.inputs import BagInputs, PieceInputs, StackedInputs


class StackModule(nn.Module):
    """encoder: reads pieces. bag: reads n-grams; one label of several each, no tags."""

    def __init__(self, encoder: nn.Module, bag: BagModule) -> None:
        super().__init__()
        self.encoder = encoder
        self.bag = bag

    def forward(self, ids: Tensor, weights: Tensor, offsets: Tensor, **pieces: Tensor) -> dict[str, Tensor]:
        """{output name: logits}, the sums of both; see `runtime.inputs.StackedInputs` for the arrays."""
        beside = self.bag(ids, weights, offsets)
        said: dict[str, Tensor] = self.encoder(**pieces)
        return {name: logits + beside[name] for name, logits in said.items()}


def stack(encoder: TaskModel, bag: TaskModel) -> TaskModel:
    """The two as one model, with the spec of the encoder."""
    assert isinstance(encoder.inputs, PieceInputs)
    assert isinstance(bag.inputs, BagInputs)
    assert isinstance(bag.module, BagModule)
    inputs = StackedInputs(encoder.inputs, bag.inputs)
    return TaskModel(StackModule(encoder.module, bag.module), inputs, replace(encoder.spec, family="stack"))


def unstack(model: TaskModel) -> tuple[TaskModel, TaskModel]:
    """The encoder and the bag of a stack, sharing its weights, each with the stack's spec."""
    module, inputs = model.module, model.inputs
    assert isinstance(module, StackModule)
    assert isinstance(inputs, StackedInputs)
    return replace(model, module=module.encoder, inputs=inputs.pieces), replace(
        model, module=module.bag, inputs=inputs.ngrams
    )
