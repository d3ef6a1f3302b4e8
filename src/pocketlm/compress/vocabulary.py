"""Prune embedding rows of tokens that the calibration does not hold: a task's texts use a part of the vocabulary.

A row is kept where its token occurs at least `least` times (or is special); the others become zero, which entropy
coding stores for almost nothing. The token ids stay as they are, so that the tokenizer does, too. The idea of removing
rows: Abdaoui et al. 2020, arXiv:2010.05609.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.targets import leaves, pack_layer, select
from pocketlm.model.anatomy import LayerInfo, stacks
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight


class _Stop(Exception):
    """All embeddings have been read: the blocks need not run."""


@dataclass(frozen=True)
class PruneVocabulary:
    """Zero the embedding rows that calibration does not use.

    least: how often a token must occur to keep its row. layers, exclude: groups or name patterns; layers that are no
    embeddings, or that share their matrix with one, are left alone.
    """

    name: ClassVar[str] = "prune-vocabulary"
    kind: ClassVar[str] = "prune"
    least: int = 1
    layers: tuple[str, ...] = ("embeddings",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.least < 1:
            raise ValueError(f"least is 1 or more, got {self.least}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with zero rows for unused tokens."""
        chosen = select(model, self.layers, self.exclude)
        counted = count_rows(model, chosen, context.calibrated(self.name))
        shared = {name for group in model.spec.ties for name in group}
        for layer in chosen:
            if layer.kind != "embedding" or layer.name in shared:
                why = "is no embedding" if layer.kind != "embedding" else "shares its matrix with another layer"
                context.journal.left(layer.name, why)
                continue
            unused = counted[layer.name] < self.least
            if layer.shape[0] >= len(model.tokenizer or ()):  # of positions, none is special
                unused[list(getattr(model.tokenizer, "all_special_ids", ()))] = False
            _zero_rows(model, layer, unused, context)
        return model


def _zero_rows(model: Model, layer: LayerInfo, unused: Tensor, context: Context) -> None:
    owner = pack_layer(model.module, layer.name)
    left = [leaf for leaf in leaves(layer.name, owner) if not leaf.name.endswith("/right")]
    if not left or not bool(unused.any()):
        context.journal.left(layer.name, "is quantized already" if not left else "every row is used")
        return
    for leaf in left:
        leaf.put(DenseWeight(leaf.matrix.masked_fill(unused[:, None], 0.0)))
    share = float(unused.float().mean())
    context.journal.layer(layer.name, "pruned", sparsity=round(share, 4), rows=int(unused.sum()))
    context.journal.promise(layer.name, "sparsity", share)


def count_rows(model: Model, chosen: list[LayerInfo], calibration: Calibration) -> dict[str, Tensor]:
    """How often each row of the embeddings among `chosen` is read on the calibration: (rows,) of each."""
    counts = {one.name: torch.zeros(one.shape[0], dtype=torch.long) for one in chosen if one.kind == "embedding"}

    def listen(name: str) -> Any:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            counts[name] += torch.bincount(given[0].reshape(-1), minlength=len(counts[name]))

        return hook

    def stop(*_given: Any) -> None:
        raise _Stop

    handles = [model.module.get_submodule(name).register_forward_pre_hook(listen(name)) for name in counts]
    handles.append(model.module.get_submodule(stacks(model.module)[-1][0]).register_forward_pre_hook(stop))
    try:
        for batch in calibration.batches:
            with torch.no_grad():
                try:
                    model.module(**batch)
                except _Stop:
                    continue
    finally:
        for handle in handles:
            handle.remove()
    return counts
