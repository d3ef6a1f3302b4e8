"""What follows a vocabulary that a pass changed: calibration and teacher, in the words the model has now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pocketlm.compress.calibration import Calibration, calibration_from_lines
from pocketlm.compress.context import Context
from pocketlm.errors import ModelError
from pocketlm.model.pretrained import Model
from pocketlm.model.word_rows import keep_words, word_layers

_PIECES = ("input_ids", "decoder_input_ids")


def rules_of(model: Model) -> str:
    """The tokenizer.json of the model. Raises ModelError, naming the tokenizer, where its vocabulary is fixed."""
    tokenizer = model.tokenizer
    name = type(tokenizer).__name__
    if tokenizer is None:
        raise ModelError(f"model {model.spec.source}: has no tokenizer whose vocabulary could be changed")
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"model {model.spec.source}: the vocabulary of its {name} cannot be changed: it has no tokenizer.json"
        )
    if not word_layers(model):
        raise ModelError(f"model {model.spec.source}: has no table with a row for every piece of its vocabulary")
    rules: str = tokenizer.backend_tokenizer.to_str()
    return rules


def kept_of(before: Any, after: Any) -> tuple[int, ...] | None:
    """Of each piece of a tokenizer its number in one before, or None where that has not all of them."""
    known, pieces = before.get_vocab(), sorted(after.get_vocab().items(), key=lambda one: one[1])
    kept = [known.get(piece) for piece, _ in pieces]
    return None if None in kept else tuple(kept)


def follow(context: Context, before: Model, after: Model) -> Context:
    """The context in the words of `after`: as it is, where the vocabulary stayed.

    A teacher with the old words keeps the rows of those left. Where the words are others, the model as it now is
    becomes the teacher of the passes to come.
    """
    if after.tokenizer is before.tokenizer:
        return context
    calibration, kept = context.calibration, kept_of(before.tokenizer, after.tokenizer)
    if calibration is not None:
        calibration = in_words(calibration, after, kept)
    teacher = context.teacher
    if teacher is not None:
        teacher = after.draft() if kept is None else keep_words(teacher.draft(), kept, after.tokenizer)
    return replace(context, calibration=calibration, teacher=teacher)


def in_words(calibration: Calibration, model: Model, kept: tuple[int, ...] | None) -> Calibration:
    """The calibration in the model's words: its numbers changed where all are `kept`, its texts cut anew otherwise."""
    if kept is not None:
        new_id = torch.full((max(kept) + 1,), -1)
        new_id[list(kept)] = torch.arange(len(kept))
        batches = []
        for batch in calibration.batches:
            known = {name: ids for name, ids in batch.items() if name in _PIECES}
            if any(int(ids.max()) >= len(new_id) or bool((new_id[ids] < 0).any()) for ids in known.values()):
                break
            batches.append({**batch, **{name: new_id[ids] for name, ids in known.items()}})
        else:
            return replace(calibration, batches=tuple(batches))
    main = calibration.batches[0]["input_ids"]
    length = max(batch["input_ids"].shape[1] for batch in calibration.batches)
    made = calibration_from_lines(calibration.texts, model, length, len(main), calibration.source)
    return replace(made, unreached=calibration.unreached)


def comparable(model: Model, made: Model, calibration: Calibration) -> tuple[Model, Calibration] | None:
    """The model as it was given, and its calibration, in the words of `made`; None where these are others."""
    if made.tokenizer is model.tokenizer:
        return model, calibration
    kept = kept_of(model.tokenizer, made.tokenizer)
    if kept is None:
        return None
    return keep_words(model.draft(), kept, made.tokenizer), in_words(calibration, made, kept)
