"""Which pieces a source text lets its translation have: fewer rows of the head to multiply by at every step.

Lexical shortlists as in Junczys-Dowmunt et al. 2018 (arXiv:1805.12096, section 4): the likeliest target pieces of
each source piece, the source's own pieces (names are copied), and pieces that are frequent anywhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

MEMBER = "shortlist.npz"


@dataclass(frozen=True)
class Shortlist:
    """always: pieces of every text, sorted. counts: (pieces,) how many each source piece adds; lists: all of them."""

    always: Ints
    counts: Ints
    lists: Ints

    @cached_property
    def _ends(self) -> Ints:
        return np.cumsum(self.counts)

    def allowed(self, source: Sequence[int] | Ints) -> Ints:
        """The pieces that the translation of these source pieces may have, sorted and each once."""
        own = np.unique(np.asarray(source, np.int64))
        found = [self.lists[self._ends[piece] - self.counts[piece] : self._ends[piece]] for piece in own]
        return np.unique(np.concatenate([self.always, own, *found]))

    def to_bytes(self) -> bytes:
        """The table as a compressed .npz: lists sorted within each piece, as differences of 16 or 32 bits."""
        steps = np.diff(self.lists, prepend=0)
        starts = (self._ends - self.counts)[self.counts > 0]
        steps[starts] = self.lists[starts]
        wide = np.uint16 if len(self.counts) <= 2**16 else np.uint32
        file = io.BytesIO()
        np.savez_compressed(
            file, always=self.always.astype(wide), counts=self.counts.astype(np.uint16), steps=steps.astype(wide)
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Shortlist:
        """What `to_bytes` wrote. Raises ValueError or KeyError for anything else."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            always, counts, steps = (stored[name].astype(np.int64) for name in ("always", "counts", "steps"))
        if counts.sum() != len(steps):
            raise ValueError(f"the shortlist holds {len(steps)} pieces where its counts say {counts.sum()}")
        # running sums that begin anew with each piece
        whole = np.cumsum(steps)
        starts = np.cumsum(counts) - counts
        before = np.where(starts > 0, whole[np.maximum(starts, 1) - 1], 0) if len(whole) else np.zeros_like(starts)
        return cls(always, counts, whole - np.repeat(before, counts))
