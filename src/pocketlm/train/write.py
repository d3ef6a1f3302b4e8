"""Let an encoder-decoder write: many texts at once, alike in length, with cached keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pocketlm.model.pretrained import Model
from pocketlm.runtime.shortlist import Shortlist
from pocketlm.train.pairs import piece_ids

# What is written is at most this many times its source's pieces, and so many more.
GROWTH, SLACK = 1.5, 20


class OnlyThese:
    """Keeps each text to the pieces that a shortlist allows it: a logits processor of `transformers`."""

    def __init__(self, shortlist: Shortlist, sources: Sequence[Sequence[int]], beams: int, pieces: int) -> None:
        self.refused = torch.ones(len(sources), pieces, dtype=torch.bool)
        for row, source in enumerate(sources):
            self.refused[row, torch.from_numpy(shortlist.allowed(source).astype(np.int64))] = False
        self.refused = self.refused.repeat_interleave(beams, dim=0)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores (texts · beams, pieces), those of pieces not allowed -inf."""
        return scores.masked_fill(self.refused, float("-inf"))


@torch.no_grad()
def write(
    model: Model, texts: Sequence[str], *, beams: int = 1, tokens: int = 4_096, shortlist: Shortlist | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[str]:  # fmt: skip
    """What the model writes for each text, in order. beams: 1 is greedy.

    tokens: of all sources in a batch times the beams. A source longer than the model has positions for is cut to them.
    """
    module = model.module.eval()
    most = int(getattr(module.config, "max_position_embeddings", None) or 10_000) - 1
    rows = [_cut(row, most) for row in piece_ids(model.tokenizer, texts)]
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    written = [""] * len(rows)
    begin = 0
    while begin < len(order):
        longest = len(rows[order[begin]])
        own = order[begin : begin + max(1, tokens // (longest * beams))]
        limit = min(most, int(longest * GROWTH) + SLACK)
        for place, text in zip(own, _batch(model, [rows[one] for one in own], beams, limit, shortlist), strict=True):
            written[place] = text
        begin += len(own)
        if progress is not None:
            progress(begin, len(order))
    return written


def _cut(row: list[int], most: int) -> list[int]:
    """The row, or its first pieces and its end where it has more than `most`."""
    return row if len(row) <= most else [*row[: most - 1], row[-1]]


def _batch(
    model: Model, rows: Sequence[Sequence[int]], beams: int, limit: int, shortlist: Shortlist | None
) -> list[str]:
    pad, width = model.module.config.pad_token_id, max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    given: dict[str, Any] = {}
    if shortlist is not None:
        pieces = model.module.get_output_embeddings().out_features
        given["logits_processor"] = [OnlyThese(shortlist, rows, beams, pieces)]
    said = model.module.generate(
        input_ids=ids, attention_mask=mask, num_beams=beams, do_sample=False, max_length=limit, min_length=0,
        early_stopping=beams > 1, **given,
    )  # fmt: skip
    return [text.strip() for text in model.tokenizer.batch_decode(said, skip_special_tokens=True)]
