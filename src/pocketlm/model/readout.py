"""From hidden states to the logits of every output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pocketlm.outputs import Output


class Readout(nn.Module):
    """Mean of the pieces for single and multi outputs, the first piece of each word for tags; one linear map each.

    hidden: (texts, pieces, width); mask: (texts, pieces); word_index: (words,) places in the flattened batch.
    """

    def __init__(self, outputs: Sequence[Output], width: int, dropout: float) -> None:
        super().__init__()
        self.kinds = {output.name: output.kind for output in outputs}
        self.heads = nn.ModuleDict({output.name: nn.Linear(width, len(output.labels)) for output in outputs})
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor, word_index: Tensor | None = None) -> dict[str, Tensor]:
        """{output name: logits}."""
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = self.dropout((hidden * weight).sum(1) / weight.sum(1))
        logits = {}
        for name, head in self.heads.items():
            if self.kinds[name] == "tags":
                assert word_index is not None
                words = hidden.reshape(-1, hidden.shape[-1]).index_select(0, word_index)
                logits[name] = head(self.dropout(words))
            else:
                logits[name] = head(pooled)
        return logits


def pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pieces of each text: (texts, width)."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return torch.div((hidden * weight).sum(1), weight.sum(1))
