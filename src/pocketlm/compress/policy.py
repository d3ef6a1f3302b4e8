"""What a student writes, to be judged by its teacher: on-policy distillation of models that write on.

Agarwal et al. 2023, arXiv:2306.13649 (GKD), algorithm 1: with probability λ the texts of a step are the student's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlm.model.pretrained import Model


@dataclass(frozen=True)
class Written:
    """A batch the student wrote on. fresh: of its tokens that are no padding, those whose successor it chose."""

    batch: dict[str, Tensor]
    fresh: Tensor


def sampled(model: Model, batch: Mapping[str, Tensor], share: float, tokens: int, seed: int) -> Written | None:
    """The batch's beginnings, written on by the model for `tokens` tokens; None for all but a `share` of seeds."""
    generator = torch.Generator().manual_seed(seed)
    if float(torch.rand((), generator=generator)) >= share:
        return None
    shortest = int(batch["attention_mask"].sum(1).min())
    start = max(1, min(shortest // 2, shortest - tokens))
    ids = batch["input_ids"][:, :start]
    with torch.no_grad():
        cache = None
        for _ in range(min(tokens, max(1, shortest - start))):
            out = model.module(input_ids=ids if cache is None else ids[:, -1:], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            chosen = torch.multinomial(out.logits[:, -1].float().softmax(-1), 1, generator=generator)
            ids = torch.cat([ids, chosen], dim=1)
    fresh = torch.zeros(ids.shape, dtype=torch.bool)
    fresh[:, start - 1 : -1] = True
    return Written({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, fresh.reshape(-1))
