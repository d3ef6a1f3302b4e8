"""Let an encoder-decoder write: many texts at once, alike in length, with cached keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pocketlm.model.pretrained import Model
from pocketlm.train.pairs import piece_ids

# What is written is at most this many times its source's pieces, and so many more.
GROWTH, SLACK = 1.5, 20


@torch.no_grad()
def write(
    model: Model, texts: Sequence[str], *, beams: int = 1, tokens: int = 4_096,
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
        for place, text in zip(own, _batch(model, [rows[one] for one in own], beams, limit), strict=True):
            written[place] = text
        begin += len(own)
        if progress is not None:
            progress(begin, len(order))
    return written


def _cut(row: list[int], most: int) -> list[int]:
    """The row, or its first pieces and its end where it has more than `most`."""
    return row if len(row) <= most else [*row[: most - 1], row[-1]]


def _batch(model: Model, rows: Sequence[Sequence[int]], beams: int, limit: int) -> list[str]:
    pad, width = model.module.config.pad_token_id, max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    said = model.module.generate(
        input_ids=ids, attention_mask=mask, num_beams=beams, do_sample=False, max_length=limit, min_length=0,
        early_stopping=beams > 1,
    )  # fmt: skip
    return [text.strip() for text in model.tokenizer.batch_decode(said, skip_special_tokens=True)]
