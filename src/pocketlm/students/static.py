"""Build a bag of static embeddings: one vector a piece, from the teacher reading the piece alone.

Model2Vec (Tulkens and van Dongen 2024): piece vectors from the sentence encoder, PCA, weights by rarity
(SIF, Arora et al. 2017), then trained together with the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from pocketlm.knobs import Choice, Whole, knob
from pocketlm.model.bag import BagModule
from pocketlm.model.encoder import EncoderModule
from pocketlm.model.readout import pool
from pocketlm.model.task_model import TaskModel, TaskSpec
from pocketlm.runtime.inputs import PieceBagInputs, PieceInputs
from pocketlm.students.pieces import VOCABULARY, Pieces, student_pieces
from pocketlm.train.context import FitContext


@dataclass(frozen=True)
class StaticEmbeddings:
    """A bag of piece vectors of `width`; pieces: at most so many."""

    name: ClassVar[str] = "static-embeddings"
    width: int = knob(96, Whole(32, 256, 16), decisive=True)
    pieces: int | None = knob(None, VOCABULARY, quiet=True)
    hidden: bool = knob(True, Choice((True, False)))
    window: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is at least 1, got {self.width}")
        if (self.pieces is not None and self.pieces < 1) or not 0 <= self.dropout < 1:
            raise ValueError("pieces are at least 1, and dropout is from 0 to below 1")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """A fresh bag; vectors start from the teacher's where there is one, else from noise."""
        torch.manual_seed(context.seed)
        pieces = student_pieces(context, self.pieces)
        module = BagModule(
            context.outputs, len(pieces.counts), self.width,
            hidden=self.hidden, window=self.window if context.tagging else 0, dropout=self.dropout,
        )  # fmt: skip
        share = torch.from_numpy(pieces.counts / max(1, pieces.counts.sum())).float()
        module.importance.copy_(1e-3 / (1e-3 + share))
        if context.teacher is not None and isinstance(context.teacher.module, EncoderModule):
            vectors = _piece_vectors(context.teacher.module, pieces, context)
            if context.vectors and not self.hidden:
                _start_as_teacher(module, context.teacher.module.readout.heads["vector"](vectors))
            else:
                module.table.data[:, : vectors.shape[1]] = _principal(vectors, self.width) * 0.3
        assert isinstance(pieces.inputs, PieceInputs)  # questions are never read as bags
        return TaskModel(module, PieceBagInputs(pieces.inputs), TaskSpec("bag", context.outputs))


@torch.no_grad()
def _piece_vectors(teacher: EncoderModule, pieces: Pieces, context: FitContext) -> Tensor:
    """The teacher's pooled state of each piece between its special tokens: (pieces, teacher's width)."""
    assert pieces.old is not None and context.pretrained is not None
    frame = context.teacher.inputs.tokenizer.encode("").ids  # type: ignore[union-attr]
    half = len(frame) // 2  # of a single one, it comes after the text
    ids = np.array([[*frame[:half], piece, *frame[half:]] for piece in pieces.old], np.int64)
    vectors = []
    for begin in range(0, len(ids), 512):
        batch = torch.from_numpy(ids[begin : begin + 512])
        mask = torch.ones_like(batch)
        vectors.append(pool(teacher.hidden(batch, mask), mask, teacher.readout.pooling))
    return torch.cat(vectors)


@torch.no_grad()
def _start_as_teacher(module: BagModule, vectors: Tensor) -> None:
    """Rows in the teacher's own directions, centred and of unit spread, so that a bag begins as their mean."""
    width = min(module.table.shape[1], vectors.shape[1])
    centred = (vectors - vectors.mean(0))[:, :width]
    module.table[:, :width] = centred / centred.std().clamp(min=1e-6) * 0.3
    head = module.heads["vector"]
    assert isinstance(head, nn.Linear)
    nn.init.eye_(head.weight)
    nn.init.zeros_(head.bias)


def _principal(vectors: Tensor, width: int) -> Tensor:
    """Coordinates on the first `width` principal components, of unit spread: (rows, ≤ width)."""
    centred = vectors - vectors.mean(0)
    _, _, right = torch.linalg.svd(centred, full_matrices=False)
    found = centred @ right[:width].T
    unit: Tensor = found / found.std().clamp(min=1e-6)
    return unit
