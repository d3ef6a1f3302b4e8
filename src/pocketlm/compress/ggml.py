"""Blocks of ggml's types, as llama.cpp reads them, with error feedback on that very grid.

A file of a type is decoded by llama.cpp as that type's format says, whoever chose the codes in it: scales, minima and
codes are chosen here so that Σ ‖(w − ŵ) X‖² of each layer is least, as GPTQ does (Frantar et al. 2022,
arXiv:2210.17323) and then by moving every number of a block in turn, on the numbers that the type can store. Blocks are
contiguous, so that only whole ones are taken by falling activation. A row that plain rounding serves better keeps it.
What was zeroed by pruning stays zero; only Q4_0, Q5_0, Q8_0, Q3_K and Q6_K have a 0, and the others are refused there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pocketlm.compress.block_feedback import SolvedBlocks, nearest_blocks, solve_blocks
from pocketlm.compress.block_steps import can_hold_zero
from pocketlm.compress.blockwise import quantize_model
from pocketlm.compress.context import Context
from pocketlm.compress.feedback import Feedback
from pocketlm.compress.targets import leaves, relative_error, select, setting_for, zeros_of
from pocketlm.compress.upstream import Drift
from pocketlm.errors import RecipeError
from pocketlm.model.ggml_types import BLOCK_TYPES, block_type, check_width
from pocketlm.model.layers import packed
from pocketlm.model.pretrained import Model


@dataclass(frozen=True)
class GgmlQuantize:
    """Quantize to blocks that llama.cpp reads, for `pocketlm export small -o small.gguf`.

    type: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or IQ4_NL, in blocks of 32 columns; Q2_K, Q3_K, Q4_K, Q5_K, Q6_K or IQ4_XS, in
    blocks of 256; or a mapping from layer patterns to types, where widths call for several. act_order: take blocks by
    falling activation. damping: share of the mean of diag S that is added to it. refine: rounds of moving scales and
    codes one by one after feedback. correct: share, 0 to 1, of the error of earlier layers that a layer is fitted to
    make up for; costs a second forward pass. tied: where head and embedding share a matrix, what an error in a row that
    is looked up counts beside one in logits, as a share of the latter's mean. layers, exclude: groups ("blocks",
    "embeddings", "head", "all") or name patterns; an embedding that is no head's matrix is rounded to nearest.
    """

    name: ClassVar[str] = "ggml-quantize"
    kind: ClassVar[str] = "quantize"
    held: ClassVar[str] = "type"
    type: str | Mapping[str, str] = "Q4_0"
    act_order: bool = True
    damping: float = 0.01
    refine: int = 3
    correct: float = 0.5
    tied: float = 1.0
    layers: tuple[str, ...] = ("all",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for one in self.type.values() if isinstance(self.type, Mapping) else (self.type,):
            block_type(one)
        if not 0 <= self.damping <= 1:
            raise ValueError(f"damping is a share from 0 to 1, got {self.damping}")
        if not 0 <= self.correct <= 1:
            raise ValueError(f"correct is a share from 0 to 1, got {self.correct}")
        if self.tied < 0:
            raise ValueError(f"tied is a share, at least 0, got {self.tied}")
        if self.refine < 0:
            raise ValueError(f"refine is a number of rounds, at least 0, got {self.refine}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its layers quantized."""
        self._check(model)
        return quantize_model(self, model, context)

    def _check(self, model: Model) -> None:
        """Raises RecipeError for a type that a layer's width or zeros cannot have, or a matrix of two types."""
        chosen = [one.name for one in select(model, self.layers, self.exclude)]
        for name in chosen:
            kind = block_type(self.setting(name))
            for leaf in leaves(name, packed(model.module.get_submodule(name)), check=False):
                check_width(kind, leaf.matrix.shape[1], leaf.name)
                if not can_hold_zero(kind) and zeros_of(leaf.matrix) is not None:
                    able = ", ".join(one for one, other in BLOCK_TYPES.items() if can_hold_zero(other))
                    raise RecipeError(f"layer {leaf.name}: is pruned, and {kind.name} has no 0; those that do: {able}")
        for group in model.spec.ties:
            types = {name: self.setting(name) for name in group if name in chosen}
            if len(set(types.values())) > 1:
                shown = " and ".join(f"{name} as {one}" for name, one in types.items())
                raise RecipeError(f"type: {shown} are one matrix, which has one type; give both names the same")

    def setting(self, name: str) -> str:
        """The layer's type."""
        kind: str = setting_for(self.type, name)
        return kind

    def together(self, setting: str) -> int:
        """Columns of a block."""
        return block_type(setting).length

    def fit(self, matrix: Tensor, setting: str, feedback: Feedback | None, drift: Drift | None) -> SolvedBlocks:
        """A matrix in blocks, corrected by `drift`; rounded to nearest where there is no feedback."""
        kind = block_type(setting)
        frozen = zeros_of(matrix) if can_hold_zero(kind) else None
        if feedback is None:
            weight = nearest_blocks(matrix, kind, torch.ones(matrix.shape[1]), frozen)
            lost = relative_error(matrix, weight.matrix())
            return SolvedBlocks(weight, lost, lost, 0, 0.0)
        target = matrix
        if drift is not None:
            target = drift.target(matrix, feedback.s, self.correct, self.damping)
            target = target if frozen is None else target.masked_fill(frozen, 0.0)
        return solve_blocks(target, kind, feedback, frozen, self.refine)
