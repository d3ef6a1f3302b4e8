"""Keep the table rows that matter, by what each adds to the text vectors of the training texts.

Beside an encoder these are the texts with labels, from which alone n-grams learn there.

By energy: Σ over texts of (weight · ‖row‖)², a row's share of the summed vectors' energy, which is magnitude weighted
by how often a row is read, as in Wanda (Sun et al. 2023, arXiv:2306.11695). By magnitude: ‖row‖² alone (Han et al.
2015, arXiv:1506.02626). By frequency: how often it is read, whatever it has learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, knob
from pocketlm.model.bag import BagModule
from pocketlm.model.stack import StackModule, unstack
from pocketlm.model.task_model import TaskModel
from pocketlm.runtime.inputs import BagInputs
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import Lesson, with_labels


def row_energy(table: Tensor, reads: Tensor) -> Tensor:
    """Squared norm of each row times the sum of squared weights it is read with. table: (rows, width)."""
    return table.square().sum(dim=1) * reads


def row_magnitude(table: Tensor, reads: Tensor) -> Tensor:
    """Squared norm of each row. table: (rows, width)."""
    return table.square().sum(dim=1)


def row_frequency(table: Tensor, reads: Tensor) -> Tensor:
    """The sum of squared weights each row is read with."""
    return reads


CRITERIA: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "energy": row_energy, "magnitude": row_magnitude, "frequency": row_frequency
}  # fmt: skip


@dataclass(frozen=True)
class PruneRows:
    """Keep the `rows` most important rows of a table of hashed n-grams; fewer rows than that stay as they are.

    Where the table has more, rows that add nothing to any text, as those of n-grams that no labelled text has, are not
    kept even if fewer than `rows` are left.

    criterion: what makes a row important: "energy", "magnitude" or "frequency".
    """

    name: ClassVar[str] = "prune-rows"
    rows: int = 8192
    criterion: str = knob("energy", Choice(tuple(CRITERIA)), quiet=True)

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion is one of {', '.join(CRITERIA)}, got {self.criterion!r}")
        if self.rows < 1:
            raise ValueError(f"rows is at least 1, got {self.rows}")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The model with a smaller table; its inputs skip the buckets that lost their row."""
        bag = unstack(model)[1] if model is not None and isinstance(model.module, StackModule) else model
        if bag is None or not isinstance(bag.module, BagModule) or not isinstance(bag.inputs, BagInputs):
            raise RecipeError("prune-rows works on hashed n-grams; put it after hashed-ngrams or beside-ngrams")
        assert model is not None
        module, inputs = bag.module, bag.inputs
        if len(module.table) <= self.rows:
            return model
        # beside an encoder n-grams have learnt from texts with labels alone
        read = context.lesson if bag is model else with_labels(context.lesson, context.outputs)
        reads = torch.from_numpy(_reads(inputs, read, len(module.table)))
        score = CRITERIA[self.criterion](module.stored_table().detach(), reads)
        kept = torch.sort(score.topk(min(self.rows, max(1, int((score > 0).sum())))).indices).values
        assert inputs.lookup is not None
        rank = np.full(len(module.table), -1, np.int32)
        rank[kept.numpy()] = np.arange(len(kept), dtype=np.int32)
        inputs.lookup = np.where(inputs.lookup >= 0, rank[inputs.lookup], np.int32(-1)).astype(np.int32)
        module.table = nn.Parameter(module.table.detach()[kept].clone())
        module.importance = module.importance[kept].clone()
        return model


def _reads(inputs: BagInputs, read: Lesson, rows: int) -> np.ndarray:
    """Sum of squared weights each row is read with, over texts and words of these texts."""
    total = np.zeros(rows, np.float32)
    for one in inputs.encode(read.texts):
        np.add.at(total, one.arrays[0], one.arrays[1] ** 2)
        if inputs.tagging:
            np.add.at(total, one.arrays[2], one.arrays[3] ** 2)
    return total
