"""An encoder with only the pieces that some texts have, while it is trained on these.

A row of the embeddings that no text reads has no gradient and stays what it is; of a multilingual encoder these are
nearly all its rows and most of its weights, and their gradients, moments and copies cost memory and time for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pocketlm.model.encoder import EncoderModule
from pocketlm.model.task_model import TaskModel
from pocketlm.runtime.inputs import PieceInputs, Text

# More of the rows than this share are not worth the change.
WORTH = 0.8


class UsedPieces(nn.Embedding):
    """Some rows of an embedding, called by their numbers in the whole. used: these numbers, ascending."""

    places: Tensor

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        padding = whole.padding_idx
        at = None if padding is None else int(torch.searchsorted(used, padding))
        super().__init__(len(used), whole.embedding_dim, padding_idx=at, dtype=whole.weight.dtype)
        places = torch.full((whole.num_embeddings,), -1, dtype=torch.long)
        places[used] = torch.arange(len(used))
        # a piece that is not there has the place -1, which no embedding has: torch raises IndexError
        self.register_buffer("places", places, persistent=False)
        self.weight = nn.Parameter(whole.weight.detach()[used].clone(), requires_grad=whole.weight.requires_grad)

    def forward(self, input: Tensor) -> Tensor:
        """(texts, pieces) numbers to (texts, pieces, width). Raises IndexError for a piece that is not there."""
        return super().forward(self.places[input])


@contextmanager
def used_pieces(model: TaskModel, texts: Sequence[Text]) -> Iterator[None]:
    """Leave an encoder only the pieces of these texts; at the end what they have become stands among the others.

    Models that read texts in another way stay as they are.
    """
    module: Any = model.module
    whole = module.backbone.get_input_embeddings() if isinstance(module, EncoderModule) else None
    if type(whole) is not nn.Embedding or type(model.inputs) is not PieceInputs or not texts:
        yield
        return
    seen = [one.arrays[0] for one in model.inputs.encode(texts)]
    padding = [] if whole.padding_idx is None else [whole.padding_idx]
    used = torch.from_numpy(np.unique(np.concatenate([*seen, [model.inputs.pad_id, *padding]]).astype(np.int64)))
    if len(used) > WORTH * whole.num_embeddings:
        yield
        return
    few = UsedPieces(whole, used)
    module.backbone.set_input_embeddings(few)
    try:
        yield
    finally:
        with torch.no_grad():
            whole.weight[used] = few.weight.detach()
        module.backbone.set_input_embeddings(whole)
