"""How probable texts are to a causal language model in torch: the windows of `runtime.likelihood`, and its figures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from pocketlm.model.pretrained import Model
from pocketlm.runtime.likelihood import CHUNK, WINDOW, Window, in_windows


def bare_tokenizer(model: Model) -> Any:
    """The model's tokenizer as a Pocket has it: without truncation and padding."""
    backend = copy.deepcopy(model.tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    return backend


def context_of(model: Model) -> int:
    """Tokens that the model has places for, as its Pocket says."""
    config = model.module.config
    return int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 512)


@torch.no_grad()
def foresee(
    model: Model, texts: Sequence[str], window: int = WINDOW, progress: Callable[[int, int], None] | None = None
) -> list[dict[str, list[Window]]]:
    """{"windows": [{"nats", "tokens", "bytes"}, …]} of each text, in float32. progress: (texts read, texts)."""
    module = model.module.eval()

    def nats(ids: Any) -> float:
        given = torch.from_numpy(ids)[None]
        logits = module(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits[0, :-1]
        parts = zip(torch.split(logits, CHUNK), torch.split(given[0, 1:], CHUNK), strict=True)
        return sum(float(F.cross_entropy(own.float(), wanted, reduction="sum")) for own, wanted in parts)

    tokenizer, size, found = bare_tokenizer(model), min(window, context_of(model)), []
    for number, text in enumerate(texts, 1):
        found += in_windows(tokenizer, [text], size, nats)
        if progress is not None:
            progress(number, len(texts))
    return found
