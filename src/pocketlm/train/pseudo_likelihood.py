"""How well an encoder foresees hidden pieces of a text: pseudo-likelihood, in nats and in bits a byte.

A piece is asked for with itself and the rest of its word to the right hidden, all else is seen (Kauf and Ivanova 2023,
arXiv:2305.10588, after Salazar et al. 2020, arXiv:1910.14659): long words cut into many pieces do not give themselves
away, so that vocabularies compare. It sees both sides, and is no probability of the text: it compares with other
encoders, not with models that write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pocketlm.errors import DataError
from pocketlm.model.pretrained import Model
from pocketlm.train.language_modelling import Language
from pocketlm.train.likelihood import bare_tokenizer, context_of

# Places of a text that are asked for, pieces of a row, and rows that are read at once.
PLACES, LENGTH, BATCH = 2_048, 64, 32


def frame(model: Model) -> tuple[list[int], list[int]]:
    """The special pieces that the model's tokenizer puts before and after a text."""
    read = bare_tokenizer(model).encode("a")
    marks = [place for place, mark in enumerate(read.special_tokens_mask) if not mark] or [len(read.ids)]
    return read.ids[: marks[0]], read.ids[marks[-1] + 1 :]


@torch.no_grad()
def pseudo_likelihood(
    language: Language, texts: Sequence[str], places: int = PLACES, length: int = LENGTH, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """{"nats", "tokens", "bytes"} of each of so many places, drawn at random with this seed.

    bytes: the texts' bytes a piece, the same for all, so that sums over places estimate bits a byte. Raises DataError
    for texts without a piece.
    """
    model = language.model
    first, last = frame(model)
    room = min(length, context_of(model)) - len(first) - len(last)
    rows = [row for text in texts for row in _rows(model, text, room)]
    asked = [(row, place) for row, (ids, _) in enumerate(rows) for place in range(len(ids))]
    if not asked:
        raise DataError("the texts have no piece to ask for")
    share = sum(len(text.encode()) for text in texts) / len(asked)
    drawn = np.random.default_rng(seed).permutation(len(asked))[:places].tolist()
    drawn.sort(key=lambda one: len(rows[asked[one][0]][0]))
    model.module.eval()
    found: list[dict[str, float]] = []
    for begin in range(0, len(drawn), BATCH):
        batch = [asked[one] for one in drawn[begin : begin + BATCH]]
        for nats in _asked(language, [(*rows[row], place) for row, place in batch], first, last):
            found.append({"nats": nats, "tokens": 1, "bytes": share})
        if progress is not None:
            progress(len(found), len(drawn))
    return found


def _asked(language: Language, batch: Sequence[tuple[Any, Any, int]], first: list[int], last: list[int]) -> list[float]:
    """−ln p of one piece of each row."""
    longest = max(len(ids) for ids, _, _ in batch) + len(first) + len(last)
    given = torch.full((len(batch), longest), language.pad)
    seen, asked = torch.zeros_like(given), torch.zeros(given.shape, dtype=torch.bool)
    wanted = []
    for row, (ids, words, place) in enumerate(batch):
        hidden = [
            int(language.mask or 0) if at >= place and words[at] == words[place] else one for at, one in enumerate(ids)
        ]
        whole = [*first, *hidden, *last]
        given[row, : len(whole)], seen[row, : len(whole)] = torch.tensor(whole), 1
        asked[row, len(first) + place] = True
        wanted.append(ids[place])
    logits = language.logits(given, seen, asked).float()
    nats: list[float] = F.cross_entropy(logits, torch.tensor(wanted), reduction="none").tolist()
    return nats


def _rows(model: Model, text: str, room: int) -> list[tuple[list[int], list[int]]]:
    """The text's pieces in rows, each piece with the number of its word: words stand between spaces."""
    read = bare_tokenizer(model).encode(text, add_special_tokens=False)
    spaces = np.cumsum([int(char.isspace()) for char in text] or [0])
    words = []
    for begin, end in read.offsets:
        begin += next((at for at, char in enumerate(text[begin:end]) if not char.isspace()), 0)
        words.append(int(spaces[min(begin, len(spaces) - 1)]))
    return [(read.ids[at : at + room], words[at : at + room]) for at in range(0, len(read.ids), room)]
