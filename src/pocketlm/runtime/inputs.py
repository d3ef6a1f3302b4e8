"""Texts to the arrays a model reads: one class per way of reading, shared by training and the runtime.

`encode` reads each text once; `collate` joins encoded texts into one batch of named arrays. A tagging
model also gets its words: they come from the caller as tokens or from `words.split_words`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.ngrams import Bags, Ngrams, ngram_words, normalize, text_bags, word_bags
from pocketlm.runtime.question import Question
from pocketlm.runtime.words import words as split

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Text = str | Sequence[str] | Question


class Pair(NamedTuple):
    """Two texts whose likeness is asked for."""

    text: str
    pair: str


Arrays = dict[str, NDArray[Any]]


def plain_text(text: Text) -> str:
    """The text itself, the first of a pair, its tokens joined by spaces, or a question followed by its context."""
    if isinstance(text, Question):
        return f"{text.text} {text.context}"
    if isinstance(text, Pair):
        return text.text
    return text if isinstance(text, str) else " ".join(text)


def tokens_of(text: Text) -> list[str]:
    """The tokens given, or the words of a plain text."""
    return split(plain_text(text)) if isinstance(text, (str, Question)) else list(text)


@dataclass(frozen=True)
class Encoded:
    """One text, read. words: how many words the model tags (a long text is cut), 0 without tagging."""

    arrays: tuple[NDArray[Any], ...]
    words: int
    length: int


class Inputs(Protocol):
    """A way of reading texts."""

    tagging: bool

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Each text read by itself."""
        ...

    def collate(self, batch: Sequence[Encoded]) -> Arrays:
        """Named arrays for one batch."""
        ...


def _join(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _split(bags: Bags) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    edges = bags.offsets.tolist()
    return [(bags.ids[a:b], bags.weights[a:b]) for a, b in pairwise(edges)]


class BagInputs:
    """Hashed n-grams of the text, and of each word where the model tags.

    lookup: (buckets,) row of the model's table for each bucket, -1 where it was pruned; None keeps all.
    max_words: words read of a long text. Arrays: ids, weights (features,), offsets (texts + 1,); for tagging
    also word_ids, word_weights, word_offsets, and word_counts (texts,).
    """

    def __init__(
        self, ngrams: Ngrams, tagging: bool, max_words: int = 512, lookup: NDArray[np.integer[Any]] | None = None
    ) -> None:
        self.ngrams = ngrams
        self.tagging = tagging
        self.max_words = max_words
        self.lookup = lookup

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Each text's bags; arrays are (ids, weights) or (ids, weights, word_ids, word_weights, word_sizes)."""
        if not self.tagging:
            words = [ngram_words(plain_text(text))[: self.max_words] for text in texts]
            bags = _split(self._rows(text_bags(words, self.ngrams)))
            return [Encoded(bag, 0, len(bag[0])) for bag in bags]
        words = [[normalize(token) for token in tokens_of(text)[: self.max_words]] for text in texts]
        whole = _split(self._rows(text_bags(words, self.ngrams)))
        each = self._rows(word_bags(words, self.ngrams))
        encoded, begin = [], 0
        for (ids, weights), own in zip(whole, words, strict=True):
            edges = each.offsets[begin : begin + len(own) + 1]
            first, last = (edges[0], edges[-1]) if len(own) else (0, 0)
            arrays = (ids, weights, each.ids[first:last], each.weights[first:last], np.diff(edges))
            encoded.append(Encoded(arrays, len(own), len(ids)))
            begin += len(own)
        return encoded

    def collate(self, batch: Sequence[Encoded]) -> Arrays:
        """Bags of the batch joined, with offsets."""
        arrays = {
            "ids": _join([one.arrays[0] for one in batch]),
            "weights": _join([one.arrays[1] for one in batch]),
            "offsets": np.cumsum([0, *[len(one.arrays[0]) for one in batch]]),
        }
        if self.tagging:
            sizes = _join([one.arrays[4] for one in batch])
            arrays["word_ids"] = _join([one.arrays[2] for one in batch])
            arrays["word_weights"] = _join([one.arrays[3] for one in batch])
            arrays["word_offsets"] = np.concatenate(([0], np.cumsum(sizes)))
            arrays["word_counts"] = np.array([one.words for one in batch])
        return arrays

    def _rows(self, bags: Bags) -> Bags:
        """Buckets replaced by table rows, pruned ones left out."""
        if self.lookup is None:
            return bags
        rows = self.lookup[bags.ids].astype(np.int64)
        kept = rows >= 0
        before = np.concatenate(([0], np.cumsum(kept)))
        return Bags(rows[kept], bags.weights[kept], before[bags.offsets])


class PieceInputs:
    """Subword pieces of a `tokenizers` tokenizer.

    Arrays: input_ids and attention_mask (texts, pieces); for tagging also word_index (words,), the place of
    each word's first piece in the flattened batch, or its last with word_ends. Texts are cut at max_length pieces,
    specials included.
    """

    def __init__(
        self, tokenizer: Tokenizer, tagging: bool, max_length: int, pad_id: int = 0, word_ends: bool = False
    ) -> None:
        self.tokenizer = tokenizer
        self.word_ends = word_ends
        self.tagging = tagging
        self.max_length = max_length
        self.pad_id = pad_id
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Each text's piece ids, and for tagging the place of each word's first piece."""
        if not self.tagging:
            read = self.tokenizer.encode_batch_fast([plain_text(text) for text in texts])
            return [Encoded((np.array(one.ids, np.int64),), 0, len(one.ids)) for one in read]
        # the fast way keeps no word numbers
        read = self.tokenizer.encode_batch([tokens_of(text) for text in texts], is_pretokenized=True)
        encoded = []
        for one in read:
            places = _word_ends(one.word_ids) if self.word_ends else _word_starts(one.word_ids)
            encoded.append(Encoded((np.array(one.ids, np.int64), places), len(places), len(one.ids)))
        return encoded

    def collate(self, batch: Sequence[Encoded]) -> Arrays:
        """Padded ids and mask, and flat word places."""
        width = max(one.length for one in batch)
        ids = np.full((len(batch), width), self.pad_id, np.int64)
        mask = np.zeros((len(batch), width), np.int64)
        for row, one in enumerate(batch):
            ids[row, : one.length] = one.arrays[0]
            mask[row, : one.length] = 1
        arrays: Arrays = {"input_ids": ids, "attention_mask": mask}
        if self.tagging:
            arrays["word_index"] = _join([one.arrays[1] + row * width for row, one in enumerate(batch)])
        return arrays


def _word_starts(word_ids: Sequence[int | None]) -> NDArray[np.int64]:
    """Place of the first piece of each word; a word that gave no piece shares the next place seen before it."""
    starts: list[int] = []
    for place, word in enumerate(word_ids):
        if word is None or word < len(starts):
            continue
        starts.extend([place] * (word + 1 - len(starts)))
    return np.array(starts, np.int64)


def _word_ends(word_ids: Sequence[int | None]) -> NDArray[np.int64]:
    """Place of the last piece of each word; a word that gave no piece shares that of the next."""
    starts = _word_starts(word_ids)
    last = {word: place for place, word in enumerate(word_ids) if word is not None}
    return np.array([last[word_ids[place]] for place in starts], np.int64)


class PieceBagInputs:
    """Subword pieces as bags: each piece of a text, and of each word where the model tags, counts equally.

    Arrays as for BagInputs.
    """

    def __init__(self, pieces: PieceInputs) -> None:
        self.pieces = pieces
        self.tagging = pieces.tagging
        pieces.tokenizer.enable_truncation(pieces.max_length)

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Each text's pieces without specials, weighted 1 / sqrt(count)."""
        tokenizer = self.pieces.tokenizer
        encode = tokenizer.encode_batch if self.tagging else tokenizer.encode_batch_fast
        read = encode(
            [tokens_of(text) if self.tagging else plain_text(text) for text in texts],
            is_pretokenized=self.tagging,
            add_special_tokens=False,
        )
        return [_piece_bag(one.ids, one.word_ids, self.tagging) for one in read]

    def collate(self, batch: Sequence[Encoded]) -> Arrays:
        """Bags of the batch joined, with offsets."""
        return BagInputs.collate(self, batch)  # type: ignore[arg-type]


class StackedInputs:
    """One text read in two ways, as pieces and as n-grams, for two models whose logits are added.

    Arrays: those of both.
    """

    tagging = False

    def __init__(self, pieces: PieceInputs, ngrams: BagInputs) -> None:
        self.pieces = pieces
        self.ngrams = ngrams

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """Each text's piece ids, then its bag."""
        both = zip(self.pieces.encode(texts), self.ngrams.encode(texts), strict=True)
        return [Encoded((*first.arrays, *second.arrays), 0, first.length) for first, second in both]

    def collate(self, batch: Sequence[Encoded]) -> Arrays:
        """Padded ids and mask, and the bags joined."""
        bags = [replace(one, arrays=one.arrays[1:]) for one in batch]
        return {**self.pieces.collate(batch), **self.ngrams.collate(bags)}


def _piece_bag(piece_ids: Sequence[int], word_ids: Sequence[int | None], tagging: bool) -> Encoded:
    ids = np.array(piece_ids, np.int64)
    weights = np.full(len(ids), 1 / np.sqrt(max(len(ids), 1)), np.float32)
    if not tagging:
        return Encoded((ids, weights), 0, len(ids))
    owner = np.array([0 if word is None else word for word in word_ids], np.int64)
    sizes = np.bincount(owner) if len(owner) else np.zeros(0, np.int64)
    word_weights = (1 / np.sqrt(np.maximum(sizes, 1)))[owner].astype(np.float32)
    return Encoded((ids, weights, ids, word_weights, sizes), len(sizes), len(ids))


def inputs_from_json(value: Mapping[str, Any], members: Mapping[str, bytes]) -> Inputs:
    """The inputs a Pocket's manifest describes, of kind "ngrams", "pieces", "piece-bag", "questions" or "stack"."""
    if value["kind"] == "questions":
        return _question_inputs(value, members)
    if value["kind"] == "stack":
        pieces, ngrams = (inputs_from_json(value[name], members) for name in ("pieces", "ngrams"))
        assert isinstance(pieces, PieceInputs)
        assert isinstance(ngrams, BagInputs)
        return StackedInputs(pieces, ngrams)
    tagging = bool(value["tagging"])
    if value["kind"] == "ngrams":
        lookup = None
        if "kept.bits" in members:
            bits = np.unpackbits(np.frombuffer(members["kept.bits"], np.uint8)).astype(np.int64)
            lookup = np.where(bits == 1, np.cumsum(bits) - 1, -1)
        return BagInputs(Ngrams.from_json(value["ngrams"]), tagging, value["max_words"], lookup)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(members["tokenizer.json"].decode())
    pieces = PieceInputs(tokenizer, tagging, value["max_length"], value["pad_id"])
    return pieces if value["kind"] == "pieces" else PieceBagInputs(pieces)


def _question_inputs(value: Mapping[str, Any], members: Mapping[str, bytes]) -> Inputs:
    from tokenizers import Tokenizer

    from pocketlm.runtime.windows import QuestionInputs, Reading

    tokenizer = Tokenizer.from_str(members["tokenizer.json"].decode())
    return QuestionInputs(tokenizer, value["max_length"], value["pad_id"], Reading.from_json(value["reading"]))
