"""Speech made faster, slower or noisy: what is said stays what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np

from pocketlm.data.sound import Sound
from pocketlm.tables import Table


class SoundMethod(Protocol):
    """A way to make sound of sound: a frozen dataclass of its settings, called with samples."""

    name: ClassVar[str]

    def __call__(self, samples: Sound, random: np.random.Generator, noises: Sequence[Sound]) -> list[tuple[Sound, str]]:
        """New sounds, each with a note of what was done. noises: sounds without speech that may be heard behind."""
        ...


@dataclass(frozen=True)
class Speed:
    """The sound played at other speeds, pitch and all (Ko et al. 2015, Interspeech, section 2.2)."""

    name: ClassVar[str] = "speed"
    factors: tuple[float, ...] = (0.9, 1.1)

    def __post_init__(self) -> None:
        if not self.factors or not all(0.5 <= one <= 2 for one in self.factors):
            raise ValueError(f"factors are from 0.5 to 2, got {self.factors}")

    def __call__(self, samples: Sound, random: np.random.Generator, noises: Sequence[Sound]) -> list[tuple[Sound, str]]:
        """One new sound a factor, n / factor samples each."""
        return [(at_speed(samples, one), f"{one:g} times as fast") for one in self.factors]


@dataclass(frozen=True)
class NoiseBehind:
    """Noise heard behind the speech, `low` to `high` dB below it: a part of a sound given, else pink noise.

    As Hannun et al. 2014 (arXiv:1412.5567), section 4.2.
    """

    name: ClassVar[str] = "noise"
    low: float = 5.0
    high: float = 20.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low is at most high, got {self.low} and {self.high}")

    def __call__(self, samples: Sound, random: np.random.Generator, noises: Sequence[Sound]) -> list[tuple[Sound, str]]:
        """One new sound; none of silence."""
        if not np.any(samples):
            return []
        ratio = float(random.uniform(self.low, self.high))
        if noises:
            place = int(random.integers(len(noises)))
            noise, said = noises[place], f"noise {place + 1}"
        else:
            noise, said = pink(len(samples), random), "pink noise"
        return [(over_noise(samples, noise, ratio, random), f"{said} {ratio:.1f} dB below")]


SOUND_METHODS = Table(
    "sound augmenter", {"noise": "pocketlm.augment.sound:NoiseBehind", "speed": "pocketlm.augment.sound:Speed"}
)


def at_speed(samples: Sound, factor: float) -> Sound:
    """The samples as heard `factor` times as fast at the same rate: resampled by a polyphase filter."""
    from scipy.signal import resample_poly

    ratio = Fraction(factor).limit_denominator(100)
    return np.asarray(resample_poly(samples, ratio.denominator, ratio.numerator), np.float32)


def over_noise(samples: Sound, noise: Sound, ratio: float, random: np.random.Generator) -> Sound:
    """The samples with a stretch of the noise, again and again where it is short, `ratio` dB below them in power."""
    begin = int(random.integers(len(noise)))
    stretch = np.resize(np.roll(noise, -begin), len(samples))
    powers = [float(np.mean(np.square(one, dtype=np.float64))) for one in (samples, stretch)]
    if not powers[1]:
        return samples
    scale = np.sqrt(powers[0] / powers[1] / 10 ** (ratio / 10))
    return np.asarray(samples + scale * stretch, np.float32)


def pink(count: int, random: np.random.Generator) -> Sound:
    """Noise whose power falls as one over the frequency, as that of rooms and streets about does."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    return np.asarray(np.fft.irfft(spectrum, count), np.float32)
