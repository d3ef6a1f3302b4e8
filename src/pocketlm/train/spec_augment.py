"""Features of sound hidden in part while a model learns (SpecAugment, Park et al. 2019, arXiv:1904.08779)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spec_augment(
    features: NDArray[np.float32], masks: int, random: np.random.Generator, *, bins: int = 27, share: float = 0.05
) -> NDArray[np.float32]:
    """Features (bins, frames) with `masks` stretches of pitch and as many of time set to their mean.

    The paper's masks of pitch and of time, without its warping. bins: of pitch, at most so many a stretch and a
    third of them; share: of the frames, at most so much a stretch.
    """
    found, mean = features.copy(), features.mean()
    pitches, frames = features.shape
    for _ in range(masks):
        for axis, most in ((0, min(bins, pitches // 3)), (1, int(share * frames))):
            width = int(random.integers(most + 1))
            begin = int(random.integers(features.shape[axis] - width + 1))
            hidden = (slice(begin, begin + width), slice(None))
            found[hidden if axis == 0 else hidden[::-1]] = mean
    return found
