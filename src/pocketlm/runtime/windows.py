"""Questions with contexts to the arrays a model reads, a window at a time; long contexts have several, overlapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketlm.errors import DataError
from pocketlm.runtime.focus import likeliest_part
from pocketlm.runtime.inputs import Arrays, Encoded, Text
from pocketlm.runtime.question import Question

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# A window with less room than this beside the question reads too little of the context.
LEAST_ROOM = 16
# Windows do not begin or end inside a word, unless it is longer than this.
_LONGEST_WORD = 16
# Combining marks that a tokenizer may leave out at the end of an answer.
_MOST_MARKS = 4


@dataclass(frozen=True)
class Reading:
    """How questions are read and answered.

    types: whether the model is told which pieces are of the context. overlap: pieces that a window reads again of the
    one before, at most a third of its room. longest: pieces of an answer. threshold: an answer is given where it is
    better than none by more than this, in logits; None where every question has an answer. focus: pieces that are read
    of a longer question and context in all, those of the context that share most with the question; None for all.
    """

    types: bool = True
    overlap: int = 128
    longest: int = 30
    threshold: float | None = None
    focus: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the manifest holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reading:
        """The reading that `to_json` described."""
        return cls(**{name: value[name] for name in ("types", "overlap", "longest", "threshold", "focus")})


class QuestionInputs:
    """Subword pieces of a question and of its context, as the tokenizer joins two texts.

    Arrays: input_ids, attention_mask and places (windows, pieces), and token_type_ids where the model has them.
    places: 1 where an answer may begin or end, at the pieces of the context and at the first piece, which stands for
    no answer. An `Encoded` holds ids, types, places and the characters (pieces, 2) of the context they stand for.
    """

    tagging = False

    def __init__(self, tokenizer: Tokenizer, max_length: int, pad_id: int = 0, reading: Reading | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.pad_id = pad_id
        self.reading = reading or Reading()
        tokenizer.no_padding()
        tokenizer.no_truncation()

    def encode(self, texts: Sequence[Text]) -> list[Encoded]:
        """The first window of each question, the question too cut where it alone is longer."""
        return [self._encoded(one) for one in self._read(texts)]

    def windows(self, texts: Sequence[Text]) -> list[list[tuple[Question, Encoded]]]:
        """Every window of each question: the question with that part of its context, and how it is read.

        Raises DataError for a question that leaves no room for its context.
        """
        found = []
        for text, one in zip(texts, self._read(texts), strict=True):
            assert isinstance(text, Question)
            parts = self._parts(text, one)
            read = [one] if parts == [text] else self._read(parts)
            found.append([(part, self._encoded(own)) for part, own in zip(parts, read, strict=True)])
        return found

    def collate(self, batch: Sequence[Encoded]) -> Arrays:
        """Padded arrays."""
        shape = (len(batch), max(one.length for one in batch))
        ids = np.full(shape, self.pad_id, np.int64)
        mask, types, places = (np.zeros(shape, np.int64) for _ in range(3))
        for row, one in enumerate(batch):
            ids[row, : one.length], types[row, : one.length], places[row, : one.length] = one.arrays[:3]
            mask[row, : one.length] = 1
        arrays: Arrays = {"input_ids": ids, "attention_mask": mask, "places": places}
        if self.reading.types:
            arrays["token_type_ids"] = types
        return arrays

    def _read(self, texts: Sequence[Text]) -> list[Encoding]:
        pairs = []
        for text in texts:
            assert isinstance(text, Question), f"{type(text).__name__} where a question is expected"
            pairs.append((text.text, text.context))
        read: list[Encoding] = self.tokenizer.encode_batch(pairs)
        return read

    def fits(self, question: Question) -> bool:
        """Whether the question leaves room for its context."""
        one = self._read([question])[0]
        begin, end = _context(one)
        return len(one.ids) - (end - begin) + LEAST_ROOM <= self.max_length

    def _room(self, one: Encoding, begin: int, end: int) -> int:
        """Pieces of the context that a window holds. begin, end: of the context's pieces."""
        around = len(one.ids) - (end - begin)
        if self.max_length - around < LEAST_ROOM:
            raise DataError(
                f"the question and its marks are {around} pieces, longer than the window of {self.max_length} allows: "
                f"its context needs {LEAST_ROOM} of them; shorten it, or fit a Pocket with a larger --max-length"
            )
        return self.max_length - around

    def _encoded(self, one: Encoding) -> Encoded:
        begin, end = _context(one)
        kept = np.arange(len(one.ids))
        if len(kept) > self.max_length:
            cut = max(begin, end - (len(kept) - self.max_length))
            kept = np.concatenate([kept[:cut], kept[end:]])[: self.max_length]
        offsets = np.array(one.offsets, np.int64).reshape(-1, 2)[kept]
        places = (kept >= begin) & (kept < end) & (offsets[:, 1] > offsets[:, 0])
        places[0] = True
        arrays = (np.array(one.ids, np.int64)[kept], np.array(one.type_ids, np.int64)[kept], places, offsets)
        return Encoded(arrays, 0, len(kept))

    def _parts(self, question: Question, one: Encoding) -> list[Question]:
        """The question with each window's part of the context; a part begins where the piece before it ends."""
        begin, end = _context(one)
        room = self._room(one, begin, end)
        if self.reading.focus is not None:
            room = min(room, max(LEAST_ROOM, self.reading.focus - (len(one.ids) - (end - begin))))
        if end - begin <= room:
            return [question]
        words, offsets = one.word_ids[begin:end], one.offsets[begin:end]
        if self.reading.focus is not None:
            first = _word_start(words, likeliest_part(one.ids[1:begin], one.ids[begin:end], room))
            return [_part(question, offsets, first, _word_start(words, first + room))]
        overlap, parts, first = min(self.reading.overlap, room // 3), [], 0
        while True:
            last = _word_start(words, first + room)
            parts.append(_part(question, offsets, first, last))
            if last == end - begin:
                return parts
            first = max(first + 1, _word_start(words, last - overlap))


def _context(one: Encoding) -> tuple[int, int]:
    """(first, one past the last) of the context's pieces."""
    own = np.flatnonzero([sequence == 1 for sequence in one.sequence_ids])
    if not len(own):
        raise DataError("the context has no piece that the model knows: it is empty, or of signs that are left out")
    return int(own[0]), int(own[-1]) + 1


def _part(question: Question, offsets: Sequence[tuple[int, int]], first: int, last: int) -> Question:
    """The question with the context's pieces from `first` to before `last`."""
    begin, end = offsets[first - 1][1] if first else 0, offsets[last - 1][1]
    return Question(question.text, question.context[begin:end], question.at + begin)


def _word_start(words: Sequence[int | None], place: int) -> int:
    """The place, or the nearest one before it where a word begins; the end is one."""
    if place >= len(words):
        return len(words)
    for back in range(min(_LONGEST_WORD, place - 1)):
        if words[place - back] != words[place - back - 1]:
            return place - back
    return place


def placed(one: Encoded, start: int, end: int) -> tuple[int, int] | None:
    """(first, last) piece of the characters start to end of the context, or None where the window lacks some."""
    places, offsets = one.arrays[2].copy(), one.arrays[3]
    places[0] = False
    own = np.flatnonzero(places & (offsets[:, 1] > start) & (offsets[:, 0] < end))
    if not len(own) or offsets[own[-1], 1] + _MOST_MARKS < end:
        return None
    return int(own[0]), int(own[-1])
