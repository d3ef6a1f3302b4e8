"""From hidden states to the logits of every output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.outputs import Output

POOLINGS = ("mean", "cls", "max", "last")
# The logit of a place where no answer begins or ends.
NOWHERE = -1e4


class Readout(nn.Module):
    """The pieces pooled for what is said of a text, one piece of each word for tags, every piece for spans.

    One linear map each. hidden: (texts, pieces, width); mask: (texts, pieces); word_index: (words,) places in the
    flattened batch; places: (texts, pieces), 1 where a span may begin or end; elsewhere its logits are NOWHERE.
    pooling: one of POOLINGS; "last" is the only piece that has seen the others where a model reads left to right.
    """

    def __init__(self, outputs: Sequence[Output], width: int, dropout: float, pooling: str = "mean") -> None:
        super().__init__()
        self.kinds = {output.name: output.kind for output in outputs}
        self.pooling = pooling
        self.heads = nn.ModuleDict({output.name: nn.Linear(width, output.size) for output in outputs})
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Tensor, mask: Tensor, word_index: Tensor | None = None, places: Tensor | None = None
    ) -> dict[str, Tensor]:
        """{output name: logits}."""
        pooled = self.dropout(pool(hidden, mask, self.pooling))
        logits = {}
        for name, head in self.heads.items():
            if self.kinds[name] == "tags":
                assert word_index is not None
                words = hidden.reshape(-1, hidden.shape[-1]).index_select(0, word_index)
                logits[name] = head(self.dropout(words))
            elif self.kinds[name] == "span":
                assert places is not None
                logits[name] = head(self.dropout(hidden)).float().masked_fill(places[:, :, None] == 0, NOWHERE)
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


def states_and_logits(module: Any, arrays: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Last hidden states (texts, pieces, width) of an encoder with a readout, and {output name: logits}."""
    read = {name: arrays[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in arrays}
    states: Tensor = module.hidden(**read)
    return states, module.readout(states, arrays["attention_mask"], arrays.get("word_index"), arrays.get("places"))
