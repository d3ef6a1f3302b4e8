"""Learning a language from plain text: the next piece for models that write, hidden pieces for encoders.

Hidden pieces as BERT's (Devlin et al. 2019, arXiv:1810.04805): 15 %, of which 80 % are masked, 10 % replaced by any
piece and 10 % left. An encoder without a head gets one for the time of training: its states, normed and scaled, times
its own embeddings of words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import Model

HIDDEN, MASKED, REPLACED = 0.15, 0.8, 0.1
NOTHING = -100
_BATCH = 1_000


def text_rows(model: Model, texts: Sequence[str], length: int) -> list[list[int]]:
    """Texts as rows of at most `length` pieces: of an encoder each text by itself, of a decoder one after another.

    Raises RecipeError for a model that is neither, and where there are not two rows.
    """
    if model.spec.kind not in ("encoder", "decoder"):
        raise RecipeError(
            f"model {model.spec.source}: plain text teaches encoders and decoders, not an {model.spec.kind}"
        )
    tokenizer = model.tokenizer
    rows: list[list[int]] = []
    for start in range(0, len(texts), _BATCH):
        rows += tokenizer(list(texts[start : start + _BATCH]), verbose=False).input_ids
    if model.spec.kind == "encoder":
        rows = [_cut(row, length) for row in rows if len(row) > 3]
    else:
        end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        joined = [piece for row in rows for piece in (row if row[-1:] == end else row + end)]
        rows = [joined[at : at + length] for at in range(0, len(joined), length)]
        rows = [row for row in rows if len(row) > 1]
    if len(rows) < 2:
        raise RecipeError("there are fewer than two rows of text to learn from: give more text, or a shorter length")
    return rows


def _cut(row: list[int], length: int) -> list[int]:
    return row if len(row) <= length else [*row[: length - 1], row[-1]]


class WordHead(nn.Module):
    """Logits of words from hidden states, by the embeddings of words themselves."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(words))
        nn.init.constant_(self.norm.weight, 1 / math.sqrt(width))

    def forward(self, states: Tensor, table: Tensor) -> Tensor:
        """(places, width) to (places, words)."""
        return F.linear(self.norm(states), table, self.bias)


def say_words(module: Any, states: Tensor) -> Tensor:
    """Logits (places, words) of hidden states (places, width), by the head that the model has."""
    if hasattr(module, "vocab_transform"):  # DistilBERT keeps its head's parts apart
        states = module.vocab_layer_norm(module.activation(module.vocab_transform(states)))
        found: Tensor = module.vocab_projector(states)
        return found
    head = getattr(module, "cls", None) or getattr(module, "lm_head", None)
    found = (head if head is not None else module.get_output_embeddings())(states)
    return found


class Language:
    """The loss of a model on rows of pieces, mean over what is predicted. head: its own, where the model has none.

    hidden: share of pieces that an encoder is asked for.
    """

    def __init__(
        self, model: Model, rows: Sequence[list[int]] = (), seed: int = 0, hidden: float = HIDDEN
    ) -> None:  # fmt: skip
        self.model, self.rows, self.seed, self.hidden = model, rows, seed, hidden
        self.causal = model.spec.kind == "decoder"
        self.pad = model.module.config.pad_token_id or 0
        has_head = any(layer.kind == "head" for layer in model.layers)
        self.head = None if has_head else WordHead(self._table().shape[1], self._table().shape[0])
        if self.causal and not has_head:
            raise RecipeError(f"model {model.spec.source}: {model.spec.architecture} has no head that writes")
        mask = getattr(model.tokenizer, "mask_token_id", None)
        if not self.causal and mask is None:
            raise RecipeError(f"model {model.spec.source}: its tokenizer has no mask token to hide pieces with")
        self.mask = mask
        self.special = set(model.tokenizer.all_special_ids)
        self.generator = torch.Generator().manual_seed(seed)

    def _table(self) -> Tensor:
        table: Tensor = self.model.module.get_input_embeddings().weight
        return table

    def loss(self, places: Sequence[int], generator: torch.Generator | None = None) -> Tensor:
        """Nats a predicted piece on these rows. generator: of what is hidden; without, the one of training."""
        return self.loss_of(*self._padded(places), generator)

    def loss_of(self, ids: Tensor, seen: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Nats a predicted piece of ids (rows, pieces). seen: 0 where they are padding; absent, nowhere."""
        total, count = self._losses(ids, seen, generator or self.generator)
        return total / max(1, count)

    def _padded(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rows side by side, and where they are no padding: both (rows, pieces)."""
        chosen = [self.rows[place] for place in places]
        ids = torch.full((len(chosen), max(map(len, chosen))), self.pad)
        seen = torch.zeros_like(ids)
        for row, own in enumerate(chosen):
            ids[row, : len(own)], seen[row, : len(own)] = torch.tensor(own), 1
        return ids, seen

    def _losses(self, ids: Tensor, seen: Tensor | None, generator: torch.Generator) -> tuple[Tensor, int]:
        """The sum over what is predicted, and how much that is. Words are said only where they are asked for."""
        seen = torch.ones_like(ids) if seen is None else seen
        if self.causal:
            given, wanted = ids, F.pad(ids[:, 1:].masked_fill(seen[:, 1:] == 0, NOTHING), (0, 1), value=NOTHING)
        else:
            given, wanted = self._hide(ids, seen, generator)
        asked = wanted != NOTHING
        logits = self.logits(given, seen, asked)
        return F.cross_entropy(logits.float(), wanted[asked], reduction="sum"), int(asked.sum())

    def _hide(self, ids: Tensor, seen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What is read and what is asked for: at least one piece of every batch."""
        words = self._table().shape[0]
        free = (seen == 1) & ~torch.isin(ids, torch.tensor(sorted(self.special)))
        draws = torch.rand(ids.shape, generator=generator)
        asked = free & (draws < self.hidden)
        if not bool(asked.any()):
            asked = free & (draws == draws.masked_fill(~free, 2.0).amin())
        way, others = torch.rand(ids.shape, generator=generator), torch.randint(words, ids.shape, generator=generator)
        given = ids.masked_fill(asked & (way < MASKED), int(self.mask or 0))
        given = torch.where(asked & (way >= MASKED) & (way < MASKED + REPLACED), others, given)
        return given, ids.masked_fill(~asked, NOTHING)

    def logits(self, ids: Tensor, seen: Tensor, asked: Tensor) -> Tensor:
        """Logits (places, words) where something is asked."""
        module: Any = self.model.module
        arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": seen}
        if self.causal:
            arguments["use_cache"] = False
        states = module.base_model(**arguments).last_hidden_state[asked]
        logits: Tensor = self.head(states, self._table()) if self.head is not None else say_words(module, states)
        return logits

    @torch.no_grad()
    def judged(self, places: Sequence[int], batch: int = 16) -> float:
        """Nats a predicted piece on these rows, the same pieces hidden every time."""
        generator = torch.Generator().manual_seed(self.seed)
        total, count = 0.0, 0
        for at in range(0, len(places), batch):
            loss, own = self._losses(*self._padded(places[at : at + batch]), generator)
            total, count = total + float(loss), count + own
        return total / max(1, count)

    def bits_a_byte(self, loss: float, places: Sequence[int]) -> float:
        """A loss in nats a piece as bits a byte of these rows' text: of hidden pieces, as if all were asked for."""
        rows = [self.rows[place] for place in places]
        size = sum(len(text.encode()) for text in self.model.tokenizer.batch_decode(rows, skip_special_tokens=True))
        pieces = sum(piece not in self.special for row in rows for piece in row)
        return loss / math.log(2) * pieces / max(1, size)
