"""A pass that leaves every weight as it was is a failure, whatever it wrote down."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.targets import pack_layer
from pocketlm.errors import NoEffect
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

NAME = "model.layers.0.mlp.up_proj"


@dataclass(frozen=True)
class Boast:
    """A pass that says it changed a layer, and adds `by` to its first weight."""

    name: ClassVar[str] = "boast"
    heals: ClassVar[bool] = True
    by: float = 0.0

    def __call__(self, model, context):
        layer = pack_layer(model.module, NAME)
        with torch.no_grad():
            layer.stored.values[0, 0] += self.by
        context.journal.layer(NAME, "healed", 0.0)
        return model


def made(family, by, allowed=False):
    return compress(family("llama"), Recipe([Boast(by)]), Context(fast=False, allow_no_effect=allowed))


def test_weights_are_looked_at_and_not_the_journal(family, monkeypatch):
    monkeypatch.setattr("pocketlm.recipe.compress.pass_to_json", lambda step: {"pass": step.name})
    with pytest.raises(NoEffect, match="boast: every weight is what it was before"):
        made(family, 0.0)
    with pytest.raises(NoEffect, match="every weight is what it was before"):
        made(family, 1e-9)  # less than the stored type can tell
    assert made(family, 0.0, allowed=True).records[-1]["pass"] == "boast"
    assert float(made(family, 1.0).module.get_submodule(NAME).weight[0, 0]) > 0.5
