"""What recipes that were not tried may reach: a Gaussian process over their kind, bytes and settings.

Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5. A dozen recipes tell little of
how far each setting carries, so that all of them share one length but for those declared decisive, whose is a sixth of
it, and lengths keep near to what is usual.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pocketlm.knobs import Knob
from pocketlm.search.family import Candidate

Floats = NDArray[np.float64]

# Lengths that are tried: in decades of bytes, in ranges of settings, and between two kinds of students; what is usual;
# and how strongly they keep to it: the inverse of the variance of their logarithms.
SIZES, SETTINGS, KINDS = (0.25, 0.5, 1.0), (1.4, 3.0, 6.0), (0.5, 1.5)
USUAL, KEPT = (0.5, 3.0, 0.7), 4.0
# Shares of the variance that are noise: another seed would have come to another figure.
NOISES = (0.01, 0.1)
# One more figure that differs from the others by so much keeps a few equal ones from being believed too surely.
SPREAD = 0.03
# So many times as far apart are values of a decisive setting.
DECISIVE = 6.0


class Places:
    """Where recipes of a space are: the decade of their bytes, how far up its range each setting is, and their kind.

    decisive: settings whose ranges are longer than those of others.
    """

    def __init__(self, knobs: Mapping[str, Mapping[str, Knob]], decisive: Collection[str]) -> None:
        self.knobs = knobs
        self.settings = sorted({name for own in knobs.values() for name in own if name != "size"})
        self.ranges = [DECISIVE if name in decisive else 1.0 for name in self.settings]

    def of(self, candidate: Candidate) -> list[float]:
        """The place of a candidate; settings that its kind has not are in the middle."""
        own, values = self.knobs[candidate.family], candidate.values
        shares = [own[name].place(values[name]) if name in own else 0.5 for name in self.settings]
        settings = [share * far for share, far in zip(shares, self.ranges, strict=True)]
        kinds = [float(name == candidate.family) for name in self.knobs]
        return [math.log10(candidate.expected_bytes), *settings, *kinds]


class Surrogate:
    """Fitted to the figures of some places; see `Places`.

    places: (recipes, dimensions). settings: how many of the dimensions are settings. figures: one a recipe.
    """

    def __init__(self, places: Sequence[Sequence[float]], settings: int, figures: Sequence[float]) -> None:
        self.places, self.settings = np.array(places, np.float64), settings
        given = np.array(figures, np.float64)
        best = -math.inf
        for lengths in itertools.product(SIZES, SETTINGS, KINDS):
            near = self._near(self.places, lengths)
            far = sum(math.log(one / usual) ** 2 for one, usual in zip(lengths, USUAL, strict=True))
            for noise in NOISES:
                root = np.linalg.cholesky(near + noise * np.eye(len(given)))
                ones, own = np.linalg.solve(root, np.ones(len(given))), np.linalg.solve(root, given)
                mean = float(ones @ own / (ones @ ones))
                rest = own - mean * ones
                variance = float(rest @ rest + SPREAD**2) / (len(given) + 1)
                likely = -len(given) / 2 * math.log(variance) - float(np.log(np.diag(root)).sum()) - KEPT / 2 * far
                if likely > best:
                    best = likely
                    self._lengths, self._root, self._ones, self._mean, self._rest, self._variance = (
                        lengths, root, ones, mean, rest, variance,
                    )  # fmt: skip

    def _near(self, others: Floats, lengths: Sequence[float]) -> Floats:
        """Matérn 5/2 of the distances between the known places and others: (known, others)."""
        apart = (self.places[:, None] - others[None]) ** 2
        size, settings, kinds = lengths
        kind = 1 + self.settings
        far = apart[..., 0] / size**2 + apart[..., 1:kind].sum(-1) / settings**2
        far = np.sqrt(5 * (far + apart[..., kind:].sum(-1) / 2 / kinds**2))
        found: Floats = (1 + far + far**2 / 3) * np.exp(-far)
        return found

    def of(self, places: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
        """The figures expected at some places, and their standard deviations, with that of the mean itself."""
        seen = np.linalg.solve(self._root, self._near(np.array(places, np.float64), self._lengths))
        unsure = (1 - self._ones @ seen) ** 2 / (self._ones @ self._ones)
        left = np.maximum(1e-12, 1 - (seen**2).sum(0) + unsure)
        return self._mean + seen.T @ self._rest, np.sqrt(self._variance * left)
