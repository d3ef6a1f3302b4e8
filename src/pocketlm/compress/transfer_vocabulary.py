"""Give a model the vocabulary of another language: a tokenizer learnt from its text, rows composed of the old ones.

How rows are composed: `compress.compose`. Then the model learns on in that language, by the next piece or by hidden
ones (`train.language_modelling`), for so many steps or minutes; without that a transferred vocabulary says little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from pocketlm.compress.compose import COMPOSERS, Composition, compose
from pocketlm.compress.context import Context
from pocketlm.compress.rows import held_out
from pocketlm.compress.trainable import Trainable, trainable
from pocketlm.compress.trim_vocabulary import read_texts, unlimited
from pocketlm.compress.words import rules_of
from pocketlm.errors import ModelError
from pocketlm.model.learn_tokenizer import learn_alike
from pocketlm.model.pretrained import Model
from pocketlm.model.word_rows import COUNT_FROM_PADDING, fixed_pieces, with_words, word_layers
from pocketlm.train.heal import HealSchedule, RateGroup, endless_batches, heal
from pocketlm.train.language_modelling import Language, text_rows

MOST_JUDGES = 128
# What a head that is there for training only learns faster by.
_HEAD_RATE = 10.0


@dataclass(frozen=True)
class TransferVocabulary:
    """Replace the vocabulary by one learnt from the text, and learn on.

    text: UTF-8 files, a text a line, or tables with a column of texts; without, the calibration. pieces: of the new
    vocabulary. compose: how rows are made, "parts", "spelling", "both" or "mean". nearest, temperature: of "spelling",
    how many shared pieces are mixed, and how evenly. steps: of training, 0 for none; minutes: the most it may take.
    rate: peak learning rate. batch, length: rows of a step, and pieces of a row. held_out: share of rows that judge.
    """

    name: ClassVar[str] = "transfer-vocabulary"
    kind: ClassVar[str] = "other"
    heals: ClassVar[bool] = True
    text: tuple[str, ...] = ()
    pieces: int = 8_000
    compose: str = "both"
    nearest: int = 10
    temperature: float = 0.1
    steps: int = 500
    minutes: float | None = None
    rate: float = 1e-4
    batch: int = 16
    length: int = 128
    held_out: float = 0.05

    def __post_init__(self) -> None:
        if isinstance(self.text, str):
            object.__setattr__(self, "text", (self.text,))
        if self.compose not in COMPOSERS:
            raise ValueError(f"compose is one of {', '.join(COMPOSERS)}, got {self.compose!r}")
        for name, least in (("pieces", 1), ("nearest", 1), ("steps", 0), ("batch", 1), ("length", 8)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {least} or more, got {getattr(self, name)}")
        if self.temperature <= 0 or self.rate <= 0 or not 0 < self.held_out < 1:
            raise ValueError("temperature and rate are more than 0, held_out is between 0 and 1")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model in its new words. Raises ModelError for a tokenizer that cannot be changed."""
        rules_of(model)
        texts = read_texts(self.text) if self.text else context.calibrated(self.name).texts
        context.ticks("learning a vocabulary")(0, 1, "")
        made, composition = self.transferred(model, texts)
        rows, before = len(made.tokenizer), composition.old
        for name in word_layers(made):
            shape = tuple(made.module.get_submodule(name).weight.shape)
            context.journal.layer(name, "composed", rows=rows, rows_before=before, copied=composition.copied)
            context.journal.promise(name, "shape", shape)
        made_up = rows - composition.copied - len(composition.blank)
        context.journal.note(
            f"{rows:,} pieces instead of {before:,}: {composition.copied:,} copied, {made_up:,} composed, "
            f"{len(composition.blank):,} begun as the mean"
        )
        if self.steps:
            self._learn(made, texts, context)
        return made

    def transferred(self, model: Model, texts: Sequence[str]) -> tuple[Model, Composition]:
        """The model with the new vocabulary, changed in place and not trained yet, and what its rows are made of."""
        old, new = model.tokenizer, learn_alike(model.tokenizer, texts, self.pieces)
        whole = unlimited(old.backend_tokenizer.to_str())
        composition = compose(
            whole, unlimited(new.backend_tokenizer.to_str()), self.compose, self.nearest, self.temperature
        )
        known, found = old.get_vocab(), new.get_vocab()
        new_id = {place: found[piece] for piece, place in known.items() if piece in found}
        lost = sorted(fixed_pieces(model) - set(new_id))
        if lost:
            piece = old.convert_ids_to_tokens(lost[0])
            raise ModelError(
                f"model {model.spec.source}: its config names piece {piece!r}, which a new vocabulary lacks"
            )
        pad = model.module.config.pad_token_id
        if model.spec.model_type in COUNT_FROM_PADDING and pad is not None and new_id[pad] != pad:
            raise ModelError(f"model {model.spec.source}: counts places from its padding's number, which would change")
        return with_words(model, new, composition.rows, new_id), composition

    def _learn(self, model: Model, texts: Sequence[str], context: Context) -> None:
        """Train in place on the texts; everything is as composed where held-out rows are no better off."""
        language = Language(model, text_rows(model, texts, self.length), context.seed)
        learn, judge = held_out(len(language.rows), self.held_out, context.seed)
        judge = judge[:MOST_JUDGES]
        before = language.judged(judge)
        trained = trainable(model.module, "all")
        try:
            kept = trained.values()
            ended = self._train(language, trained, learn, context)
            after = language.judged(judge)
            if not after < before:
                trained.restore(kept)
        finally:
            trained.store()
        bits = [language.bits_a_byte(loss, judge) for loss in (before, after)]
        context.journal.note(
            f"{ended}; held-out loss {before:.4f} to {after:.4f} nats a piece, "
            f"{bits[0]:.4f} to {bits[1]:.4f} bits a byte" + ("" if after < before else "; everything is as composed")
        )

    def _train(self, language: Language, trained: Trainable, learn: list[int], context: Context) -> str:
        groups = trained.groups(self.rate, self.rate, 0.01)
        if language.head is not None:
            groups.append(RateGroup(list(language.head.parameters()), _HEAD_RATE * self.rate))
        seconds = None if self.minutes is None else 60 * self.minutes
        lengths = [len(language.rows[place]) for place in learn]
        places = ([learn[one] for one in own] for own in endless_batches(lengths, self.batch, context.seed))
        torch.manual_seed(context.seed)
        done = heal(
            groups, language.loss, places, HealSchedule(self.steps, seconds, fast=context.fast),
            progress=context.ticks(f"training: {self.name}"), deadline=context.deadline,
        )  # fmt: skip
        return f"{len(done.losses)} steps on {len(learn):,} rows, {done.ended}"
