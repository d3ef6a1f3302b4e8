"""Losses on logits and hidden states, driven by the kind of each output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pocketlm.outputs import Output
from pocketlm.train.lesson import Batch

# Cosines are in [-1, 1]: without a factor their softmax would be almost flat.
RELATION_SHARPNESS = 5.0


def label_loss(logits: Tensor, labels: Tensor, output: Output) -> Tensor:
    """Mean cross-entropy with the labels (binary a label for multi); texts without a label do not count."""
    if output.kind == "multi":
        known = ~labels.isnan()
        if not known.any():
            return logits.sum() * 0
        return F.binary_cross_entropy_with_logits(logits[known], labels[known])
    if not (labels >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(logits, labels, ignore_index=-100)


def distillation_loss(logits: Tensor, teacher: Tensor, output: Output, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student) of the distributions softened by T, mean over texts or words.

    Hinton et al. 2015, arXiv:1503.02531; for multi-label outputs the sum of the labels' binary divergences.
    It is 0 when the student says what the teacher says. Rows of NaN in `teacher` do not count.
    """
    known = ~teacher.isnan().any(dim=-1)
    if not known.any():
        return logits.sum() * 0
    own, given = logits[known] / temperature, teacher[known] / temperature
    if output.kind == "multi":
        target = given.sigmoid()
        cross = F.binary_cross_entropy_with_logits(own, target, reduction="none")
        entropy = F.binary_cross_entropy_with_logits(given, target, reduction="none")
        return (cross - entropy).sum(-1).mean() * temperature**2
    divergence = F.kl_div(own.log_softmax(-1), given.log_softmax(-1), reduction="batchmean", log_target=True)
    return divergence * temperature**2


def hidden_loss(states: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """1 - cosine of student's and teacher's states, mean over pieces. states, teacher: (texts, pieces, width)."""
    near = F.cosine_similarity(states, teacher, dim=-1)
    weight = mask.to(near.dtype)
    return ((1 - near) * weight).sum() / weight.sum().clamp(min=1)


def relation_loss(states: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL between the pieces' scaled dot-product relations, so that widths may differ.

    As MiniLMv2 (Wang et al. 2020, arXiv:2012.15828, eq. 4), on last hidden states of unit length times the
    constant sharpness instead of queries, keys and values. states: (texts, pieces, any width).
    """
    blocked = (1 - mask.to(states.dtype))[:, None, :] * -1e4
    units = (F.normalize(states, dim=-1), F.normalize(teacher, dim=-1))
    own, given = ((unit @ unit.transpose(1, 2)) * RELATION_SHARPNESS + blocked for unit in units)
    divergence = F.kl_div(own.log_softmax(-1), given.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    weight = mask.to(states.dtype)
    return (divergence * weight).sum() / weight.sum().clamp(min=1)


@dataclass(frozen=True)
class Objective:
    """What training minimizes: (1 - α) · labels + α · distillation + β · hidden states.

    alpha: weight of the teacher's logits, in [0, 1]; 0 without a teacher. beta: of hidden states or relations.
    temperature: of the distillation.
    """

    alpha: float = 0.0
    beta: float = 0.0
    temperature: float = 8.0

    def __call__(self, logits: Mapping[str, Tensor], batch: Batch, outputs: Sequence[Output]) -> Tensor:
        """The loss on logits, summed over the outputs."""
        total = torch.zeros(())
        for output in outputs:
            own = logits[output.name].float()
            if self.alpha < 1:
                total = total + (1 - self.alpha) * label_loss(own, batch.labels[output.name], output)
            if self.alpha > 0 and output.name in batch.teacher:
                given = batch.teacher[output.name]
                total = total + self.alpha * distillation_loss(own, given, output, self.temperature)
        return total

    def on_hidden(self, states: Tensor, batch: Batch) -> Tensor:
        """The loss on hidden states of texts that student and teacher split alike."""
        assert batch.hidden is not None and batch.hidden_texts is not None
        if not batch.hidden_texts.any():
            return states.sum() * 0
        mask = batch.arrays["attention_mask"] * batch.hidden_texts[:, None]
        loss = hidden_loss if states.shape[-1] == batch.hidden.shape[-1] else relation_loss
        return self.beta * loss(states.float(), batch.hidden, mask)
