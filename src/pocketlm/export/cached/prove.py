"""Whether graphs say what torch says: logits after a prompt, after several at once, and after single tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pocketlm.model.pretrained import Model
from pocketlm.runtime.cached import Decoder, Graphs

# Tokens of the two prompts, and single tokens after them.
LENGTHS, STEPS = (9, 5), 3


@dataclass(frozen=True)
class Difference:
    """‖graph − torch‖ / ‖torch‖ of logits. plain: of one with float products. rounded: of the graph as written."""

    plain: float
    rounded: float


def difference(
    model: Model, about: Mapping[str, Any], members: Mapping[str, bytes], plain: Callable[[], Mapping[str, bytes]]
) -> Difference:
    """How far the graphs are from torch. plain: gives the members with float products."""
    words = int(model.module.get_input_embeddings().weight.shape[0])
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(words, (len(LENGTHS), max(LENGTHS) + STEPS), generator=generator)
    with torch.no_grad():
        wanted = _torch(model, ids)
    found = _furthest(about, members, ids, wanted)
    if not any(b"MatMulNBits" in data for name, data in members.items() if name.endswith(".onnx")):
        return Difference(found, found)
    return Difference(_furthest(about, {**members, **plain()}, ids, wanted), found)


def _furthest(about: Mapping[str, Any], members: Mapping[str, bytes], ids: Tensor, wanted: Tensor) -> float:
    """Of the decoder with its whole head and, where it has one, of that with the head's columns for chosen tokens."""
    decoder = Decoder(Graphs(members, 0), about)
    heads = (None, np.arange(decoder.words)) if about["form"] == "encoder-decoder" else (None,)
    return max(_relative(_runtime(decoder, about, ids, chosen), wanted) for chosen in heads)


def _relative(found: np.ndarray, wanted: Tensor) -> float:
    value = float(np.linalg.norm(found - wanted.numpy()) / max(1e-30, float(wanted.norm())))
    return value if value == value else float("inf")


def _torch(model: Model, ids: Tensor) -> Tensor:
    """Logits (rows, 1 + STEPS, words): each row by itself, without a cache."""
    found = []
    for row, length in enumerate(LENGTHS):
        tokens = ids[row : row + 1, : length + STEPS]
        given = {"input_ids": tokens}
        if model.module.config.is_encoder_decoder:
            given = {"input_ids": ids[row : row + 1, :length], "decoder_input_ids": tokens}
        found.append(model.module(**given, use_cache=False).logits[0, length - 1 :])
    return torch.stack(found).float()


def _runtime(decoder: Decoder, about: Mapping[str, Any], ids: Tensor, chosen: np.ndarray | None) -> np.ndarray:
    """The same by the runtime, with the rows in one run where prompts may differ in length, else one by one."""
    tokens, most = ids.numpy(), ids.shape[1]
    if about["form"] == "encoder-decoder":
        rows = []
        for row, length in enumerate(LENGTHS):
            sources = np.pad(tokens[row : row + 1, :length], ((0, 0), (0, 2)))
            mask = (np.arange(length + 2) < length)[None].astype(np.int64)
            run = decoder.begin_from(sources, mask, most, chosen)
            rows.append(_steps(run, tokens[row : row + 1], np.array([length])))
        return np.concatenate(rows)
    return _steps(decoder.begin(len(LENGTHS), most), tokens, np.array(LENGTHS))


def _steps(run: Any, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    filled = np.where(np.arange(lengths.max()) < lengths[:, None], tokens[:, : lengths.max()], 0)
    found = [run.read(filled, lengths).copy()]
    for step in range(STEPS):
        found.append(run.read(tokens[np.arange(len(tokens)), lengths + step][:, None]).copy())
    return np.stack(found, axis=1)
