"""A contrastive start for few labelled rows: an encoder learns which of them are alike, then a head is fitted to it.

SetFit (Tunstall et al. 2022, arXiv:2209.11055) in one go: instead of drawn pairs, every pair of a batch counts, by the
supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, eq. 2). The head is a logistic regression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.runtime.unsure import single_output
from pocketlm.train.frozen import pooled
from pocketlm.train.heads import fit_head
from pocketlm.train.heal import HealSchedule, RateGroup, heal
from pocketlm.train.lesson import lesson, tensors
from pocketlm.train.loop import gains_from_bf16


@dataclass(frozen=True)
class Contrast:
    """How the encoder is tuned: so many epochs of `batch` texts, between `least` and `most` steps.

    rate: peak learning rate. temperature: of the cosines. strength: of the head's regression, as C of scikit-learn.
    """

    epochs: int = 20
    least: int = 60
    most: int = 120
    batch: int = 16
    rate: float = 5e-5
    temperature: float = 0.1
    strength: float = 100.0

    def steps(self, texts: int) -> int:
        """Steps for so many texts."""
        return max(self.least, min(self.most, self.epochs * texts // self.batch))


def contrastive_loss(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean over texts of the mean -log share of each text of its label among the batch's other texts.

    vectors: (texts, width), of any length; labels: (texts,). Texts that are alone with their label do not count.
    Khosla et al. 2020, eq. 2, whose sum is outside the logarithm.
    """
    units = F.normalize(vectors, dim=-1)
    itself = torch.eye(len(units), dtype=torch.bool)
    shares = (units @ units.T / temperature).masked_fill(itself, -torch.inf).log_softmax(-1)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    known = alike.any(-1)
    if not known.any():
        return vectors.sum() * 0
    each = shares.masked_fill(~alike, 0).sum(-1)[known] / alike.sum(-1)[known]
    return -each.mean()


def balanced_batches(labels: Sequence[int], size: int, seed: int) -> Iterator[list[int]]:
    """Places of batch after batch: classes in turn, each with at least two texts of a batch (one twice if it is alone).

    Every text of a class comes about as often as any other.
    """
    random = np.random.default_rng(seed)
    rows = {label: [place for place, own in enumerate(labels) if own == label] for label in sorted(set(labels))}
    queues: dict[int, list[int]] = {label: [] for label in rows}
    each = max(2, size // len(rows))
    turn: list[int] = []
    while True:
        batch: list[int] = []
        while len(batch) + each <= max(size, each):
            turn = turn or random.permutation(list(rows)).tolist()
            label = turn.pop()
            while len(queues[label]) < each:
                queues[label] += random.permutation(rows[label]).tolist()
            batch += queues[label][:each]
            del queues[label][:each]
        yield batch


def contrastive_start(
    model: TaskModel, examples: Sequence[Example], how: Contrast, *, seed: int = 0,
    progress: Progress | None = None, deadline: Deadline | None = None,
) -> str:  # fmt: skip
    """Tune an encoder in place on which examples have one label, fit its head to them, and say what was done.

    Word embeddings stay: few rows teach few words, and they are most of a multilingual encoder's weights.
    """
    module, output = model.module, _labelled(model.spec.outputs)
    given: Any = module
    own = lesson([one for one in examples if one.labels], model.spec.outputs)
    labels = torch.tensor(np.array(own.labels[output.name], np.int64))
    encoded = model.inputs.encode(own.texts)

    def loss(places: list[int]) -> Tensor:
        read = tensors(model.inputs.collate([encoded[place] for place in places]))
        return contrastive_loss(pooled(given, read).float(), labels[places], how.temperature)

    torch.manual_seed(seed)
    module.train()
    schedule = HealSchedule(how.steps(len(own)), fast=gains_from_bf16())
    with _words_frozen(given.backbone) as tuned:
        groups = [RateGroup(tuned, how.rate, 0.01)]
        places = balanced_batches(labels.tolist(), how.batch, seed)
        done = heal(groups, loss, places, schedule, progress=(progress or Silent()).step, deadline=deadline)
    module.eval()
    fit_head(model, examples, (how.strength,), seed=seed)
    return f"contrastive start: {len(done.losses)} steps of {how.batch} texts, loss {done.last:.3f}; {done.ended}"


@contextmanager
def _words_frozen(backbone: nn.Module) -> Iterator[list[nn.Parameter]]:
    """The parameters that may be tuned, while tables of embeddings take no gradient."""
    tables = {
        id(weight) for part in backbone.modules() if isinstance(part, nn.Embedding) for weight in part.parameters()
    }
    every = [weight for weight in backbone.parameters() if weight.requires_grad]
    frozen = [weight for weight in every if id(weight) in tables]
    for weight in frozen:
        weight.requires_grad_(False)
    try:
        yield [weight for weight in every if id(weight) not in tables]
    finally:
        for weight in frozen:
            weight.requires_grad_(True)


def _labelled(outputs: Sequence[Output]) -> Output:
    found = single_output(outputs)
    assert found is not None, "a contrastive start is for texts with one label each"
    return found
