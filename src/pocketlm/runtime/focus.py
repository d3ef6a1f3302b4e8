"""Which part of a context to read, where there is time for a part only: the one that shares most with the question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def likeliest_part(question: Sequence[int], context: Sequence[int], length: int) -> int:
    """Where the part of `length` pieces begins that holds most of the question's pieces.

    A piece counts once, and the less the more often the context has it, as in tf-idf with the context's own parts as
    documents; of equally good parts the middle one. As sentence selection before reading (Min et al. 2018,
    arXiv:1805.08092), with the words alone to go by.
    """
    held = np.asarray(context)
    scores = np.zeros(max(1, len(held) - length + 1))
    for piece in set(question):
        places = np.flatnonzero(held == piece)
        inside = np.zeros(len(scores), bool)
        for place in places.tolist():
            inside[max(0, place - length + 1) : place + 1] = True
        scores += inside / max(1, len(places))
    best = np.flatnonzero(scores >= scores.max() - 1e-9)
    return int(best[len(best) // 2])
