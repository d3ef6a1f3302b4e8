"""Pruning the hidden width: the same features leave the stream of hidden states everywhere at once.

A feature is read by the layers after every norm; what it is worth is E[(g_j x_j)²] summed over the norms' outputs, the
diagonal Fisher information of a mask on it (Molchanov et al. 2019, arXiv:1906.10771), on calibration data. Layers that
write lose rows, embeddings and layers that read lose columns, norms lose weights. A norm's gain then makes up for the
mean being over fewer features, and every reader for what it can guess of the others: W ← W R with R = E[x x'ᵀ]
E[x' x'ᵀ]⁻¹, x' what the smaller norm gives. Heads that share the embeddings' matrix keep sharing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pocketlm.compress.context import Context
from pocketlm.compress.gradients import batch_loss, chunks
from pocketlm.compress.narrow import Places, guess_others, narrow, norm_weight, removed_after
from pocketlm.compress.removal import matrix_of
from pocketlm.compress.structure import check_share, to_remove
from pocketlm.errors import RecipeError
from pocketlm.model.families import FAMILIES, Width
from pocketlm.model.pretrained import Model


def _ends(name: str, endings: Sequence[str]) -> bool:
    return any(name == one or name.endswith(f".{one}") for one in endings)


def width_places(model: Model, name: str) -> Places:
    """Where the hidden width is. Raises RecipeError, naming the pass, for a family of which it is not known."""
    family = FAMILIES.get(model.spec.model_type)
    if family is None or family.width is None:
        known = ", ".join(sorted(key for key, one in FAMILIES.items() if one.width is not None))
        raise RecipeError(
            f"pass {name}: the hidden width of {model.spec.model_type} cannot be pruned; of {known} it can"
        )
    width, names = family.width, [path for path, _ in model.module.named_modules()]
    # a classifier behind a layer of its own reads that layer's outputs, not the hidden states
    behind = any(_ends(path, ("pooler.dense", "pre_classifier")) for path in names)
    readers = [path for path in names if _ends(path, width.readers) and not (behind and path == "classifier")]
    return Places(tuple(readers), *(tuple(path for path in names if _ends(path, ends)) for ends in _others(width)))


def _others(width: Width) -> tuple[tuple[str, ...], ...]:
    return width.writers, width.embeddings, width.norms


@dataclass(frozen=True)
class PruneWidth:
    """Remove features of the hidden states.

    share: of them. multiple: what those left are a multiple of. compensate: norms and the layers after them make up
    for those removed. damping: how much those layers trust little data less. sequences: of calibration to measure on.
    """

    name: ClassVar[str] = "prune-width"
    kind: ClassVar[str] = "structure"
    share: float = 0.125
    multiple: int = 8
    compensate: bool = True
    damping: float = 0.01
    sequences: int = 64

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.multiple < 1:
            raise ValueError(f"multiple is at least 1, got {self.multiple}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The narrower model."""
        places = width_places(model, self.name)
        width = len(norm_weight(model, places.norms[0]))
        gone = to_remove(width, self.share, self.multiple)
        if not gone:
            context.journal.note("no feature to remove")
            return model
        worth = feature_worth(model, places, context, self.name, self.sequences)
        kept = worth.argsort(descending=True, stable=True)[: width - gone].sort().values
        guesses = guess_others(model, places, kept, context, self) if self.compensate else {}
        narrow(model, places, kept, guesses, self.damping)
        for name in (*places.embeddings, *places.writers, *places.readers):
            shape = list(matrix_of(model.module.get_submodule(name), name).shape)
            context.journal.layer(name, "shrunk", shape=shape, width=len(kept), width_before=width)
        return model


def feature_worth(model: Model, places: Places, context: Context, name: str, sequences: int) -> Tensor:
    """Σ over norms of E[(g_j x_j)²]: (width,)."""
    worth = torch.zeros(len(norm_weight(model, places.norms[0])), dtype=torch.float64)

    def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        output = output if output.requires_grad else output.detach().requires_grad_(True)
        felt = output.detach()
        output.register_hook(lambda gradient: _add(worth, gradient, felt))  # type: ignore[no-untyped-call]
        return output

    handles = [model.module.get_submodule(one).register_forward_hook(hook) for one in places.norms]
    generator = torch.Generator().manual_seed(context.seed)
    with removed_after(handles):
        for batch, labels in chunks(context, name, sequences):
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=context.fast):
                loss = batch_loss(model, batch, labels, generator)
            loss.backward()  # type: ignore[no-untyped-call]
    return worth


def _add(worth: Tensor, gradient: Tensor, felt: Tensor) -> None:
    product = (gradient.float() * felt.float()).reshape(-1, len(worth))
    worth += product.square().sum(0).double()
