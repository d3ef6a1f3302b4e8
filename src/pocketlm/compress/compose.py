"""Rows for the pieces of a new vocabulary, composed of the rows of an old one.

Pieces that both have are copied. Others are the mean of the old pieces that the old tokenizer cuts them into (Gee et
al. 2022, "Fast Vocabulary Transfer", arXiv:2402.09977), or a mixture of the shared pieces that are spelled most alike,
by weights that sum to 1 and are mostly 0: sparsemax (Martins and Astudillo 2016, arXiv:1602.02068) of similarities, as
FOCUS has it (Dobler and de Melo 2023, arXiv:2305.14481), with TF-IDF of character n-grams as the auxiliary space.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders
from torch import Tensor

from pocketlm.tables import Table

LONGEST_GRAM = 4
_CHUNK = 512
Weights = dict[int, float]


@dataclass(frozen=True)
class Composition:
    """Of each new piece the old ones it is made of. weights: {old piece: share}, empty: the mean of all."""

    weights: tuple[Weights, ...]
    old: int
    copied: int

    @property
    def blank(self) -> list[int]:
        """New pieces that nothing is known of."""
        return [place for place, own in enumerate(self.weights) if not own]

    def rows(self, table: Tensor) -> Tensor:
        """The new table (new pieces, columns) from the old one (old pieces, columns)."""
        places = [[new, old] for new, own in enumerate(self.weights) for old in own]
        values = [share for own in self.weights for share in own.values()]
        size = (len(self.weights), table.shape[0])
        matrix = torch.sparse_coo_tensor(torch.tensor(places).t(), torch.tensor(values), size, check_invariants=False)
        made = torch.sparse.mm(matrix, table.float())
        made[self.blank] = table[: self.old].float().mean(0)
        rows: Tensor = made.to(table.dtype)
        return rows


def compose(old: Tokenizer, new: Tokenizer, by: str, nearest: int, temperature: float) -> Composition:
    """How the new tokenizer's pieces are made of the old one's. by: a key of COMPOSERS."""
    known = old.get_vocab()
    pieces = [piece for piece, _ in sorted(new.get_vocab().items(), key=lambda one: one[1])]
    shared = {piece: known[piece] for piece in pieces if piece in known}
    others = [piece for piece in pieces if piece not in shared]
    found = COMPOSERS[by](others, old, shared, nearest, temperature)
    made = tuple({shared[piece]: 1.0} if piece in shared else found.get(piece, {}) for piece in pieces)
    return Composition(made, len(known), len(shared))


def by_parts(
    pieces: Sequence[str], old: Tokenizer, shared: Mapping[str, int], nearest: int, temperature: float
) -> dict[str, Weights]:
    """The mean of the parts that the old tokenizer cuts each piece into; none where it knows one of them not."""
    known, unknown = old.get_vocab(), _unknown(old)
    found: dict[str, Weights] = {}
    for piece in pieces:
        inner = piece.startswith("##") and len(piece) > 2
        parts = [one.value for one in old.model.tokenize(piece[2:] if inner else piece)]
        if inner and parts and f"##{parts[0]}" in known:
            parts[0] = f"##{parts[0]}"
        if parts and all(part in known and part != unknown for part in parts):
            own: Weights = {}
            for part in parts:
                own[known[part]] = own.get(known[part], 0.0) + 1 / len(parts)
            found[piece] = own
    return found


def by_spelling(
    pieces: Sequence[str], old: Tokenizer, shared: Mapping[str, int], nearest: int, temperature: float
) -> dict[str, Weights]:
    """A mixture of the `nearest` shared pieces by their character n-grams; none where no n-gram is shared."""
    spelled = spelling(old)
    bases = [piece for piece in shared if len(spelled(piece).strip()) > 1]
    if not bases or not pieces:
        return {}
    left, right = _grams([spelled(one) for one in pieces], [spelled(one) for one in bases])
    found: dict[str, Weights] = {}
    for start in range(0, len(pieces), _CHUNK):
        alike = torch.from_numpy((left[start : start + _CHUNK] @ right.T).toarray())
        best = alike.topk(min(nearest, len(bases)), dim=1)
        weights = sparsemax(best.values / temperature)
        for row, piece in enumerate(pieces[start : start + _CHUNK]):
            own = {
                shared[bases[place]]: share
                for place, share, near in zip(
                    best.indices[row].tolist(), weights[row].tolist(), best.values[row].tolist(), strict=True
                )
                if share > 0 and near > 0
            }
            total = sum(own.values())
            if total > 0:
                found[piece] = {place: share / total for place, share in own.items()}
    return found


def by_both(
    pieces: Sequence[str], old: Tokenizer, shared: Mapping[str, int], nearest: int, temperature: float
) -> dict[str, Weights]:
    """Half of each; where only one is known, all of it."""
    ways = [one(pieces, old, shared, nearest, temperature) for one in (by_parts, by_spelling)]
    found: dict[str, Weights] = {}
    for piece in pieces:
        known = [way[piece] for way in ways if piece in way]
        own: Weights = {}
        for weights in known:
            for place, share in weights.items():
                own[place] = own.get(place, 0.0) + share / len(known)
        if own:
            found[piece] = own
    return found


def by_nothing(
    pieces: Sequence[str], old: Tokenizer, shared: Mapping[str, int], nearest: int, temperature: float
) -> dict[str, Weights]:
    """Nothing: all new pieces begin as the mean row, to see what the others are worth."""
    return {}


_HERE = "pocketlm.compress.compose"
COMPOSERS = Table(
    "way to compose",
    {"parts": f"{_HERE}:by_parts", "spelling": f"{_HERE}:by_spelling", "both": f"{_HERE}:by_both",
     "mean": f"{_HERE}:by_nothing"},
)  # fmt: skip


def sparsemax(scores: Tensor) -> Tensor:
    """The point of the simplex that is nearest to each row of scores (rows, choices): ibid., algorithm 1."""
    ordered = scores.sort(dim=1, descending=True).values
    counts = torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype)
    sums = ordered.cumsum(1) - 1
    support = (counts * ordered > sums).sum(1, keepdim=True)
    threshold = sums.gather(1, support - 1) / support
    return (scores - threshold).clamp(min=0)


def spelling(tokenizer: Tokenizer) -> Callable[[str], str]:
    """What a piece stands for in text, with a space before it where it begins a word."""
    rules = json.loads(tokenizer.to_str())
    if '"ByteLevel"' in json.dumps([rules.get("pre_tokenizer"), rules.get("decoder")]):
        plain = decoders.ByteLevel()
        return lambda piece: plain.decode([piece])
    if rules["model"]["type"] == "WordPiece":
        prefix = rules["model"].get("continuing_subword_prefix") or "##"
        return lambda piece: piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}"
    return lambda piece: piece.replace("▁", " ")


def _grams(pieces: Sequence[str], bases: Sequence[str]) -> tuple[Any, Any]:
    """Rows of unit length of TF-IDF over n-grams of characters: (pieces, grams) and (bases, grams), sparse."""
    from scipy.sparse import csr_matrix

    numbers: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate([*bases, *pieces]):
        padded = f"{text}$"
        for size in range(1, LONGEST_GRAM + 1):
            for at in range(len(padded) - size + 1):
                rows.append(row)
                columns.append(numbers.setdefault(padded[at : at + size], len(numbers)))
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (len(bases) + len(pieces), len(numbers)))
    seen = np.bincount(matrix.indices, minlength=len(numbers))
    matrix = matrix.multiply(np.log((1 + matrix.shape[0]) / (1 + seen)).astype(np.float32)[None]).tocsr()
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)))
    matrix = matrix.multiply(1 / np.maximum(lengths, 1e-9)).tocsr()
    return matrix[len(bases) :], matrix[: len(bases)]


def _unknown(tokenizer: Tokenizer) -> str | None:
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] == "Unigram" and model.get("unk_id") is not None:
        found: str = model["vocab"][model["unk_id"]][0]
        return found
    piece: str | None = model.get("unk_token")
    return piece
