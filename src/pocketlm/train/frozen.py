"""Texts as a pretrained model sees them before it is fine-tuned: one vector each."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from pocketlm.data.kinship import Kinship
from pocketlm.model.encoder import Pretrained
from pocketlm.model.readout import pool
from pocketlm.model.task_model import TaskModel
from pocketlm.progress import Progress
from pocketlm.runtime.inputs import PieceInputs, Text
from pocketlm.runtime.vectors import Floats
from pocketlm.train.lesson import tensors
from pocketlm.train.loop import gains_from_bf16

logger = logging.getLogger(__name__)

# Pieces in a batch, padding included: short texts go by the hundred.
BATCH_PIECES = 4_096
# Change this when vectors change; those that were kept are then asked for anew.
SEEN_VERSION = 1
# Texts after which vectors are written, so that work which is stopped goes on from there.
KEPT_AT_ONCE = 8_192
# Of two languages that are compared: texts of each, and pieces read of a text.
TEXTS_COMPARED, PIECES_COMPARED = 300, 64


def pooled(module: Any, arrays: Mapping[str, Tensor]) -> Tensor:
    """What the readout of an encoder sees of whole texts: (texts, width)."""
    read = {name: arrays[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in arrays}
    return pool(module.hidden(**read), arrays["attention_mask"], module.readout.pooling)


@torch.no_grad()
def pooled_vectors(model: TaskModel, texts: Sequence[Text]) -> Floats:
    """What an encoder's readout reads of each text, before its heads: (texts, width)."""
    module: Any = model.module.eval()
    encoded = model.inputs.encode(texts)
    order = sorted(range(len(texts)), key=lambda place: encoded[place].length)
    vectors: list[Tensor] = [torch.zeros(0)] * len(texts)
    at = 0
    while at < len(order):
        size = max(1, BATCH_PIECES // max(1, encoded[order[min(at + 63, len(order) - 1)]].length))
        places = order[at : at + size]
        batch = tensors(model.inputs.collate([encoded[place] for place in places]))
        for place, one in zip(places, pooled(module, batch).float(), strict=True):
            vectors[place] = one
        at += size
    found: Floats = torch.stack(vectors).numpy()
    return found


class Seen:
    """Vectors of texts by one encoder, asked for once. path: a file that keeps them from run to run, or None."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._found: dict[Text, Floats] = {}
        if path is not None and path.is_file():
            try:
                with np.load(path, allow_pickle=False) as stored:
                    self._found = dict(zip(json.loads(str(stored["texts"])), stored["vectors"], strict=True))
            except (OSError, ValueError, KeyError, BadZipFile):
                logger.warning("%s: cannot be read; its vectors are asked for anew", path)

    def apart(self) -> Seen:
        """The same vectors, kept in no file: for another process."""
        twin = Seen()
        twin._found = dict(self._found)
        return twin

    def of(self, model: TaskModel, texts: Sequence[Text], progress: Progress) -> Floats:
        """The vectors of these texts, as `pooled_vectors` has them: (texts, width)."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._found]:
            progress.stage(f"asking how the teacher sees {len(new):,} words and texts")
            for begin in range(0, len(new), KEPT_AT_ONCE):
                some = new[begin : begin + KEPT_AT_ONCE]
                self._found.update(zip(some, pooled_vectors(model, some), strict=True))
                self._keep()
                progress.step(begin + len(some), len(new))
        return np.stack([self._found[text] for text in texts])

    def _keep(self) -> None:
        """Write the file, whole or not at all; questions and lists of words are asked for anew."""
        kept = {text: vector for text, vector in self._found.items() if isinstance(text, str)}
        if self.path is None or not kept:
            return
        partial = self.path.with_suffix(".partial.npz")
        np.savez(partial, texts=json.dumps(list(kept)), vectors=np.stack(list(kept.values())))
        partial.replace(self.path)


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


def with_meaning(
    near: Sequence[Kinship], texts: Sequence[str], others: Sequence[Sequence[str]], pretrained: Pretrained
) -> list[Kinship]:
    """With the mean cosine of each of `texts` with its nearest of each of the others, by the model's frozen vectors."""
    sides = [list(side[:TEXTS_COMPARED]) for side in (texts, *others)]
    vectors = frozen_vectors(pretrained, [text for side in sides for text in side], PIECES_COMPARED)
    own, place, found = vectors[: len(sides[0])], len(sides[0]), []
    for one, side in zip(near, sides[1:], strict=True):
        theirs = vectors[place : place + len(side)]
        found.append(replace(one, meaning=float((own @ theirs.T).max(1).mean())))
        place += len(side)
    return found
