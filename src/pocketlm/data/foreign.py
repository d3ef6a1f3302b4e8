"""Rows that look like another language than the rest: by script, by what they are, and by how surprising they are.

Surprise is the cross-entropy of a row's character trigrams under those of all other rows (its own are taken out),
interpolated with bigrams' and single characters'; rows far above the median, by the median absolute deviation, stand
out. It finds a few strangers among many: of two languages mixed half and half neither is one. What languages rows are
in is told by `identify`, where its package is installed.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pocketlm.data.identify import strangers
from pocketlm.data.languages import Language
from pocketlm.scripts import script_of

# Of a row's letters in the corpus's scripts, and of all letters that a script has to count as the corpus's own.
OWN_SHARE, MAIN_SHARE = 0.5, 0.1
# Robust standard deviations above the median, and what shorter rows cannot show.
FAR, LEAST_LETTERS = 4.5, 20
# Surest first.
WHYS = ("script", "language", "characters")
_WEIGHTS = (0.6, 0.3, 0.09, 0.01)


@dataclass(frozen=True)
class ForeignRow:
    """place: of the row. why: "script", "language" or "characters". language: the code of the one it is in, or "".

    score: the share of strange letters, 1, or bits a character.
    """

    place: int
    why: str
    score: float
    language: str = ""


def scripts_of(text: str) -> Counter[str]:
    """How many letters of each script."""
    return Counter(script for script in map(script_of, text) if script)


def main_scripts(rows: Sequence[Counter[str]]) -> tuple[str, ...]:
    """Scripts with at least a tenth of all letters, most frequent first."""
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row)
    least = MAIN_SHARE * total.total()
    return tuple(script for script, count in total.most_common() if count >= least)


def foreign_rows(texts: Sequence[str], language: Language | None = None) -> list[ForeignRow]:
    """Rows that stand out, worst first. language: of the texts; without, their scripts are those of most letters."""
    counted = [scripts_of(text) for text in texts]
    own = set(main_scripts(counted) if language is None else language.scripts)
    found = []
    for place, counts in enumerate(counted):
        share = sum(counts[script] for script in own) / max(1, counts.total())
        if counts.total() and share < OWN_SHARE:
            found.append(ForeignRow(place, "script", 1 - share))
    strange = {one.place for one in found}
    told = {place: code for place, code in strangers(texts, language).items() if place not in strange}
    found += [ForeignRow(place, "language", 1.0, code) for place, code in told.items()]
    strange |= set(told)
    places = [place for place, text in enumerate(texts) if place not in strange and len(text) >= LEAST_LETTERS]
    scores = surprises([texts[place] for place in places])
    if len(scores) >= 10:
        middle = float(np.median(scores))
        spread = 1.4826 * float(np.median(np.abs(scores - middle)))
        limit = middle + FAR * max(spread, 0.05 * middle)
        found += [
            ForeignRow(place, "characters", float(score))
            for place, score in zip(places, scores, strict=True)
            if score > limit
        ]
    return sorted(found, key=lambda one: (WHYS.index(one.why), -one.score, one.place))


def surprises(texts: Sequence[str]) -> np.ndarray:
    """Bits a character of each text under the trigrams of the others: (texts,)."""
    cut = [_grams(text) for text in texts]
    total: list[Counter[str]] = [Counter() for _ in range(3)]
    for own in cut:
        for size in range(3):
            total[size].update(own[size])
    letters = sum(total[0].values())
    return np.array([_bits(own, total, letters) for own in cut])


def _grams(text: str) -> list[Counter[str]]:
    """Single characters, pairs and triples of a text in small letters, digits as one."""
    plain = "".join("0" if char.isdigit() else char for char in unicodedata.normalize("NFC", text).lower())
    padded = f"  {' '.join(plain.split())} "
    return [Counter(padded[at : at + size] for at in range(3 - size, len(padded) - size + 1)) for size in (1, 2, 3)]


def _bits(own: Sequence[Counter[str]], total: Sequence[Counter[str]], letters: int) -> float:
    singles, pairs, triples = total
    bits = count = 0.0
    rest = max(1, letters - own[0].total())
    for triple, times in own[2].items():
        first, middle, last = triple[:2], triple[1:], triple[2]
        before = pairs[first] - own[1][first]
        inner = singles[triple[1]] - own[0][triple[1]]
        shares = (
            (triples[triple] - own[2][triple]) / before if before > 0 else 0.0,
            (pairs[middle] - own[1][middle]) / inner if inner > 0 else 0.0,
            (singles[last] - own[0][last]) / rest,
            1 / 1000,
        )
        likely = sum(weight * max(0.0, share) for weight, share in zip(_WEIGHTS, shares, strict=True))
        bits -= times * math.log2(likely)
        count += times
    return bits / max(1.0, count)
