"""Texts as a pretrained model sees them before it is fine-tuned: one vector each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from pocketlm.model.encoder import Pretrained
from pocketlm.model.readout import pool
from pocketlm.runtime.inputs import PieceInputs
from pocketlm.runtime.vectors import Floats
from pocketlm.train.lesson import tensors
from pocketlm.train.loop import gains_from_bf16

# Pieces in a batch, padding included: short texts go by the hundred.
BATCH_PIECES = 4_096


@torch.no_grad()
def frozen_vectors(pretrained: Pretrained, texts: Sequence[str], length: int) -> Floats:
    """Pooled last states of each text's first `length` pieces, centred and of unit length: (texts, width)."""
    inputs = PieceInputs(Tokenizer.from_str(pretrained.tokenizer_json), False, length, pretrained.pad_id)
    encoded = inputs.encode(texts)
    order = sorted(range(len(texts)), key=lambda place: encoded[place].length)
    backbone = pretrained.backbone.eval()
    vectors = torch.zeros(len(texts), int(pretrained.config.hidden_size))
    size = max(1, BATCH_PIECES // length)
    with torch.autocast("cpu", torch.bfloat16, enabled=gains_from_bf16()):
        for begin in range(0, len(order), size):
            places = order[begin : begin + size]
            batch = tensors(inputs.collate([encoded[place] for place in places]))
            states: Tensor = backbone(**batch).last_hidden_state
            vectors[places] = pool(states.float(), batch["attention_mask"], pretrained.reads_at)
    vectors -= vectors.mean(0)
    unit: Floats = torch.nn.functional.normalize(vectors, dim=1).numpy()
    return unit
