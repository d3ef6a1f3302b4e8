"""From hidden states to the logits of every output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pocketlm.outputs import Output

POOLINGS = ("mean", "cls", "max", "last")


class Readout(nn.Module):
    """The pieces pooled for what is said of a text, one piece of each word for tags; one linear map each.

    hidden: (texts, pieces, width); mask: (texts, pieces); word_index: (words,) places in the flattened batch.
    pooling: one of POOLINGS; "last" is the only piece that has seen the others where a model reads left to right.
    """

    def __init__(self, outputs: Sequence[Output], width: int, dropout: float, pooling: str = "mean") -> None:
        super().__init__()
        self.kinds = {output.name: output.kind for output in outputs}
        self.pooling = pooling
        self.heads = nn.ModuleDict({output.name: nn.Linear(width, output.size) for output in outputs})
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor, word_index: Tensor | None = None) -> dict[str, Tensor]:
        """{output name: logits}."""
        pooled = self.dropout(pool(hidden, mask, self.pooling))
        logits = {}
        for name, head in self.heads.items():
            if self.kinds[name] == "tags":
                assert word_index is not None
                words = hidden.reshape(-1, hidden.shape[-1]).index_select(0, word_index)
                logits[name] = head(self.dropout(words))
            else:
                logits[name] = head(pooled)
        return logits

    @torch.no_grad()
    def start_from(self, other: Readout) -> None:
        """Take another readout's maps; of a wider vector its first dimensions. Their inputs are equally wide."""
        for name, head in self.heads.items():
            given = other.heads[name]
            assert isinstance(head, nn.Linear)
            assert isinstance(given, nn.Linear)
            head.weight.copy_(given.weight[: head.out_features])
            head.bias.copy_(given.bias[: head.out_features])


def pool(hidden: Tensor, mask: Tensor, pooling: str = "mean") -> Tensor:
    """Mean or maximum over the pieces of each text, its first piece, or its last that is no padding: (texts, width)."""
    if pooling == "last":  # padding is on whichever side
        places = torch.arange(mask.shape[1], device=mask.device) * mask
        return hidden[torch.arange(len(hidden), device=hidden.device), places.argmax(1)]
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, -1e4).amax(1)
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return torch.div((hidden * weight).sum(1), weight.sum(1))
