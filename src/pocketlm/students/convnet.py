"""Build a small convolutional encoder on the teacher's piece embeddings.

Kim 2014, arXiv:1408.5882 (convolutions over word vectors), with residual layers and LayerNorm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from pocketlm.knobs import Whole, knob
from pocketlm.model.task_model import TaskModel, TaskSpec
from pocketlm.model.transformer import Shape, SmallEncoder
from pocketlm.students.pieces import VOCABULARY, student_pieces
from pocketlm.students.transformer import start_embeddings
from pocketlm.train.context import FitContext


@dataclass(frozen=True)
class SmallConvnet:
    """`depth` convolutions of `width`, each reading `reach` pieces on both sides; rank: of the embeddings."""

    name: ClassVar[str] = "small-convnet"
    depth: int = knob(2, Whole(1, 4))
    width: int = knob(128, Whole(64, 256, 32), decisive=True)
    reach: int = knob(1, Whole(1, 3))
    rank: int = knob(64, Whole(32, 128, 16))
    pieces: int | None = knob(None, VOCABULARY, quiet=True)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.reach, self.rank) < 1:
            raise ValueError("depth, width, reach and rank are at least 1")
        if (self.pieces is not None and self.pieces < 1) or not 0 <= self.dropout < 1:
            raise ValueError("pieces are at least 1, and dropout is from 0 to below 1")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """A fresh convnet; its embeddings start from the teacher's where there is one."""
        torch.manual_seed(context.seed)
        pieces = student_pieces(context, self.pieces)
        shape = Shape(
            pieces=len(pieces.counts), rank=min(self.rank, self.width), width=self.width, depth=self.depth,
            max_length=context.max_length, reach=self.reach,
        )  # fmt: skip
        module = SmallEncoder(shape, context.outputs, self.dropout)
        if context.pretrained is not None:
            start_embeddings(module, pieces, context, {})
        return TaskModel(module, pieces.inputs, TaskSpec("conv", context.outputs))
