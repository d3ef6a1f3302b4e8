"""What the sizes and the choice of students depend on: the data, the teacher, and what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pocketlm.runtime.inputs import plain_text
from pocketlm.search.grams import GramCounts
from pocketlm.students.allocation import Allocation
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.solve import labelled
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import with_labels

# Where every word is a label too, a sixth of the texts teaches as much.
TAGGING_SHARE = 6
# Rates are doubled so many times at most where training is short.
HURRIED = 2
# An encoder keeps at least this share of the pieces that the texts and their variants use; others are spelt out.
FEWEST_PIECES = 0.4
# Texts whose length is looked at.
SAMPLED = 1_000

# What a student of so many bytes (None: of any), embeddings in one of these bits, keeps; or None where nothing does.
Allocator = Callable[[int | None, tuple[int, ...]], Allocation | None]


@dataclass(frozen=True)
class Facts:
    """What sizes depend on.

    texts: of the lesson. labels: over all outputs, or a vector's dimensions. pieces: of the trimmed vocabulary. asking:
    whether questions are answered from contexts. max_length: pieces read at once. single: whether every output is one
    label of several. taught: whether a teacher is listened to. frozen: whether it is an encoder as it was pretrained.
    labelled: texts that have every label. encoder: whether there is a pretrained one. words: of a text, on average.
    pinned: settings that have one value, "pass.setting", where the job says so. largest: the most that settings may be
    of those that the job says something of. allocator: says what a student of so
    many bytes, with embeddings of one of these bits, keeps of the teacher, see `search.allocator`; None where that
    cannot be said. graph_room: bytes that the memory allowed leaves for a graph's file; None for any. effort: how much
    training students get, 1 being the usual. decisive: whether dev has rows enough, of what is judged, to weigh by.
    grams, labelled_grams: n-grams of the texts, and of those that have labels; None where nobody counts.
    """

    texts: int
    labels: int
    tagging: bool
    pieces: int
    width: int
    layers: int
    heads: int
    ffn: int
    vectors: bool = False
    asking: bool = False
    max_length: int = 64
    single: bool = False
    taught: bool = False
    frozen: bool = False
    labelled: int = 0
    encoder: bool = False
    words: float = 0.0
    allocator: Allocator | None = None
    pinned: Mapping[str, Any] = field(default_factory=dict)
    largest: Mapping[str, Any] = field(default_factory=dict)
    effort: float = 1.0
    graph_room: int | None = None
    decisive: bool = True
    grams: GramCounts | None = None
    labelled_grams: GramCounts | None = None

    def rows_of(self, ngrams: HashedNgrams, *, labelled: bool) -> int:
        """How many rows n-grams fill at most: of texts that have labels, or of all."""
        counts = self.labelled_grams if labelled else self.grams
        found = None if counts is None else counts.rows(ngrams.ngrams(), ngrams.max_words, ngrams.min_texts)
        return ngrams.buckets if found is None else found

    @property
    def literal(self) -> bool:
        """Whether linear n-grams may stand beside a part of the teacher, both weighed by dev's labels.

        Where every output is one label of several, and dev tells how much each is worth.
        """
        return self.single and self.taught and self.encoder and self.decisive

    @classmethod
    def of(cls, context: FitContext, pieces: int, effort: float = 1.0) -> Facts:
        """The facts of a job."""
        config: Any = None if context.pretrained is None else context.pretrained.config
        some = context.lesson.texts[:SAMPLED]
        single = all(output.kind == "single" for output in context.outputs)
        return cls(
            len(context.lesson),
            sum(output.size for output in context.outputs),
            context.tagging,
            pieces,
            getattr(config, "hidden_size", 192),
            getattr(config, "num_hidden_layers", getattr(config, "n_layers", 2)),
            getattr(config, "num_attention_heads", 6),
            getattr(config, "intermediate_size", getattr(config, "hidden_dim", 384)),  # DistilBERT's name for it
            context.vectors,
            context.asking,
            context.max_length,
            single,
            context.lesson.taught is not None,
            context.frozen,
            len(labelled(context.lesson, context.outputs)[0]) if single else 0,
            context.pretrained is not None,
            float(np.mean([len(plain_text(text).split()) for text in some])) if single and some else 0.0,
            effort=effort,
            grams=GramCounts(context.lesson.texts, tagging=context.tagging),
            labelled_grams=GramCounts(with_labels(context.lesson, context.outputs).texts, tagging=context.tagging),
        )

    def epochs(self, seen: int) -> int:
        """Epochs after which `seen` texts were seen, within reason, and the share of them that effort asks for."""
        seen = seen // TAGGING_SHARE if self.tagging else seen
        return self._share_of(max(2, min(60, round(seen / max(1, self.texts)))))

    def rate(self, usual: float, seen: int) -> float:
        """The usual rate of learning from `seen` texts; twice or four times it where far fewer are seen.

        By the root of the share: few steps have to be longer ones.
        """
        short = math.log2(seen / (self.epochs(seen) * max(1, self.texts))) / 2
        return usual * 2.0 ** min(HURRIED, max(0, round(short)))

    def epochs_within(self, seen: int) -> int:
        """Epochs in which at most `seen` texts are seen, or one where there are more texts, within reason."""
        seen = seen // TAGGING_SHARE if self.tagging else seen
        return self._share_of(max(1, min(60, seen // max(1, self.texts))))

    def _share_of(self, epochs: int) -> int:
        return max(1, round(self.effort * epochs))

    def fitting_pieces(self, student: Any, size: int | None, rest: int, a_piece: int) -> int:
        """As many of the teacher's pieces as fit beside `rest` bytes, or 0 where too few do. size: None for any.

        Just as many as the student is to have, where they fit.
        """
        fitting = self.pieces if size is None else int((size - rest) / a_piece)
        wanted = student.pieces or self.pinned.get(f"{student.name}.pieces")
        if wanted is not None:
            return min(wanted, self.pieces) if min(wanted, self.pieces) <= fitting else 0
        return 0 if fitting < FEWEST_PIECES * self.pieces else min(fitting, self.pieces)
