"""Which unlabelled texts a teacher is sure enough of, class by class, to learn from its own answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlm.outputs import Example
from pocketlm.tasks.confidence import Floats

# Least share of an answer that joins, whatever the class.
FLOOR = 0.5
# No class joins with more than so many times the mean of those that do.
MOST_OF_MEAN = 2.0


@dataclass(frozen=True)
class Joined:
    """Texts with a teacher's own labels. by_class: {label: (how many, the least share among them)}."""

    examples: list[Example]
    by_class: dict[str, tuple[int, float]]

    def __str__(self) -> str:
        own = (f"{label} {count} (from {least:.2f})" for label, (count, least) in self.by_class.items())
        return f"{len(self.examples)} rows joined: {', '.join(own)}"


def class_thresholds(given: Floats, base: float) -> Floats:
    """The share from which an answer of each class is sure: lower for classes that are seldom sure. (classes,).

    given: calibrated shares (texts, classes). base: for the class learnt best. FlexMatch (Zhang et al. 2021,
    arXiv:2110.08263, eq. 5-7 and 11): base · β / (2 - β), with β a class's sure texts relative to the most of any.
    """
    best, sure = given.argmax(1), given.max(1) >= base
    counts = np.bincount(best[sure], minlength=given.shape[1]).astype(np.float64)
    beta = counts / max(1.0, counts.max(), len(given) - counts.sum())
    out: Floats = np.clip(base * beta / (2 - beta), min(FLOOR, base), base)
    return out


def joining(texts: Sequence[str], given: Floats, labels: Sequence[str], base: float) -> Joined:
    """The texts whose answers are sure, the surest of each class first, none of them in too great a number.

    given: calibrated shares (texts, labels).
    """
    thresholds, best = class_thresholds(given, base), given.argmax(1)
    found: list[NDArray[np.intp]] = []
    for place in range(len(labels)):
        own = np.flatnonzero((best == place) & (given[:, place] >= thresholds[place]))
        found.append(own[np.argsort(-given[own, place], kind="stable")])
    some = [len(own) for own in found if len(own)]
    most = int(np.ceil(MOST_OF_MEAN * sum(some) / max(1, len(some))))
    examples: list[Example] = []
    by_class: dict[str, tuple[int, float]] = {}
    for place, (label, own) in enumerate(zip(labels, (one[:most] for one in found), strict=True)):
        if len(own):
            examples += [Example(texts[at], (label,)) for at in own.tolist()]
            by_class[label] = (len(own), round(float(given[own, place].min()), 4))
    return Joined(examples, by_class)
