"""Calibration: windows of text as a model reads them, and what its layers' inputs are like on them.

One streaming pass accumulates, per linear input, S = Σ x xᵀ over the tokens that are no padding (Frantar et al. 2022,
arXiv:2210.17323, eq. 1 with H = 2S); every method that needs activations reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pocketlm.compress.moments import Moments as Moments
from pocketlm.compress.moments import Statistics as Statistics
from pocketlm.compress.moments import collecting as collecting
from pocketlm.errors import CalibrationError
from pocketlm.model.pretrained import Model

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Calibration:
    """Batches of keyword arguments for the module. mask: of each batch, true (sequences, tokens) where no padding is.

    texts: what they were made of, for the audit. source: for messages. unreached: layers that a walk found none of the
    tokens to reach, which are experts that nothing was routed to.
    """

    batches: tuple[Batch, ...]
    texts: tuple[str, ...] = ()
    source: str = "calibration"
    unreached: set[str] = field(default_factory=set, compare=False)

    @property
    def tokens(self) -> int:
        """Tokens that are no padding, of the main input."""
        return sum(int(_mask(batch).sum()) for batch in self.batches)

    def part(self, tokens: int, labels: tuple[Any, ...] = ()) -> tuple[Calibration, tuple[Any, ...]]:
        """Batches spread evenly over it, about so many tokens, with their labels; itself where it has no more."""
        keep = max(1, round(len(self.batches) * tokens / max(1, self.tokens)))
        if keep >= len(self.batches):
            return self, labels
        places = [place * len(self.batches) // keep for place in range(keep)]
        batches = tuple(self.batches[place] for place in places)
        return Calibration(batches, self.texts, self.source), tuple(labels[place] for place in places if labels)


def _main(batch: Batch) -> Tensor:
    return next(batch[name] for name in ("input_ids", "input_features", "decoder_input_ids") if name in batch)


def _mask(batch: Batch) -> Tensor:
    main = _main(batch)
    if main.dim() == 3:  # features (sequences, bins, frames): the encoder halves the frames
        frames = batch.get("attention_mask", torch.ones_like(main[:, 0]))
        return frames[:, ::2].bool()
    return batch["attention_mask"].bool() if "attention_mask" in batch else torch.ones(main.shape[:2], dtype=torch.bool)


def read_calibration(
    path: str | Path, model: Model, windows: int = 128, length: int = 512, batch_size: int = 8, seed: int = 0
) -> Calibration:
    """Calibration from a UTF-8 text file.

    A decoder reads `windows` stretches of `length` tokens drawn at random places of the text; an encoder, and a decoder
    that classifies texts, reads lines, each a sequence of at most `length` tokens; an encoder-decoder reads lines and
    predicts them. A speech model reads a WAV file or a folder of them.
    Raises CalibrationError where there is less than one window, or the file cannot be read.
    """
    from pocketlm.compress.audio import calibration_from_audio
    from pocketlm.data.sound import wav_files

    path = Path(path)
    if sounds := wav_files(path):
        return calibration_from_audio(sounds, model, windows, batch_size=min(batch_size, 4))
    if model.spec.kind == "speech":
        raise CalibrationError(f"calibration {path}: a speech model reads a WAV file, or a folder of them")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"calibration {path}: cannot be read as UTF-8 text: {error}") from None
    return calibration_from_text(text, model, windows, length, batch_size, seed, str(path))


def calibration_from_text(
    text: str, model: Model, windows: int = 128, length: int = 512, batch_size: int = 8, seed: int = 0,
    source: str = "calibration",
) -> Calibration:  # fmt: skip
    """As `read_calibration`, from the text itself."""
    if model.tokenizer is None:
        raise CalibrationError(f"{source}: the model has no tokenizer to read text with")
    if model.spec.kind == "decoder" and not model.spec.classifies:
        return _windows(text, model, windows, length, batch_size, seed, source)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise CalibrationError(f"{source}: has no line of text")
    picked = _draw(lines, windows, seed)
    return calibration_from_lines(picked, model, length, batch_size, source)


def longest(model: Model) -> int | None:
    """Most tokens that the model has positions for, or None where there is no such limit."""
    config = model.module.config
    most: int | None = getattr(config, "max_position_embeddings", None)
    if most and model.spec.model_type in ("roberta", "xlm-roberta"):  # these number places from the padding's on
        return most - int(config.pad_token_id) - 1
    return most or None


def _draw(lines: Sequence[str], count: int, seed: int) -> list[str]:
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(seed)).tolist()
    return [lines[place] for place in order[:count]]


def _windows(
    text: str, model: Model, windows: int, length: int, batch_size: int, seed: int, source: str
) -> Calibration:
    limit = longest(model) or length
    length = min(length, limit)
    ids = torch.tensor(model.tokenizer(text, verbose=False).input_ids)
    if len(ids) < length:
        raise CalibrationError(
            f"{source}: has {len(ids):,} tokens, fewer than one window of {length:,}; "
            "give more text or a shorter window"
        )
    generator = torch.Generator().manual_seed(seed)
    whole = len(ids) // length
    if windows <= whole:  # no overlap: windows of a grid at a random offset
        offset = int(torch.randint(len(ids) - whole * length + 1, (1,), generator=generator))
        starts = (torch.randperm(whole, generator=generator)[:windows] * length + offset).tolist()
    else:
        starts = torch.randint(len(ids) - length + 1, (windows,), generator=generator).tolist()
    rows = torch.stack([ids[start : start + length] for start in sorted(starts)])
    batches = tuple(
        {"input_ids": part, "attention_mask": torch.ones_like(part)} for part in torch.split(rows, batch_size)
    )
    return Calibration(batches, tuple(model.tokenizer.batch_decode(rows)), source)


def calibration_from_lines(
    lines: Sequence[str], model: Model, length: int = 128, batch_size: int = 32, source: str = "calibration"
) -> Calibration:
    """Calibration of whole texts, one a sequence, padded on the right a batch at a time; alike in length in a batch.

    Raises CalibrationError for a model without a tokenizer, and for a decoder that classifies and knows by no padding
    token where a text ends.
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise CalibrationError(f"{source}: the model has no tokenizer to read text with")
    if model.spec.kind == "decoder" and model.spec.classifies:
        pads = model.module.config.pad_token_id, tokenizer.pad_token_id
        if pads[0] is None or pads[0] != pads[1]:
            raise CalibrationError(
                f"{source}: {model.spec.architecture} finds the end of a text by its padding token; its config says "
                f"{pads[0]} and its tokenizer {pads[1]}: give both the same"
            )
    limit = longest(model) or length
    ordered = sorted(lines, key=len)
    batches = []
    for start in range(0, len(ordered), batch_size):
        made = tokenizer(
            ordered[start : start + batch_size], padding=True, truncation=True, max_length=min(length, limit),
            return_tensors="pt", padding_side="right",
        )  # fmt: skip
        batch = {name: made[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in made}
        if model.spec.kind == "encoder-decoder":
            batch["decoder_input_ids"] = _shifted(batch["input_ids"], model)
            batch["decoder_attention_mask"] = batch["attention_mask"]
        batches.append(batch)
    return Calibration(tuple(batches), tuple(ordered), source)


def calibration_from_rows(
    texts: Sequence[str], labels: Sequence[str | int], model: Model, length: int = 128, batch_size: int = 32,
    source: str = "calibration",
) -> tuple[Calibration, tuple[Tensor, ...]]:  # fmt: skip
    """Calibration of texts with the class of each, and these as the model numbers them, a tensor for each batch.

    Raises CalibrationError for a label that the model's config does not name, or where counts differ.
    """
    known = {str(name): int(number) for name, number in (model.module.config.label2id or {}).items()}
    if len(texts) != len(labels):
        raise CalibrationError(f"{source}: {len(texts):,} texts and {len(labels):,} labels; one label a text is needed")
    unknown = sorted({str(one) for one in labels if not isinstance(one, int) and one not in known})
    if unknown:
        raise CalibrationError(f"{source}: label {unknown[0]!r} is none of the model's {len(known)} classes")
    numbers = [one if isinstance(one, int) else known[one] for one in labels]
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    made = calibration_from_lines([texts[place] for place in order], model, length, batch_size, source)
    ordered = torch.tensor([numbers[place] for place in order])
    return made, torch.split(ordered, batch_size)


def _shifted(ids: Tensor, model: Model) -> Tensor:
    start = model.module.config.decoder_start_token_id or 0
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)


def batch_masks(batch: Batch) -> list[Tensor]:
    """Masks of a batch: of the main input and of the decoder's."""
    found = [_mask(batch)] if "input_ids" in batch or "input_features" in batch else []
    if "decoder_attention_mask" in batch:
        found.append(batch["decoder_attention_mask"].bool())
    return found
