"""Texts' vectors blended in front of the heads while a batch is learnt (mixup; see `augment.mixup`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.outputs import Output
from pocketlm.train.lesson import Batch

# Outputs that are said of a whole text, from its one vector.
OF_TEXTS = ("single", "multi")


@dataclass(frozen=True)
class Blend:
    """order: the text that each of the batch is blended with. share: of the text's own vector."""

    order: Tensor
    share: float

    @classmethod
    def drawn(cls, texts: int, alpha: float) -> Blend:
        """A permutation, and a share from Beta(alpha, alpha), by torch's generator."""
        share = torch.distributions.Beta(alpha, alpha).sample()
        return cls(torch.randperm(texts), float(share))

    @contextmanager
    def applied(self, module: nn.Module, outputs: Sequence[Output]) -> Iterator[None]:
        """While this holds, heads of what is said of texts read blended vectors."""

        def blend(head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (self.share * given[0] + (1 - self.share) * given[0][self.order], *given[1:])

        holder: Any = getattr(module, "readout", module)
        heads = [holder.heads[one.name] for one in outputs if one.kind in OF_TEXTS]
        hooks = [head.register_forward_pre_hook(blend) for head in heads]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def other(self, batch: Batch, outputs: Sequence[Output]) -> Batch:
        """The batch with the labels, and what the teacher says, of the texts that are blended in."""
        names = {one.name for one in outputs if one.kind in OF_TEXTS}
        labels, teacher = (
            {name: rows[self.order] if name in names else rows for name, rows in given.items()}
            for given in (batch.labels, batch.teacher)
        )
        return replace(batch, labels=labels, teacher=teacher)
