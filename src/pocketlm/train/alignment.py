"""Which pieces translate which: IBM model 1 on the training pairs, and the shortlist made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.shortlist import Shortlist

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Rows = Sequence[Sequence[int]]

# More pairs teach the table little more.
MOST_PAIRS = 100_000
_CHUNK = 2_000


def lexical_table(sources: Rows, targets: Rows, pieces: int, rounds: int = 5) -> tuple[Ints, Ints, Floats]:
    """(source, target, probability of the target given the source) of the pieces that ever stand in one pair.

    IBM model 1 by expectation maximization (Brown et al. 1993, section 4), each piece once a text. The source `pieces`
    is the empty word, to which targets that stand anywhere belong.
    """
    some = slice(0, MOST_PAIRS)
    rows = [(np.unique([*source, pieces]), np.unique(target)) for source, target in _zip(sources[some], targets[some])]
    known = np.unique(np.concatenate([np.unique(keys) for keys, _ in _links(rows, pieces)] or [np.zeros(0, np.int64)]))
    source, target = known // pieces, known % pieces
    share = np.ones(len(known))
    for _ in range(rounds):
        share /= np.bincount(source, share, pieces + 1)[source]
        counts = np.zeros(len(known))
        for keys, words in _links(rows, pieces):
            places = np.searchsorted(known, keys)
            whole = np.bincount(words, share[places])
            counts += np.bincount(places, share[places] / whole[words], len(known))
        share = counts
    return source, target, share / np.bincount(source, share, pieces + 1)[source]


def _zip(sources: Rows, targets: Rows) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    return zip(sources, targets, strict=True)


def _links(rows: Sequence[tuple[Ints, Ints]], pieces: int) -> Iterator[tuple[Ints, Ints]]:
    """Of a chunk of pairs, every source piece beside every target piece: its key, and the number of the target word."""
    for begin in range(0, len(rows), _CHUNK):
        keys, words, at = [], [], 0
        for source, target in rows[begin : begin + _CHUNK]:
            keys.append((source[:, None] * pieces + target[None]).ravel())
            words.append(np.tile(np.arange(at, at + len(target)), len(source)))
            at += len(target)
        yield np.concatenate(keys), np.concatenate(words)


def make_shortlist(
    sources: Rows, targets: Rows, pieces: int, *, most: int = 40, least: float = 0.005, frequent: int = 200
) -> Shortlist:
    """The shortlist of training pairs: at most `most` targets a source piece, each of a probability of `least`.

    frequent: so many of the commonest target pieces are allowed every text, and those of one letter or byte, which the
    vocabulary has first.
    """
    source, target, share = lexical_table(sources, targets, pieces)
    counts = np.bincount(np.concatenate([np.asarray(row, np.int64) for row in targets]), minlength=pieces)
    always = np.unique(np.concatenate([np.argsort(-counts, kind="stable")[:frequent], np.arange(min(258, pieces))]))
    order = np.lexsort((-share, source))
    source, target, share = source[order], target[order], share[order]
    rank = np.arange(len(source)) - np.searchsorted(source, source)
    kept = (rank < most) & (share >= least) & (source < pieces) & ~np.isin(target, always)
    source, target = source[kept], target[kept]
    order = np.lexsort((target, source))
    return Shortlist(always, np.bincount(source, minlength=pieces), target[order])
