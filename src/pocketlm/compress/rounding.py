"""Round-to-nearest quantization: every weight to the nearest point of its group's grid, no data needed.

Ŵ = s · (clamp(⌊W/s⌉ + z, 0, 2^b − 1) − z), with s and z from the least and greatest weight of the group, or clipped to
where the squared error is least (Jacob et al. 2018, arXiv:1712.05877; clipping as Choukroun et al. 2019,
arXiv:1902.06822). Embeddings and heads are quantized by naming them in `layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.grid import grid_for
from pocketlm.compress.parallel import Task, spread_leaves
from pocketlm.compress.targets import Leaf, leaves, pack_layer, relative_error, select, setting_for, share_ties
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import Model


def check_bits(bits: Any, group_size: int) -> None:
    """Raises ValueError for bits outside 2 to 8, or an impossible group."""
    for one in bits.values() if isinstance(bits, Mapping) else (bits,):
        if not isinstance(one, int) or not 2 <= one <= 8:
            raise ValueError(f"bits are a whole number from 2 to 8, got {one}")
    if group_size < -1:
        raise ValueError(f"group_size is a number of columns, 0 for a row or -1 for a matrix, got {group_size}")


@dataclass(frozen=True)
class RoundToNearest:
    """Round weights to a grid of 2^bits points.

    bits: 2 to 8, or a mapping from layer patterns to bits. group_size: columns that share a scale; 0: a row; -1: the
    whole matrix; a last group may be shorter. symmetric: whether the grid is centred on 0. clip: search the clipping
    with the least squared error. layers, exclude: groups ("blocks", "embeddings", "head", "all") or name patterns.
    """

    name: ClassVar[str] = "round-to-nearest"
    kind: ClassVar[str] = "quantize"
    bits: int | Mapping[str, int] = 4
    group_size: int = 64
    symmetric: bool = False
    clip: bool = True
    layers: tuple[str, ...] = ("blocks",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_bits(self.bits, self.group_size)

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""
        chosen = select(model, self.layers, self.exclude)
        found = ((one.name, leaves(one.name, pack_layer(model.module, one.name))) for one in chosen)
        for name, leaf, (weight, error) in spread_leaves(rounded, found, self._task, context):
            bits = setting_for(self.bits, name)
            leaf.put(weight)
            context.journal.layer(leaf.name, "quantized", error, bits=bits)
            context.journal.promise(name, "bits", bits)
        share_ties(model)
        return model

    def _task(self, name: str, leaf: Leaf) -> Task:
        return leaf.matrix, setting_for(self.bits, name), self.group_size, self.symmetric, self.clip


def rounded(matrix: Tensor, bits: int, group_size: int, symmetric: bool, clip: bool) -> tuple[GridWeight, float]:
    """The matrix on its grid, and the relative error."""
    grid = grid_for(matrix, bits, group_size, symmetric, clip)
    weight = grid.weight(grid.codes(matrix))
    return weight, relative_error(matrix, weight.matrix())
