"""One head of the decoder is shown which source pieces each piece to be written translates.

Guided alignment, Chen et al. 2016 (arXiv:1607.01628): the cross-entropy of the head's attention with alignments found
beforehand is added to the loss. Few pairs do not tell a network for long where to look; counting tells it at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pocketlm.train.alignment import Rows, lexical_table

# How sure a piece's translation stands at its own share of the other text, and how likely it translates nothing.
DIAGONAL = 4.0
NOTHING = 0.08
# A table of more pieces would take more memory than it is worth.
MOST_PIECES = 10_000


class Guide:
    """Alignments of any texts by a table of pieces, and what a head's attention is away from them.

    pieces: of the vocabulary that both sides share. sources, targets: of the training pairs.
    """

    def __init__(self, sources: Rows, targets: Rows, pieces: int) -> None:
        source, target, share = lexical_table(sources, targets, pieces)
        self.table = torch.zeros(pieces + 1, pieces)
        self.table[torch.from_numpy(source), torch.from_numpy(target)] = torch.from_numpy(share.astype(np.float32))

    def alignment(self, sources: Tensor, targets: Tensor, read: Tensor, written: Tensor) -> Tensor:
        """What share of each piece written stands for each piece read: (texts, written, read), at most 1 in all.

        sources, targets: piece ids, (texts, pieces). read, written: bool masks of them. IBM model 1 with a preference
        for the diagonal (Dyer et al. 2013, "A simple, fast, and effective reparameterization of IBM model 2").
        """
        places = [mask.cumsum(1) / mask.sum(1, keepdim=True) for mask in (read, written)]
        near = torch.exp(-DIAGONAL * (places[1][:, :, None] - places[0][:, None]).abs()) * read[:, None]
        near = near / near.sum(2, keepdim=True)
        shares = (1 - NOTHING) * near * self.table[sources[:, None], targets[:, :, None]]
        nothing = NOTHING * self.table[-1][targets]
        found: Tensor = shares / (shares.sum(2) + nothing + 1e-12)[:, :, None]
        return found * written[:, :, None]

    def distance(self, attention: Tensor, sources: Tensor, targets: Tensor, read: Tensor, written: Tensor) -> Tensor:
        """Cross-entropy of the attention (texts, written, read) with the alignment, a piece, in nats."""
        aligned = self.alignment(sources, targets, read, written)
        return -(aligned * (attention + 1e-6).log()).sum() / written.sum()


@contextmanager
def watched_head(module: Any) -> Iterator[list[Tensor]]:
    """While open, a list that holds the attention of the first head of the decoder's last layer on what was read.

    (texts, written, read), of the module's last pass. Marian-like modules.
    """
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")  # the only one that says what it attends to, and no slower here
    heard: list[Tensor] = []

    def listen(_: Any, given: Any, said: Any) -> None:
        heard[:] = [said[1][:, 0]]

    handle = module.get_decoder().layers[-1].encoder_attn.register_forward_hook(listen)
    try:
        yield heard
    finally:
        handle.remove()
        module.set_attn_implementation(before)
