"""Calibration for speech models: sound from WAV files, and what is said in it.

The decoder reads the text in the file of the same name that ends in .txt, or, where there is none, what the model
itself hears: its most probable tokens one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pocketlm.compress.calibration import Batch, Calibration
from pocketlm.data.sound import Sound, read_wav
from pocketlm.errors import CalibrationError, DataError
from pocketlm.model.pretrained import Model


def _read(path: Path, rate: int) -> Sound:
    """Samples of a WAV file. Raises CalibrationError where it is not as `read_wav` and the model need it."""
    try:
        samples, found = read_wav(path)
    except DataError as error:
        raise CalibrationError(f"calibration {error}") from None
    if found != rate:
        raise CalibrationError(f"calibration {path}: has {found:,} samples a second; the model hears {rate:,}")
    return samples


def calibration_from_audio(
    paths: Sequence[Path], model: Model, windows: int = 32, length: int = 48, batch_size: int = 4
) -> Calibration:
    """Calibration from WAV files, cut into windows as long as the model hears.

    windows: at most so many, of each file the first ones first. length: tokens that the decoder reads of a window.
    Raises CalibrationError where the model hears nothing, or a file is empty, no 16-bit WAV, or of another rate.
    """
    if not hasattr(model.tokenizer, "feature_extractor"):
        raise CalibrationError(f"calibration {paths[0]}: the model reads text, not sound")
    extractor = model.tokenizer.feature_extractor
    cut: list[tuple[int, Sound, str | None]] = []
    for path in paths:
        samples = _read(path, extractor.sampling_rate)
        if not len(samples):
            raise CalibrationError(f"calibration {path}: holds no sound")
        said = path.with_suffix(".txt")
        text = said.read_text("utf-8").strip() if said.is_file() and len(samples) <= extractor.n_samples else None
        for number, start in enumerate(range(0, len(samples), extractor.n_samples)):
            cut.append((number, samples[start : start + extractor.n_samples], text))
    picked = sorted(cut, key=lambda one: one[0])[:windows]
    length = min(length, model.module.config.max_target_positions)
    batches, texts = [], []
    for start in range(0, len(picked), batch_size):
        part = picked[start : start + batch_size]
        batch = _batch([one[1] for one in part], [one[2] for one in part], model, length)
        batches.append(batch)
        texts += model.tokenizer.tokenizer.batch_decode(batch["decoder_input_ids"], skip_special_tokens=True)
    return Calibration(tuple(batches), tuple(texts), str(paths[0].parent))


def _batch(sounds: list[Sound], texts: list[str | None], model: Model, length: int) -> Batch:
    extractor = model.tokenizer.feature_extractor
    heard = extractor(
        sounds, sampling_rate=extractor.sampling_rate, return_attention_mask=True, return_tensors="pt"
    )  # fmt: skip
    features = heard["input_features"]
    own = _transcribe(model, features, length) if None in texts else features
    config = model.module.config
    rows = [
        torch.tensor([config.decoder_start_token_id, *model.tokenizer.tokenizer(text).input_ids][:length])
        if text is not None
        else own[place]
        for place, text in enumerate(texts)
    ]
    return {
        "input_features": features, "attention_mask": heard["attention_mask"],
        "decoder_input_ids": pad_sequence(rows, True, config.pad_token_id),
        "decoder_attention_mask": pad_sequence([torch.ones_like(row) for row in rows], True, 0),
    }  # fmt: skip


@torch.no_grad()
def _transcribe(model: Model, features: Tensor, length: int) -> Tensor:
    """The most probable tokens, one after the other: (sequences, length), the start among them."""
    config = model.module.config
    heard = model.module.get_encoder()(features)
    ids = torch.full((len(features), 1), config.decoder_start_token_id)
    while ids.shape[1] < length:
        logits = model.module(encoder_outputs=heard, decoder_input_ids=ids, use_cache=False).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
        if bool((ids[:, 1:] == config.eos_token_id).any(1).all()):
            break
    return ids
