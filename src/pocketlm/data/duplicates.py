"""Texts that say almost the same: groups found by minhashes of character shingles, proved by their overlap.

Broder 1997, "On the resemblance and containment of documents"; bands as in Leskovec, Rajaraman and Ullman, chapter 3:
two texts of Jaccard similarity s share one of 16 bands of 4 with probability 1 - (1 - s⁴)¹⁶, which is 0.9998 at 0.8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pocketlm.data.splits import normal_text

SHINGLE, BANDS, ROWS = 5, 16, 4
ALIKE = 0.8
# Of texts that share a band, so many are compared with each.
MOST_IN_BAND = 50


def near_duplicates(texts: Sequence[str], alike: float = ALIKE) -> list[list[int]]:
    """Groups of places of texts whose shingles overlap by `alike` or more, largest first; every text is in one at most.

    Case, spaces and the form of accents do not count. Texts of one group hang together by way of others.
    """
    shingles = [_shingles(normal_text(text)) for text in texts]
    parent = list(range(len(texts)))
    for places in _bands(shingles).values():
        for at, one in enumerate(places):
            for other in places[at + 1 : at + 1 + MOST_IN_BAND]:
                first, second = _root(parent, one), _root(parent, other)
                if first != second and overlap(shingles[one], shingles[other]) >= alike:
                    parent[max(first, second)] = min(first, second)
    groups: dict[int, list[int]] = defaultdict(list)
    for place in range(len(texts)):
        groups[_root(parent, place)].append(place)
    return sorted((one for one in groups.values() if len(one) > 1), key=lambda one: (-len(one), one))


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = place = parent[parent[place]]
    return place


def _shingles(text: str) -> np.ndarray:
    """Hashes of the text's different stretches of SHINGLE characters, sorted; of a shorter text one."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    if not len(codes):
        return codes
    codes = np.pad(codes, (0, max(0, SHINGLE - len(codes))))
    hashes = np.zeros(len(codes) - SHINGLE + 1, np.uint64)
    for place in range(SHINGLE):
        hashes = hashes * np.uint64(0x100000001B3) + codes[place : place + len(hashes)]
    return np.unique(hashes)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Jaccard similarity of two sorted sets."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(1, len(one) + len(other) - shared)


def _bands(shingles: Sequence[np.ndarray]) -> dict[tuple[int, bytes], list[int]]:
    """Places of texts by band and what they have there, where several have the same."""
    random = np.random.default_rng(0x5B1)
    factors, shifts = (random.integers(1, 1 << 63, BANDS * ROWS, dtype=np.uint64) for _ in range(2))
    factors |= np.uint64(1)
    found: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, own in enumerate(shingles):
        if not len(own):
            continue
        mixed = (own ^ (own >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        least = ((mixed[:, None] * factors + shifts) >> np.uint64(16)).min(0)
        for band in range(BANDS):
            found[band, least[band * ROWS : (band + 1) * ROWS].tobytes()].append(place)
    return {key: places for key, places in found.items() if len(places) > 1}
