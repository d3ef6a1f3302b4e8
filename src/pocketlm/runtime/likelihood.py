"""How probable a text is to a model that writes: what perplexity and bits a byte are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pocketlm.errors import DataError
from pocketlm.runtime.generate import Generator

# Tokens of a window, in which a token is predicted from those before it.
WINDOW = 1024
# Logits that are held at once.
CHUNK = 128

Window = dict[str, Any]


def likelihoods(model: Generator, texts: Sequence[str], window: int = WINDOW) -> list[dict[str, list[Window]]]:
    """{"windows": [{"nats", "tokens", "bytes"}, …]} of each text.

    A text falls into windows of so many tokens (at most the model's context) that do not overlap. nats: −ln p of the
    tokens predicted, all of a window but its first. bytes: of what those tokens stand for, in UTF-8.
    Raises DataError for a model that translates, or a text of one token.
    """
    if model.translates:
        raise DataError("this Pocket writes from a source: its text has no perplexity of its own")
    return in_windows(model.tokenizer, texts, min(window, model.context), lambda ids: _nats(model, ids))


def in_windows(
    tokenizer: Any, texts: Sequence[str], window: int, nats: Callable[[Any], float]
) -> list[dict[str, list[Window]]]:
    """As `likelihoods`, of any model. tokenizer: of `tokenizers`. nats: −ln p of all ids of a window but the first."""
    return [{"windows": _windows(tokenizer, text, window, number, nats)} for number, text in enumerate(texts, 1)]


def _windows(tokenizer: Any, text: str, window: int, number: int, nats: Callable[[Any], float]) -> list[Window]:
    read = tokenizer.encode(text)
    ids = np.array(read.ids, np.int64)
    # special tokens stand for no characters, wherever they are
    ends = np.maximum.accumulate([end for _, end in read.offsets]) if len(ids) else ids
    found = []
    for begin in range(0, len(ids), window):
        part = ids[begin : begin + window]
        if len(part) > 1:
            span = text[ends[begin] : ends[begin + len(part) - 1]]
            found.append({"nats": nats(part), "tokens": len(part) - 1, "bytes": len(span.encode())})
    if not found:
        raise DataError(f"text {number}: has {len(ids)} tokens; a prediction needs two")
    return found


def _nats(model: Generator, ids: Any) -> float:
    """−ln p of all ids but the first."""
    run = model.decoder.begin(1, len(ids))
    total = 0.0
    for begin in range(0, len(ids) - 1, CHUNK):
        part = ids[begin : min(begin + CHUNK, len(ids) - 1)]
        logits = run.read(part[None], picks=np.arange(len(part)))
        top = logits.max(axis=1)
        sums = np.log(np.exp(logits - top[:, None]).sum(axis=1, dtype=np.float64)) + top
        total += float((sums - logits[np.arange(len(part)), ids[begin + 1 : begin + 1 + len(part)]]).sum())
    return total
