"""Sound is read and written as it is, and what is no sound is named."""

import wave

import numpy as np
import pytest

from pocketlm.data.sound import read_wav, wav_files, write_wav
from pocketlm.errors import DataError


def test_samples_are_what_was_written_and_channels_are_averaged(tmp_path):
    noise = np.random.default_rng(0).integers(-9000, 9000, (1600, 2)).astype("<i2")
    with wave.open(str(tmp_path / "two.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(noise.tobytes())
    samples, rate = read_wav(tmp_path / "two.wav")
    np.testing.assert_allclose(samples, noise.mean(1) / 32768, rtol=1e-6)
    assert rate == 16000


def test_writing_and_reading_gives_the_same_and_clips(tmp_path):
    samples = np.array([0, 0.5, -0.25, 3, -3], np.float32)
    write_wav(tmp_path / "A.WAV", samples, 8000)
    found, rate = read_wav(tmp_path / "A.WAV")
    assert rate == 8000 and found.tolist() == [0, 0.5, -0.25, 32767 / 32768, -1]
    (tmp_path / "a.txt").write_text("no sound", "utf-8")
    assert wav_files(tmp_path) == [tmp_path / "A.WAV"] == wav_files(tmp_path / "A.WAV")
    assert wav_files(tmp_path / "a.txt") == []


def test_what_is_no_sound_is_named(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"a\.wav: cannot be read as WAV"):
        read_wav(tmp_path / "a.wav")
    with wave.open(str(tmp_path / "b.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(8))
    with pytest.raises(DataError, match="has 8 bits"):
        read_wav(tmp_path / "b.wav")
