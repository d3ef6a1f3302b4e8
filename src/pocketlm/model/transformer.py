"""Small encoders whose every width is free: a transformer that can be cut out of a BERT-like teacher, and a convnet.

Both read factorized piece embeddings (Lan et al. 2019, arXiv:1909.11942): (pieces, rank) then (rank, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pocketlm.model.readout import Readout
from pocketlm.outputs import Output


@dataclass(frozen=True)
class Shape:
    """Sizes of a small encoder.

    pieces: vocabulary. rank: of the factorized embeddings. width: of the hidden states. depth: layers.
    heads, head_width, ffn: of a transformer. reach: pieces a convolution reads on each side. types: kinds of texts
    that the model is told apart, 0 where it is told of none. layers: heads and ffn of each layer of a transformer where
    these differ, () where all are alike.
    """

    pieces: int
    rank: int
    width: int
    depth: int
    max_length: int
    heads: int = 0
    head_width: int = 0
    ffn: int = 0
    reach: int = 0
    types: int = 0
    layers: tuple[tuple[int, int], ...] = ()

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heads and ffn of each layer."""
        return self.layers or ((self.heads, self.ffn),) * self.depth


class FactorizedEmbedding(nn.Module):
    """Piece, position and type vectors of a low rank, mapped to the model's width and normed."""

    def __init__(self, shape: Shape, epsilon: float = 1e-12) -> None:
        super().__init__()
        self.pieces = nn.Embedding(shape.pieces, shape.rank)
        self.positions = nn.Embedding(shape.max_length, shape.rank)
        self.types = nn.Embedding(shape.types, shape.rank) if shape.types else None
        self.map = nn.Linear(shape.rank, shape.width, bias=False)
        self.norm = nn.LayerNorm(shape.width, eps=epsilon)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """(texts, pieces) ids to (texts, pieces, width)."""
        added = self.pieces(input_ids) + self.positions.weight[: input_ids.shape[1]]
        if self.types is not None and token_type_ids is not None:
            added = added + self.types(token_type_ids)
        vectors: Tensor = self.norm(self.map(added))
        return vectors


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward net, each added and then normed (post-LN), as in BERT."""

    def __init__(self, shape: Shape, heads: int, ffn: int, dropout: float, epsilon: float = 1e-12) -> None:
        super().__init__()
        self.heads, self.head_width = heads, shape.head_width
        self.qkv = nn.Linear(shape.width, 3 * heads * shape.head_width)
        self.out = nn.Linear(heads * shape.head_width, shape.width)
        self.attention_norm = nn.LayerNorm(shape.width, eps=epsilon)
        self.up = nn.Linear(shape.width, ffn)
        self.down = nn.Linear(ffn, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=epsilon)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, blocked: Tensor) -> Tensor:
        """hidden: (texts, pieces, width); blocked: (texts, 1, 1, pieces), 0 or a large negative."""
        texts, pieces, _ = hidden.shape
        split = self.qkv(hidden).view(texts, pieces, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        query, key, value = split[0], split[1], split[2]
        scores = query @ key.transpose(-1, -2) * self.head_width**-0.5 + blocked
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(texts, pieces, self.heads * self.head_width)
        hidden = self.attention_norm(hidden + self.dropout(self.out(mixed)))
        grown: Tensor = self.norm(hidden + self.dropout(self.down(F.gelu(self.up(hidden)))))
        return grown


class ConvLayer(nn.Module):
    """A convolution over a window of pieces, written as one matrix product, added and normed."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.reach = shape.reach
        self.mix = nn.Linear((2 * shape.reach + 1) * shape.width, shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """hidden: (texts, pieces, width); mask: (texts, pieces, 1)."""
        padded = F.pad(hidden * mask, (0, 0, self.reach, self.reach))
        length = hidden.shape[1]
        window = torch.cat([padded[:, shift : shift + length] for shift in range(2 * self.reach + 1)], dim=2)
        added: Tensor = self.norm(hidden + self.dropout(F.gelu(self.mix(window))))
        return added


class SmallEncoder(nn.Module):
    """Factorized embeddings, then transformer layers (heads > 0) or convolutions, then the readout."""

    def __init__(self, shape: Shape, outputs: Sequence[Output], dropout: float = 0.1, pooling: str = "mean") -> None:
        super().__init__()
        self.shape = shape
        self.embedding = FactorizedEmbedding(shape)
        self.layers = nn.ModuleList(
            [TransformerLayer(shape, heads, ffn, dropout) for heads, ffn in shape.sizes]
            if shape.heads
            else [ConvLayer(shape, dropout) for _ in range(shape.depth)]
        )
        self.readout = Readout(outputs, shape.width, dropout, pooling)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Last hidden states: (texts, pieces, width)."""
        states = self.embedding(input_ids, token_type_ids)
        mask = attention_mask.to(states.dtype)
        given = (1.0 - mask)[:, None, None, :] * -1e4 if self.shape.heads else mask[:, :, None]
        for layer in self.layers:
            states = layer(states, given)
        last: Tensor = states
        return last

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, word_index: Tensor | None = None,
        places: Tensor | None = None, token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """{output name: logits}."""
        states = self.hidden(input_ids, attention_mask, token_type_ids)
        logits: dict[str, Tensor] = self.readout(states, attention_mask, word_index, places)
        return logits
