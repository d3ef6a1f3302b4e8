"""How far a changed model is from the one it was made from: the rise of the expected loss on calibration text.

Of a model that predicts, the Kullback-Leibler divergence of its predictions from the dense model's, in nats a token:
what the loss rises by where the dense model is right about its text, and free of the text's own noise. Of an encoder
without a head, half the squared distance of hidden states a token. Both are what ½ Σ g · E S Eᵀ predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pocketlm.compress.calibration import Batch, Calibration, batch_masks
from pocketlm.compress.walk import first_tensor, precision
from pocketlm.model.pretrained import Model

# Tokens that are compared: the dense model's predictions of all of them are held in float16.
TOKENS = 2048


@dataclass(frozen=True)
class Reference:
    """What the dense model makes of some sequences. states: of each part, (tokens, vocabulary or width), float16."""

    parts: tuple[Batch, ...]
    states: tuple[Tensor, ...]
    predicts: bool
    fast: bool

    @property
    def tokens(self) -> int:
        """How many are compared."""
        return sum(_tokens(part, len(one)) for part, one in zip(self.parts, self.states, strict=True))

    def rise(self, model: Model) -> float:
        """The model's distance from the dense one, a token; 0 where nothing was changed."""
        total = 0.0
        for part, dense in zip(self.parts, self.states, strict=True):
            mine = _states(model, part, self.fast)
            for first, second in zip(torch.split(dense, 256), torch.split(mine, 256), strict=True):
                if self.predicts:
                    known = first.float().log_softmax(-1)
                    total += float((known.exp() * (known - second.float().log_softmax(-1))).sum())
                else:
                    total += 0.5 * float((first.float() - second.float()).square().sum())
        return max(0.0, total / max(1, self.tokens))


def reference_of(model: Model, calibration: Calibration, tokens: int = TOKENS, fast: bool = False) -> Reference:
    """The dense model's side: of sequences spread evenly over the calibration, about so many tokens."""
    rows = [
        {name: value[place : place + 1] for name, value in batch.items()}
        for batch in calibration.batches
        for place in range(len(next(iter(batch.values()))))
    ]
    keep = max(1, min(len(rows), round(len(rows) * tokens / max(1, calibration.tokens))))
    parts = tuple(rows[place * len(rows) // keep] for place in range(keep))
    states = tuple(_states(model, part, fast).half() for part in parts)
    return Reference(parts, states, _predicts(model), fast)


def _predicts(model: Model) -> bool:
    return any(hasattr(model.module, name) for name in ("classifier", "score")) or (
        model.module.get_output_embeddings() is not None
    )


def _tokens(part: Batch, rows: int) -> int:
    """Real tokens of the main (or the decoder's) input, which is what a loss is divided by."""
    masks = batch_masks(part)
    return int(masks[-1].sum()) if masks else rows


def _states(model: Model, part: Batch, fast: bool) -> Tensor:
    """Logits, or hidden states, of the tokens that are no padding: (tokens, features)."""
    extra: dict[str, Any] = {} if model.spec.kind == "encoder" else {"use_cache": False}
    with precision(fast):
        output = model.module(**part, **extra)
    logits = getattr(output, "logits", None)
    states = first_tensor(output) if logits is None else logits
    for mask in batch_masks(part)[::-1]:
        if states.ndim == 3 and mask.shape == states.shape[:2]:
            return states[mask]
    return states.reshape(-1, states.shape[-1])
