"""Make activations easy to round: a part of their large channels' size is moved into the weights.

s_j = max|x_j|^α / max|w_j|^(1−α), x / s and W · s (SmoothQuant: Xiao et al. 2022, arXiv:2211.10438). 1/s goes into
the layer before; where none can take it the layer is left as it is, since a division that the runtime has to do would
cost what 8-bit products save. The model's outputs stay the same; the pass is there for `int8` after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.folding import Group, fold, input_groups, plain_values, shared_scales, source_of
from pocketlm.compress.targets import select
from pocketlm.compress.visits import QUANTIZED
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.pretrained import Model


def migration_scales(activity: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """The scales (in,) for inputs of at most `activity` (in,) and a matrix (out, in)."""
    size = weights.abs().amax(0).clamp(min=1e-5)
    return (activity.clamp(min=1e-5).pow(alpha) / size.pow(1 - alpha)).clamp(1e-2, 1e4)


@dataclass(frozen=True)
class Smooth:
    """Move the size of large input channels into the weights; outputs stay the same.

    alpha: the share that is moved, 0 to 1; 0.5 is usual, 0.8 for models with large outliers. layers, exclude: groups
    such as "blocks", or name patterns; an input that any of them reads is smoothed for all its readers.
    """

    name: ClassVar[str] = "smooth"
    kind: ClassVar[str] = "other"
    # It prepares for int8 and stores as many weights as before.
    heals: ClassVar[bool] = True
    alpha: float = 0.5
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is from 0 to 1, got {self.alpha}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers' inputs evened out."""
        chosen = {layer.name for layer in select(model, self.layers, self.exclude)}

        def visit(view: BlockView) -> None:
            for group in reversed(input_groups(view)):
                if chosen & set(group.names):
                    why = self._smooth(model, view, group)
                    for name in group.names:
                        context.journal.left(name, why) if why else context.journal.layer(name, "smoothed")

        walk(
            model, context.calibrated(self.name), visit, fast=context.fast, disk=context.disk,
            progress=context.ticks(self.name),
        )  # fmt: skip
        return model

    def _smooth(self, model: Model, view: BlockView, group: Group) -> str:
        """Smooth one input, in place; or why it was left."""
        found = [plain_values(model.module.get_submodule(name)) for name in group.names]
        values = [one for one in found if one is not None]
        if len(values) < len(found):
            return QUANTIZED
        source = source_of(model.spec.model_type, view, group)
        if source is None:
            return "no layer before it can take its scales"
        scales = migration_scales(group.moments.absmax, torch.cat([one.detach().float() for one in values]), self.alpha)
        scales = shared_scales(source, scales)
        fold(view.module, source, scales)
        with torch.no_grad():
            for one in values:
                one.data = one * scales
        return ""
