"""Sound is read as the model's processor hears it; a file that is not as it needs is named."""

import wave

import numpy as np
import pytest
import torch

from pocketlm.compress.calibration import read_calibration
from pocketlm.compress.context import Context
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.walk import walk
from pocketlm.errors import CalibrationError
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe


def write(path, seconds, rate=16000, channels=1, width=2, seed=0):
    noise = np.random.default_rng(seed).integers(-9000, 9000, (int(seconds * rate), channels)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(noise.tobytes() if width == 2 else noise.astype("u1").tobytes())
    return noise


def test_a_folder_of_sound_is_a_calibration_that_reaches_every_layer(family, tmp_path):
    model = family("whisper")
    write(tmp_path / "a.wav", 2.5)
    write(tmp_path / "b.wav", 0.4, seed=1)
    (tmp_path / "b.txt").write_text("lamp", "utf-8")
    calibration = read_calibration(tmp_path, model, windows=8)
    (batch,) = calibration.batches
    assert batch["input_features"].shape == (4, 16, 100)  # three seconds of a, the last one half, and b
    assert calibration.tokens == 50 + 50 + 25 + 20
    assert calibration.texts[1] == "lamp"
    start = model.module.config.decoder_start_token_id
    assert (batch["decoder_input_ids"][:, 0] == start).all()
    tokens = {}
    walk(model, calibration, lambda view: tokens.update({one: view.statistics[one].tokens for one in view.linears()}))
    assert set(tokens) == {one.name for one in model.layers if one.block}
    assert tokens["model.encoder.layers.1.fc1"] == tokens["model.decoder.layers.1.encoder_attn.k_proj"] == 145
    assert tokens["model.decoder.layers.1.fc1"] == int(batch["decoder_attention_mask"].sum())


def test_without_text_the_decoder_reads_what_the_model_hears(family, tmp_path):
    model = family("whisper")
    write(tmp_path / "a.wav", 1)
    (batch,) = read_calibration(tmp_path / "a.wav", model).batches
    with torch.no_grad():
        said = model.module(**batch).logits.argmax(-1)
    assert batch["decoder_input_ids"].shape[1] > 1
    assert torch.equal(said[:, :-1], batch["decoder_input_ids"][:, 1:])


def test_whisper_is_compressed_with_sound(family, tmp_path):
    write(tmp_path / "a.wav", 1)
    model = family("whisper")
    context = Context(calibration=read_calibration(tmp_path / "a.wav", model))
    assert compress(model, Recipe([RoundToNearest(bits=4)]), context).size_bytes < model.size_bytes


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"rate": 8000}, "has 8,000 samples a second; the model hears 16,000"), ({"width": 1}, "8 bits")],
)
def test_other_rates_and_widths_are_named(changes, said, family, tmp_path):
    write(tmp_path / "a.wav", 0.2, **changes)
    with pytest.raises(CalibrationError, match=said):
        read_calibration(tmp_path / "a.wav", family("whisper"))


def test_what_is_no_sound_is_refused(family, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(CalibrationError, match="cannot be read as WAV"):
        read_calibration(tmp_path / "a.wav", family("whisper"))
    write(tmp_path / "b.wav", 0)
    with pytest.raises(CalibrationError, match="holds no sound"):
        read_calibration(tmp_path / "b.wav", family("whisper"))
    with pytest.raises(CalibrationError, match="reads text, not sound"):
        read_calibration(tmp_path / "b.wav", family("llama"))
    (tmp_path / "c.txt").write_text("lamp", "utf-8")
    with pytest.raises(CalibrationError, match="reads a WAV file"):
        read_calibration(tmp_path / "c.txt", family("whisper"))
