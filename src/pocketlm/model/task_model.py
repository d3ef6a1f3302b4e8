"""The noun that compression works on: a module, the way it reads texts, and what it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Inputs


@dataclass(frozen=True)
class TaskSpec:
    """What a model is.

    family: "encoder" (a teacher), "transformer", "conv", "bag" or "stack". outputs: what its module returns.
    bits: of each group of weights as they will be stored ("table", "linear"); absent means float. settled: those of its
    own settings that the last pass chose between on dev.
    """

    family: str
    outputs: tuple[Output, ...]
    bits: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    settled: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskModel:
    """A module with its inputs and its spec.

    module: maps the arrays of `inputs.collate`, as tensors, to {output name: logits}; tags are flat (words, labels).
    """

    module: nn.Module
    inputs: Inputs
    spec: TaskSpec

    def copy(self) -> TaskModel:
        """The same model with weights of its own."""
        return replace(self, module=copy.deepcopy(self.module), inputs=copy.copy(self.inputs))

    def settled(self, **settings: Any) -> TaskModel:
        """The same model, saying what the pass that made it chose; nothing where there was no choice."""
        return replace(self, spec=replace(self.spec, settled=settings))

    @property
    def parameters(self) -> int:
        """How many weights the module has, each shared one counted once."""
        return sum(weight.numel() for weight in self.module.parameters())
