"""Words that a masked language model puts in place of others (Kobayashi 2018, arXiv:1805.06201; Jiao et al. 2019).

Only pieces that are whole words stand in, so that words stay as many as they were and keep their tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from pocketlm.augment.method import Made, Material
from pocketlm.augment.rows import Word, free, reworded, text_of, words_of
from pocketlm.errors import ModelError
from pocketlm.outputs import Example

MOST_PIECES = 512


@dataclass(frozen=True)
class MaskedWords:
    """A share of the words outside of spans is masked, and each drawn from the model's `top` likeliest words there.

    model: a folder or hub name of an encoder with a masked-language head.
    """

    name: ClassVar[str] = "masked-lm"
    certain: ClassVar[bool] = False
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("model",)
    model: str = ""
    share: float = 0.15
    top: int = 10

    def __post_init__(self) -> None:
        if not self.model or not 0 < self.share <= 1 or self.top < 1:
            raise ValueError("a model is named, share is in (0, 1] and top at least 1")

    def refuses(self, material: Material) -> str:
        """Rows whose every word is a label. Raises ModelError for a model without a masked-language head."""
        if material.tagged and material.scheme is None:
            return "another word may have another tag"
        _filler(self.model)
        return ""

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where no word could be replaced."""
        words, said = words_of(example), []
        places = free(words, material.scheme is not None)
        if not places:
            return []
        count = max(1, round(self.share * len(places)))
        chosen = sorted(random.choice(places, min(count, len(places)), replace=False).tolist())
        for place, likely in zip(chosen, _filler(self.model).likeliest(words, chosen, self.top), strict=True):
            old = words[place].text
            others = [word for word in likely if word.lower() != old.lower()]
            if others:
                new = others[int(random.integers(len(others)))]
                new = new[:1].upper() + new[1:] if old[:1].isupper() else new
                words[place] = words[place]._replace(text=new)
                said.append(f"{old!r} became {new!r}")
        return [Made(reworded(example, words), ", ".join(said))] if said else []


class _Filler:
    """A masked language model and which of its pieces are words."""

    def __init__(self, model: Any) -> None:
        self.module, self.tokenizer = model.module.eval(), model.tokenizer
        pieces = self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer)))
        # SentencePiece and byte-level BPE mark where words begin, WordPiece where they go on
        begins = next((mark for mark in ("▁", "Ġ") if any(piece.startswith(mark) for piece in pieces)), "")
        special = set(self.tokenizer.all_special_ids)
        self.word_of = {
            place: word
            for place, piece in enumerate(pieces)
            if place not in special and piece.startswith(begins) and not piece.startswith("##")
            if (word := self.tokenizer.decode([place]).strip().removeprefix(begins)) and word.isalpha()
        }

    def likeliest(self, words: Sequence[Word], places: Sequence[int], top: int) -> list[list[str]]:
        """For each place the likeliest words there, when all of the places are masked; none beyond what is read."""
        import torch

        masked = [
            word._replace(text=self.tokenizer.mask_token) if at in places else word for at, word in enumerate(words)
        ]
        most = min(MOST_PIECES, int(getattr(self.module.config, "max_position_embeddings", MOST_PIECES)) - 2)
        read = self.tokenizer(text_of(masked), truncation=True, max_length=most, return_tensors="pt")
        with torch.no_grad():
            logits = self.module(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).logits[0]
        rows = logits[read["input_ids"][0] == self.tokenizer.mask_token_id]
        known = torch.tensor(list(self.word_of))
        best = [known[row[known].topk(min(top, len(known))).indices].tolist() for row in rows[:, : len(self.tokenizer)]]
        found = [[self.word_of[one] for one in own] for own in best]
        return found + [[] for _ in range(len(places) - len(found))]


@lru_cache(maxsize=2)
def _filler(name: str) -> _Filler:
    from pocketlm.model.pretrained import load_model

    model = load_model(name)
    if not model.spec.architecture.endswith("ForMaskedLM"):
        raise ModelError(
            f"model {name}: is a {model.spec.architecture} without a masked-language head; name a …ForMaskedLM"
        )
    if model.tokenizer is None or model.tokenizer.mask_token is None:
        raise ModelError(f"model {name}: its tokenizer has no mask token")
    return _Filler(model)
