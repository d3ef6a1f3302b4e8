"""Factorized embeddings: a vocabulary's matrix as a tall thin one times a small one, truncated where it matters least.

The form is ALBERT's (Lan et al. 2020, arXiv:1909.11942). The error that is least is Σ_t f_t (e_t − ê_t) M (e_t − ê_t)ᵀ,
with f_t how often token t occurs in calibration (each a little for its never occurring there) and M = Σ h hᵀ of the
states h that a head with this matrix reads: of logits e_t·h those of frequent tokens matter in proportion, as a softmax
answers for token t by p_t. A matrix that embeddings and head share stays shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.factors import Root, cost, product_of, rank_for, root_of, truncated
from pocketlm.compress.outer import outer_moments
from pocketlm.compress.targets import leaves, pack_layer, relative_error, select, share_ties
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight

# What a token that never occurs counts, as a share of an even spread of calibration's tokens.
UNSEEN = 0.3


@dataclass(frozen=True)
class FactorEmbeddings:
    """Replace embeddings, and heads that share their matrix, by products of two factors.

    share: of the matrix's weights that go; rank: instead of it. weighted: by how often tokens occur and what the head
    reads; otherwise all rows and columns alike. pivoted: store unit rows of the left factor as places only. damping:
    added to the head's moments, as a share of their mean. layers, exclude: groups or name patterns.
    """

    name: ClassVar[str] = "factor-embeddings"
    kind: ClassVar[str] = "other"
    share: float = 0.3
    rank: int | None = None
    weighted: bool = True
    pivoted: bool = True
    damping: float = 0.01
    layers: tuple[str, ...] = ("embeddings",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"share is what goes, from 0 to below 1, got {self.share}")
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"rank is at least 1, got {self.rank}")
        if self.damping < 0:
            raise ValueError(f"damping is at least 0, got {self.damping}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its embeddings factorized."""
        chosen = self._groups(model, context)
        calibration = context.calibrated(self.name) if self.weighted and chosen else None
        names = [name for group in chosen for name in group]
        roots = {} if calibration is None else _heads(model, names, calibration, context.fast, self.damping)
        for group in chosen:
            self._factor(model, context, group, roots, calibration)
        share_ties(model)
        return model

    def _groups(self, model: Model, context: Context) -> list[list[str]]:
        """Names that share a matrix, for each matrix chosen; linear layers of blocks are not for this pass."""
        ties = {name: list(group) for group in model.spec.ties for name in group}
        found: dict[str, list[str]] = {}
        for layer in select(model, self.layers, self.exclude):
            group = ties.get(layer.name, [layer.name])
            if not self._able(model, layer):
                context.journal.left(layer.name, "is in a block (low-rank is for it), or no plain matrix any more")
            else:
                found.setdefault(group[0], group)
        return list(found.values())

    def _able(self, model: Model, layer: LayerInfo) -> bool:
        stored = getattr(model.module.get_submodule(layer.name), "stored", None)
        return not layer.block and (stored is None or isinstance(stored, DenseWeight))

    def _factor(
        self, model: Model, context: Context, group: Sequence[str], roots: dict[str, Root],
        calibration: Calibration | None,
    ) -> None:  # fmt: skip
        layer: Any = pack_layer(model.module, group[0])
        leaf = next(leaves(group[0], layer))
        shape = (leaf.matrix.shape[0], leaf.matrix.shape[1])
        rank = self.rank or rank_for(shape, int((1 - self.share) * shape[0] * shape[1]), self.pivoted)
        if rank >= min(shape) or cost(shape, rank, self.pivoted) >= shape[0] * shape[1]:
            for name in group:
                context.journal.left(name, f"rank {rank} of {shape[0]} × {shape[1]} stores no less than the matrix")
            return
        right = next((roots[name] for name in group if name in roots), None)
        left = None if calibration is None else root_of(frequencies(calibration, shape[0]), 0.0)
        first, second = truncated(leaf.matrix, rank, right, left)
        leaf.put(product_of(first, second, self.pivoted))
        error = relative_error(leaf.matrix, layer.weight)
        for name in group:
            context.journal.layer(name, "factorized", error, rank=rank, weights=cost(shape, rank, self.pivoted))
            context.journal.promise(name, "rank", rank)


def frequencies(calibration: Calibration, rows: int) -> Tensor:
    """How often each of `rows` tokens counts: (rows,), of mean about 1; all alike where they are no tokens."""
    ids = [
        batch[name].reshape(-1)
        for batch in calibration.batches
        for name in ("input_ids", "decoder_input_ids")
        if name in batch
    ]
    counts = torch.bincount(torch.cat(ids), minlength=rows).float() if ids else torch.ones(rows)
    if len(counts) != rows:
        return torch.ones(rows)
    return counts / counts.mean().clamp(min=1e-12) + UNSEEN


def _heads(model: Model, names: Sequence[str], calibration: Calibration, fast: bool, damping: float) -> dict[str, Root]:
    """Roots of Σ h hᵀ of the heads among these layers."""
    heads = {one.name for one in model.layers if one.kind == "head"}
    linears = {name: model.module.get_submodule(name) for name in names if name in heads}
    if not linears:
        return {}
    statistics = outer_moments(model, linears, calibration, fast)
    return {name: root_of(statistics[name].mean, damping) for name in linears if name in statistics}
