"""From hidden states to the logits of every output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pocketlm.outputs import Output


class Readout(nn.Module):
    """All pieces pooled for single and multi outputs, one piece of each word for tags; one linear map each.

    hidden: (texts, pieces, width); mask: (texts, pieces); word_index: (words,) places in the flattened batch.
    last: pool by taking the last piece, the only one that has seen the others where a model reads left to right.
    """

    def __init__(self, outputs: Sequence[Output], width: int, dropout: float, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.kinds = {output.name: output.kind for output in outputs}
        self.heads = nn.ModuleDict({output.name: nn.Linear(width, len(output.labels)) for output in outputs})
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor, word_index: Tensor | None = None) -> dict[str, Tensor]:
        """{output name: logits}."""
        pooled = self.dropout(pool(hidden, mask, self.last))
        logits = {}
        for name, head in self.heads.items():
            if self.kinds[name] == "tags":
                assert word_index is not None
                words = hidden.reshape(-1, hidden.shape[-1]).index_select(0, word_index)
                logits[name] = head(self.dropout(words))
            else:
                logits[name] = head(pooled)
        return logits


def pool(hidden: Tensor, mask: Tensor, last: bool = False) -> Tensor:
    """Mean over the pieces of each text, or the last that is no padding, on whichever side that is: (texts, width)."""
    if last:
        places = torch.arange(mask.shape[1], device=mask.device) * mask
        return hidden[torch.arange(len(hidden), device=hidden.device), places.argmax(1)]
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return torch.div((hidden * weight).sum(1), weight.sum(1))
