"""From hidden states to the logits of every output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.outputs import Output

# The logit of a place where no answer begins or ends.
NOWHERE = -1e4


class Readout(nn.Module):
    """Mean of the pieces for single and multi outputs, the first piece of each word for tags, every piece for spans.

    One linear map each. hidden: (texts, pieces, width); mask: (texts, pieces); word_index: (words,) places in the
    flattened batch; places: (texts, pieces), 1 where a span may begin or end; elsewhere its logits are NOWHERE.
    """

    def __init__(self, outputs: Sequence[Output], width: int, dropout: float) -> None:
        super().__init__()
        self.kinds = {output.name: output.kind for output in outputs}
        self.heads = nn.ModuleDict({output.name: nn.Linear(width, len(output.labels)) for output in outputs})
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden: Tensor, mask: Tensor, word_index: Tensor | None = None, places: Tensor | None = None
    ) -> dict[str, Tensor]:
        """{output name: logits}."""
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = self.dropout((hidden * weight).sum(1) / weight.sum(1))
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


def pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pieces of each text: (texts, width)."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    return torch.div((hidden * weight).sum(1), weight.sum(1))


def states_and_logits(module: Any, arrays: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Last hidden states (texts, pieces, width) of an encoder with a readout, and {output name: logits}."""
    read = {name: arrays[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in arrays}
    states: Tensor = module.hidden(**read)
    return states, module.readout(states, arrays["attention_mask"], arrays.get("word_index"), arrays.get("places"))
