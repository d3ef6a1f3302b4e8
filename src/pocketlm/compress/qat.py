"""Quantization-aware training: weights learn to be rounded, and the steps of their grids learn with them.

Straight-through gradients and learned steps as in LSQ (`compress.learned_grid`), taught by the model as it was before
it was compressed (`compress.teaching`). What is stored is what was trained: codes and float16 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from pocketlm.compress.context import Context
from pocketlm.compress.grid import grid_for
from pocketlm.compress.int8 import TARGETS
from pocketlm.compress.learned_grid import LearnedGrid, LearnedSteps
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.targets import leaves, pack_layer, relative_error, select, setting_for
from pocketlm.compress.teaching import Training, classroom, improve
from pocketlm.compress.trainable import trainable
from pocketlm.model.code_weights import GridWeight, StepWeight
from pocketlm.model.layers import InputRounding, PackedLinear
from pocketlm.model.pretrained import Model


@dataclass
class _Learning:
    """A matrix while it learns. put: takes the weight that stands in its place. before: as it was."""

    layer: str
    name: str
    grid: LearnedGrid | LearnedSteps
    put: Callable[[nn.Module], None]
    before: Tensor
    resumed: bool = False


@dataclass(frozen=True)
class Qat(Training):
    """Round weights to learned grids while training. Settings besides these: see `Training`.

    bits: 2 to 8, or a mapping from layer patterns to bits. group_size: columns that share a step; 0: a row; -1: the
    whole matrix. symmetric: whether the grid is centred on 0. activations: 8 also rounds the layers' inputs, each
    batch by its own range; absent, they stay floats. target: as of `int8`: for "any" processor weights that meet
    rounded inputs have at most 7 bits, for "vnni" 8. resume: go on from grids and steps that were quantized
    before, whose zero codes stay zero with hold_zeros. layers, exclude: groups ("blocks", "embeddings", "head", "all")
    or name patterns.
    """

    name: ClassVar[str] = "qat"
    kind: ClassVar[str] = "quantize"
    bits: int | Mapping[str, int] = 4
    group_size: int = 0
    symmetric: bool = True
    activations: int | None = None
    target: str = "any"
    resume: bool = False
    hold_zeros: bool = True
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    @property
    def heals(self) -> bool:
        """Whether it trains what is quantized already, and need not make the model smaller."""
        return self.resume

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bits(self.bits, self.group_size)
        if self.activations not in (None, 8):
            raise ValueError(f"activations are rounded to 8 bits or not at all, got {self.activations}")
        if self.target not in TARGETS:
            raise ValueError(f"target is {' or '.join(map(repr, TARGETS))}, got {self.target!r}")
        most = max(self.bits.values()) if isinstance(self.bits, Mapping) else self.bits
        if self.activations and most > TARGETS[self.target]:
            raise ValueError(
                f"bits is at most {TARGETS[self.target]} with activations and target {self.target!r}, got {most}: sums "
                "of 8-bit products saturate on processors without VNNI; target 'vnni' is for the others"
            )

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with the layers quantized, trained for it."""
        learning = _begin(model, self, context)
        room = classroom(model, self, context)
        free = [] if self.hold_zeros else [one.grid.latent for one in learning if one.resumed]
        trained = trainable(model.module, self.train, free)
        better = False
        try:
            if learning:
                better = improve(model, trained, room, context)
        finally:
            trained.store()
        for one in learning:
            stored = one.grid.weight()
            one.put(stored)
            if one.resumed and not better:
                context.journal.left(one.name, "training did not lower the held-out loss")
                continue
            facts: dict[str, Any] = {"bits": stored.bits} if isinstance(stored, GridWeight) else {}
            if self.activations:
                facts["activations"] = self.activations
            context.journal.layer(one.name, "quantized", relative_error(one.before, stored.matrix()), **facts)
            if isinstance(stored, GridWeight):
                context.journal.promise(one.layer, "bits", stored.bits)
        for layer in {one.layer: None for one in learning}:
            _tie(model, layer)
        return model


def _begin(model: Model, settings: Qat, context: Context) -> list[_Learning]:
    """Put a learned grid in place of every matrix that is to be one."""
    found: list[_Learning] = []
    for layer in select(model, settings.layers, settings.exclude):
        owner, before = pack_layer(model.module, layer.name), len(found)
        bits = setting_for(settings.bits, layer.name)
        for leaf in list(leaves(layer.name, owner)):
            grid = grid_for(leaf.matrix, bits, settings.group_size, settings.symmetric, True)
            found.append(_Learning(layer.name, leaf.name, LearnedGrid(leaf.matrix, grid), leaf.put, leaf.matrix))
        if settings.resume:
            found += _resumed(layer.name, owner)
        for one in found[before:]:
            one.put(one.grid)
        if len(found) > before:
            _tie(model, layer.name)
        elif not any(isinstance(child, (LearnedGrid, LearnedSteps)) for child in owner.modules()):
            context.journal.left(layer.name, "is quantized already; with resume its grid goes on learning")
        if settings.activations and isinstance(owner, PackedLinear) and owner.rounding is None:
            owner.rounding = InputRounding(static=False)
    return found


def _resumed(layer: str, owner: nn.Module) -> list[_Learning]:
    """Stored grids in a layer's weight, to go on from."""
    found = []
    for path, child in list(owner.named_modules()):
        for name, one in child.named_children():
            if isinstance(one, (GridWeight, StepWeight)):
                label = "/".join([layer, *path.split(".")[1:], *([name] if name != "stored" else [])])
                put = partial(setattr, child, name)
                learned = LearnedGrid.resumed(one) if isinstance(one, GridWeight) else LearnedSteps(one)
                found.append(_Learning(layer, label, learned, put, one.matrix(), True))
    return found


def _tie(model: Model, layer: str) -> None:
    """Layers that share this one's matrix go on sharing it."""
    for group in model.spec.ties:
        if layer in group:
            for other in group:
                pack_layer(model.module, other).stored = model.module.get_submodule(layer).stored
