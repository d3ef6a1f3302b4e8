"""The bag-of-features student in torch; `runtime.bag` holds its formula and runs it in numpy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocketlm.outputs import Output


class _RoundThrough(torch.autograd.Function):
    """Rounds forward, passes the gradient backward unchanged. Bengio et al. 2013, arXiv:1308.3432."""

    @staticmethod
    def forward(ctx: object, weight: Tensor, scale: Tensor, top: int) -> Tensor:
        return (weight / scale).round().clamp(-top, top) * scale

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None


class BagModule(nn.Module):
    """Sums weighted table rows into a text vector (and word vectors), then norm, GELU and heads.

    rows: of the table. width: of its vectors; with hidden=False the vectors are the logits' own inputs.
    window: words read on each side of a tagged word. feature_dropout: share of features left out in training.
    """

    def __init__(
        self, outputs: Sequence[Output], rows: int, width: int, *, hidden: bool, window: int, dropout: float
    ) -> None:
        super().__init__()
        self.hidden, self.window, self.dropout = hidden, window, dropout
        self.kinds = {output.name: output.kind for output in outputs}
        self.table = nn.Parameter(torch.randn(rows, width) * 0.3)
        self.register_buffer("importance", torch.ones(rows))  # idf, folded into the table when stored
        self.table_scale: Tensor | None = None
        self.bits = 0
        if hidden:
            self.norm = nn.LayerNorm(width)
        context = max(width, 64)
        if window:
            self.context = nn.Linear((2 * window + 2) * width, context)
        self.heads = nn.ModuleDict({o.name: nn.Linear(context if o.kind == "tags" else width, o.size) for o in outputs})

    importance: Tensor

    def stored_table(self) -> Tensor:
        """The table as a Pocket holds it, importance folded in: (rows, width)."""
        return self.table * self.importance[:, None]

    def _rounded(self) -> Tensor | None:
        """The stored table as `bits` will hold it, or None where it stays float."""
        if not self.bits or self.table_scale is None:
            return None
        top = 2 ** (self.bits - 1) - 1
        rounded: Tensor = _RoundThrough.apply(self.stored_table(), self.table_scale, top)  # type: ignore[no-untyped-call]
        return rounded

    def _pool(self, rounded: Tensor | None, ids: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
        table = rounded
        if table is None:
            # importance on the features read is a smaller product than on all rows
            table, weights = self.table, weights * self.importance[ids]
        if self.training and self.dropout:
            kept = torch.rand_like(weights) >= self.dropout
            weights = weights * kept / (1 - self.dropout)
        return F.embedding_bag(ids, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)

    def forward(
        self,
        ids: Tensor,
        weights: Tensor,
        offsets: Tensor,
        word_ids: Tensor | None = None,
        word_weights: Tensor | None = None,
        word_offsets: Tensor | None = None,
        word_counts: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{output name: logits}; see `runtime.inputs.BagInputs` for the arrays."""
        table = self._rounded()
        text = self._pool(table, ids, weights, offsets)
        text = self.norm(text) if self.hidden else text
        active = F.gelu(text, approximate="tanh") if self.hidden else text
        active = F.dropout(active, self.dropout, self.training)
        logits = {}
        for name, head in self.heads.items():
            if self.kinds[name] == "tags":
                assert word_ids is not None and word_weights is not None
                assert word_offsets is not None and word_counts is not None
                vectors = self._pool(table, word_ids, word_weights, word_offsets)
                logits[name] = head(self._words(vectors, text, word_counts))
            else:
                logits[name] = head(active)
        return logits

    def _words(self, vectors: Tensor, text: Tensor, counts: Tensor) -> Tensor:
        """FitContext of each word: (words, context width)."""
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
        place = torch.arange(len(owner)) + self.window * (owner + 1)
        spaced = vectors.new_zeros(len(owner) + self.window * (len(counts) + 1), vectors.shape[1])
        spaced = spaced.index_copy(0, place, vectors)
        window = [spaced[place + shift] for shift in range(-self.window, self.window + 1)]
        joined = torch.cat([*window, text[owner]], dim=1)
        return F.dropout(F.gelu(self.context(joined), approximate="tanh"), self.dropout, self.training)
