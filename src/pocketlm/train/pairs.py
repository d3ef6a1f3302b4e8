"""Pairs of texts as an encoder-decoder learns them: pieces, batches by tokens, and the losses of a translator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pocketlm.model.pretrained import Model
from pocketlm.model.subwords import DroppedSubwords
from pocketlm.train.losses import TopTail, divergence, tail_shares, top_tail

IGNORED = -100
# Batches are formed inside chunks of this many pairs, sorted by length: little padding, still random.
CHUNK = 4_000

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Pairs:
    """Sources and targets as text, equally many."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sources)

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(self.sources + other.sources, self.targets + other.targets)

    def at(self, places: Sequence[int]) -> Pairs:
        """Some of them."""
        return Pairs(*(tuple(side[place] for place in places) for side in (self.sources, self.targets)))


def piece_ids(tokenizer: Any, texts: Sequence[str], *, target: bool = False) -> list[list[int]]:
    """Pieces of every text, its end included. target: they are written, not read: Marian's are cut by other rules."""
    if not texts:
        return []
    given = {"text_target" if target else "text": list(texts)}
    rows: list[list[int]] = tokenizer(**given, verbose=False).input_ids
    return rows


def pair_ids(tokenizer: Any, pairs: Pairs) -> tuple[list[list[int]], list[list[int]]]:
    """Pieces of the sources, and of the targets."""
    return piece_ids(tokenizer, pairs.sources), piece_ids(tokenizer, pairs.targets, target=True)


def fitting(model: Model, pairs: Pairs, longest: int) -> Pairs:
    """The pairs of at most `longest` pieces on each side."""
    sides = [[len(row) for row in side] for side in pair_ids(model.tokenizer, pairs)]
    return pairs.at([place for place, pair in enumerate(zip(*sides, strict=True)) if max(pair) <= longest])


def dropped_or_plain(
    tokenizer: Any, texts: Sequence[str], dropout: float, seed: int, *, target: bool = False
) -> Callable[[int], Rows]:
    """What gives the texts' pieces in an epoch: cut anew each time where dropout is above 0."""
    if dropout > 0:
        return DroppedSubwords(tokenizer, texts, dropout, seed).ids
    rows = piece_ids(tokenizer, texts, target=target)
    return lambda _: rows


def token_batches(sources: Rows, targets: Rows, tokens: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Places of each batch: alike in length, at most `tokens` tokens of the longer side with padding, or one pair."""
    sizes = [(len(target), len(source)) for source, target in zip(sources, targets, strict=True)]
    order = random.permutation(len(sizes))
    batches: list[list[int]] = []
    for begin in range(0, len(order), CHUNK):
        batch: list[int] = []
        longest = 0
        for place in sorted(order[begin : begin + CHUNK].tolist(), key=lambda one: sizes[one]):
            longest = max(longest, *sizes[place])
            if batch and longest * (len(batch) + 1) > tokens:
                batches.append(batch)
                batch, longest = [], max(sizes[place])
            batch.append(place)
        batches.append(batch)
    yield from (batches[place] for place in random.permutation(len(batches)))


@dataclass(frozen=True)
class PairBatch:
    """Tensors of some pairs. arguments: of the module. labels: (texts, tokens), IGNORED where there is padding.

    taught: what a teacher says at the labels that count, in order; None without.
    """

    arguments: dict[str, Tensor]
    labels: Tensor
    taught: TopTail | None = None


def pair_batch(model: Model, sources: Rows, targets: Rows, taught: TopTail | None = None) -> PairBatch:
    """The batch of these pieces; the decoder reads what it is to write, one place later."""
    config = model.module.config
    ids, labels = _padded(sources, config.pad_token_id), _padded(targets, IGNORED)
    start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
    shifted = torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, config.pad_token_id)], dim=1)
    lengths = torch.tensor([len(row) for row in sources])
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    return PairBatch({"input_ids": ids, "attention_mask": mask, "decoder_input_ids": shifted}, labels, taught)


def _padded(rows: Rows, fill: int) -> Tensor:
    out = torch.full((len(rows), max(map(len, rows))), fill)
    for place, row in enumerate(rows):
        out[place, : len(row)] = torch.tensor(row)
    return out


def pair_loss(module: Any, batch: PairBatch, smoothing: float, alpha: float = 0.0) -> Tensor:
    """(1 - α) · cross-entropy, labels smoothed, + α · KL(teacher ‖ student), mean over the target's pieces.

    Label smoothing: Szegedy et al. 2016, arXiv:1512.00567. Word-level distillation: Kim and Rush 2016,
    arXiv:1606.07947, eq. 4, over the teacher's likeliest pieces and the share of all others together.
    """
    counted = batch.labels != IGNORED
    logits = module(**batch.arguments, use_cache=False).logits[counted].float()
    loss = F.cross_entropy(logits, batch.labels[counted], label_smoothing=smoothing)
    if batch.taught is None or alpha == 0:
        return loss
    own = tail_shares(logits, batch.taught.indices)
    return (1 - alpha) * loss + alpha * divergence(own, batch.taught.given()).mean()


@torch.no_grad()
def piece_loss(model: Model, pairs: Pairs, tokens: int = 4_096) -> float:
    """Mean cross-entropy of a piece of the targets, in nats, without label smoothing."""
    module = model.module.eval()
    sources, targets = pair_ids(model.tokenizer, pairs)
    total, count = 0.0, 0
    for own in token_batches(sources, targets, tokens, np.random.default_rng(0)):
        batch = pair_batch(model, [sources[place] for place in own], [targets[place] for place in own])
        pieces = int((batch.labels != IGNORED).sum())
        total += float(pair_loss(module, batch, 0.0)) * pieces
        count += pieces
    return total / count


@torch.no_grad()
def word_shares(
    model: Model, sources: Rows, targets: Rows, k: int = 8, tokens: int = 4_096,
    progress: Callable[[int, int], None] | None = None,
) -> list[TopTail]:  # fmt: skip
    """What a teacher says of every piece of every target: its k likeliest pieces and the others' share, a text each."""
    module = model.module.eval()
    found: list[TopTail | None] = [None] * len(sources)
    done = 0
    for own in token_batches(sources, targets, tokens, np.random.default_rng(0)):
        batch = pair_batch(model, [sources[place] for place in own], [targets[place] for place in own])
        logits = module(**batch.arguments, use_cache=False).logits
        for row, place in enumerate(own):
            found[place] = top_tail(logits[row, : len(targets[place])], k)
        done += len(own)
        if progress is not None:
            progress(done, len(sources))
    return [one for one in found if one is not None]


def join_shares(rows: Sequence[TopTail]) -> TopTail:
    """The shares of several texts, one after the other."""
    return TopTail(torch.cat([one.indices for one in rows]), torch.cat([one.shares for one in rows]))
