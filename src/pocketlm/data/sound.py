"""WAV files: samples in, samples out."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError

Sound = NDArray[np.float32]


def wav_files(path: Path) -> list[Path]:
    """The WAV files in a folder in order of their names, or the path itself where it is one."""
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.suffix.lower() == ".wav")
    return [path] if path.suffix.lower() == ".wav" else []


def read_wav(path: Path) -> tuple[Sound, int]:
    """Samples of a 16-bit WAV file in [-1, 1), channels averaged, and how many a second.

    Raises DataError where it cannot be read, or is not of 16 bits.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, rate, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(f"{path}: cannot be read as WAV: {error}") from None
    if width != 2:
        raise DataError(f"{path}: has {8 * width} bits; WAV of 16 bits is read")
    samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)
    return np.asarray(samples.mean(axis=1) / 32768, np.float32), rate


def write_wav(path: Path, samples: Sound, rate: int) -> None:
    """Write samples, clipped to [-1, 1), as one channel of 16 bits."""
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
