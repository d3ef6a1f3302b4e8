"""Losses on logits and hidden states, driven by the kind of each output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pocketlm.outputs import Output
from pocketlm.train.lesson import Batch

# Cosines are in [-1, 1]: without a factor their softmax would be almost flat.
RELATION_SHARPNESS = 5.0
# The same of whole texts' vectors, where what counts is which few are nearest: InfoNCE's usual 1 / 0.05.
NEIGHBOUR_SHARPNESS = 20.0
# Cosines that differ by 1 / this much count as different: CoSENT's own.
RANK_SHARPNESS = 20.0


def label_loss(logits: Tensor, labels: Tensor, output: Output) -> Tensor:
    """Mean cross-entropy with the labels (binary a label for multi); texts without a label do not count."""
    if output.kind == "multi":
        known = ~labels.isnan()
        if not known.any():
            return logits.sum() * 0
        return F.binary_cross_entropy_with_logits(logits[known], labels[known])
    if output.kind == "span":  # a choice between pieces for the begin, and one for the end
        logits, labels = logits.transpose(1, 2).flatten(0, 1), labels.flatten()
    if output.kind == "vector" or not (labels >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(logits, labels, ignore_index=-100)


def distillation_loss(logits: Tensor, teacher: Tensor, output: Output, temperature: float) -> Tensor:
    """T² · KL(teacher ‖ student) of the distributions softened by T, mean over texts or words.

    Hinton et al. 2015, arXiv:1503.02531; for multi-label outputs the sum of the labels' binary divergences.
    Of vectors: `vector_loss`, whatever the temperature. It is 0 when the student says what the teacher says. Rows of
    NaN in `teacher` do not count.
    """
    if output.kind == "span":
        logits, teacher = (one.transpose(1, 2).flatten(0, 1) for one in (logits, teacher))
    known = ~teacher.isnan().any(dim=-1)
    if not known.any():
        return logits.sum() * 0
    if output.kind == "vector":
        return vector_loss(logits[known], teacher[known])
    own, given = logits[known] / temperature, teacher[known] / temperature
    if output.kind == "multi":
        target = given.sigmoid()
        cross = F.binary_cross_entropy_with_logits(own, target, reduction="none")
        entropy = F.binary_cross_entropy_with_logits(given, target, reduction="none")
        return (cross - entropy).sum(-1).mean() * temperature**2
    divergence = F.kl_div(own.log_softmax(-1), given.log_softmax(-1), reduction="batchmean", log_target=True)
    return divergence * temperature**2


def logit_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of centred logits, mean over texts or words. logits, teacher: (rows, labels).

    What `distillation_loss` comes to where the temperature is high (Hinton et al. 2015, 2.1; Kim et al. 2021,
    arXiv:2105.08919). Rows of NaN in `teacher` do not count.
    """
    known = ~teacher.isnan().any(dim=-1)
    if not known.any():
        return logits.sum() * 0
    apart = logits[known] - teacher[known]
    return 0.5 * (apart - apart.mean(dim=-1, keepdim=True)).square().mean()


def vector_loss(vectors: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of student's and teacher's vectors, plus the KL of which other texts of the batch are near.

    vectors: (texts, width); teacher: (texts, at least that width), of which the student learns the first dimensions
    (Matryoshka, Kusupati et al. 2022, arXiv:2205.13147) and the nearness in all of them: softmax over the other texts
    of their cosines times NEIGHBOUR_SHARPNESS (Passalis and Tefas 2018, arXiv:1803.10837).
    """
    apart = (1 - F.cosine_similarity(vectors, teacher[:, : vectors.shape[1]], dim=-1)).mean()
    if len(vectors) < 3:  # one other text has all the nearness there is
        return apart
    units = (F.normalize(vectors, dim=-1), F.normalize(teacher, dim=-1))
    itself = torch.eye(len(vectors), dtype=torch.bool)
    own, given = ((unit @ unit.T * NEIGHBOUR_SHARPNESS).masked_fill(itself, -1e4).log_softmax(-1) for unit in units)
    return apart + F.kl_div(own, given, reduction="batchmean", log_target=True)


def rank_loss(cosines: Tensor, scores: Tensor) -> Tensor:
    """log(1 + sum of exp(s (c_j - c_i))) over pairs of pairs whose scores say that i is more alike than j.

    CoSENT (Su 2022, https://kexue.fm/archives/8847): a loss of the order alone, as Spearman's figure is.
    cosines, scores: (pairs,).
    """
    ordered = scores[:, None] > scores[None, :]
    wrong = (cosines[None, :] - cosines[:, None]) * RANK_SHARPNESS
    zero = torch.zeros(1, dtype=cosines.dtype)
    return torch.cat([zero, wrong[ordered]]).logsumexp(0)


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
    temperature: of the distillation. mixup: of the Beta that shares of blended texts are drawn from; 0 blends none.
    squares: whether logits of outputs with one label each are to be near the teacher's in place of softened shares.
    relations: whether relations count though states are as wide as the teacher's.
    """

    alpha: float = 0.0
    beta: float = 0.0
    temperature: float = 8.0
    mixup: float = 0.0
    squares: bool = False
    relations: bool = False

    def __call__(self, logits: Mapping[str, Tensor], batch: Batch, outputs: Sequence[Output]) -> Tensor:
        """The loss on logits, summed over the outputs."""
        total = torch.zeros(())
        for output in outputs:
            own = logits[output.name].float()
            if self.alpha < 1:
                total = total + (1 - self.alpha) * label_loss(own, batch.labels[output.name], output)
            if self.alpha > 0 and output.name in batch.teacher:
                given = batch.teacher[output.name]
                if self.squares and output.kind in ("single", "tags"):
                    total = total + self.alpha * logit_loss(own, given)
                else:
                    total = total + self.alpha * distillation_loss(own, given, output, self.temperature)
        return total

    def on_hidden(self, states: Tensor, batch: Batch) -> Tensor:
        """The loss on hidden states of texts that student and teacher split alike."""
        assert batch.hidden is not None and batch.hidden_texts is not None
        if not batch.hidden_texts.any():
            return states.sum() * 0
        mask = batch.arrays["attention_mask"] * batch.hidden_texts[:, None]
        as_wide = states.shape[-1] == batch.hidden.shape[-1]
        loss = hidden_loss if as_wide and not self.relations else relation_loss
        return self.beta * loss(states.float(), batch.hidden, mask)


@dataclass(frozen=True)
class TopTail:
    """What a teacher says at some places: shares of its likeliest classes, and of all others together.

    indices: int32 (places, k). shares: logarithms, float16 (places, k + 1), the last one the others'; (places, k)
    where k is all there are.
    """

    indices: Tensor
    shares: Tensor

    def given(self) -> Tensor:
        """The logarithms in float32, as shares that sum to 1 though each was rounded."""
        return self.shares.float().log_softmax(-1)


def top_tail(logits: Tensor, k: int, temperature: float = 1.0) -> TopTail:
    """The k likeliest classes of every row of `logits` (places, classes) at this temperature, and the others' share."""
    scaled = logits.float() / temperature
    indices = scaled.topk(min(k, logits.shape[-1]), dim=-1).indices.sort(dim=-1).values
    return TopTail(indices.int(), tail_shares(scaled, indices).half())


def tail_shares(scaled: Tensor, indices: Tensor) -> Tensor:
    """Log shares of these classes and, unless they are all, of the others together. scaled: (places, classes)."""
    top = scaled.gather(-1, indices.long()) - scaled.logsumexp(-1, keepdim=True)
    if indices.shape[-1] == scaled.shape[-1]:
        return top
    rest = (1 - top.exp().sum(-1, keepdim=True)).clamp(min=1e-7).log()
    return torch.cat([top, rest], dim=-1)


def divergence(own: Tensor, given: Tensor, beta: float = 0.0) -> Tensor:
    """Generalized Jensen-Shannon divergence of log shares (places, classes), a place: (places,).

    Agarwal et al. 2023, arXiv:2306.13649, eq. 2, with P the teacher's and M = βP + (1-β)Q:
    β KL(P ‖ M) + (1-β) KL(Q ‖ M); 0 and 1 stand for its limits, KL(P ‖ Q) and KL(Q ‖ P).
    """
    if beta == 0:
        return (given.exp() * (given - own)).sum(-1)
    if beta == 1:
        return (own.exp() * (own - given)).sum(-1)
    mixed = torch.logaddexp(given + math.log(beta), own + math.log(1 - beta))
    return beta * (given.exp() * (given - mixed)).sum(-1) + (1 - beta) * (own.exp() * (own - mixed)).sum(-1)


def head_relations(vectors: Tensor, mask: Tensor, heads: int, causal: bool = False) -> Tensor:
    """Log shares of the scaled dot products of every two tokens: (texts, heads, tokens, tokens).

    Wang et al. 2020, arXiv:2012.15828, eq. 4: softmax(A Aᵀ / √d) of vectors (texts, tokens, width) in `heads` parts.
    """
    parts = vectors.view(*vectors.shape[:2], heads, -1).transpose(1, 2)
    allowed = mask.bool()[:, None, None, :]
    if causal:
        allowed = allowed & torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril()
    products: Tensor = (parts @ parts.transpose(2, 3)).float() / math.sqrt(parts.shape[-1])
    return products.masked_fill(~allowed, -1e4).log_softmax(-1)


def head_relation_loss(own: Tensor, teacher: Tensor, mask: Tensor, heads: int, causal: bool = False) -> Tensor:
    """KL of the teacher's relations from the student's, mean over heads and tokens that are no padding."""
    made, given = (head_relations(one, mask, heads, causal) for one in (own, teacher))
    apart = (given.exp() * (given - made)).sum(-1).mean(1)
    weight = mask.to(apart.dtype)
    return (apart * weight).sum() / weight.sum().clamp(min=1)


def state_distance(states: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of states (tokens, width) relative to the teacher's mean square."""
    teacher = teacher.float()
    return (states.float() - teacher).square().mean() / teacher.square().mean().clamp(min=1e-8)
