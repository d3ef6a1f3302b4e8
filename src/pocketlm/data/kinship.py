"""How alike a text's language and those of other sources are: by their words, their spelling and, if known, typology.

Which languages to learn from is measured, after Lin et al. 2019, arXiv:1905.12688: overlap of vocabularies and
distances of URIEL (lang2vec) rank transfer languages; there they feed a learnt ranking, here each has one vote.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pocketlm.data.languages import Language, find_language
from pocketlm.data.read import ENDINGS
from pocketlm.errors import DataError
from pocketlm.runtime.ngrams import ngram_words

_CODE = re.compile(r"[A-Za-z]{2,3}([-_]([A-Z][a-z]{3}|[A-Z]{2}))?")
# Texts of a source that are looked at.
MOST_TEXTS = 2_000
# Distances of URIEL that are averaged: of families and of grammar.
DISTANCES = ("genetic", "syntactic")


@dataclass(frozen=True)
class Kinship:
    """How near a source is. words: share of the text's words that occur in it. spelling: cosine of character trigrams.

    typology: 1 - the mean of URIEL's distances; None without lang2vec or where a language is not told by its name.
    meaning: mean cosine of each text with its nearest of the source, by a teacher's vectors; None without one.
    """

    source: str
    rows: int
    words: float
    spelling: float
    typology: float | None = None
    meaning: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, rounded."""
        return {name: round(one, 4) if isinstance(one, float) else one for name, one in asdict(self).items()}


def kinship(texts: Sequence[str], source: str, others: Sequence[str], languages: tuple[str, str]) -> Kinship:
    """What texts and those of `source` have in common. languages: what may name those of the two: codes, paths."""
    own, theirs = texts[:MOST_TEXTS], others[:: max(1, len(others) // MOST_TEXTS)][:MOST_TEXTS]
    words = Counter(word for text in own for word in ngram_words(text))
    known = {word for text in theirs for word in ngram_words(text)}
    shared = sum(count for word, count in words.items() if word in known) / max(1, words.total())
    return Kinship(source, len(others), shared, _cosine(_trigrams(own), _trigrams(theirs)), typology(*languages))


def by_kinship(found: Sequence[Kinship]) -> list[Kinship]:
    """Nearest first, by the mean of the ranks that each measure gives; equal values have equal ranks."""
    votes: Counter[str] = Counter()
    for name in ("words", "spelling", "typology", "meaning"):
        values = [getattr(one, name) for one in found]
        if None not in values:
            votes.update({one.source: sum(other > own for other in values) for one, own in zip(found, values)})  # noqa: B905
    return sorted(found, key=lambda one: (votes[one.source], -one.spelling, one.source))


def language_of(name: str) -> Language | None:
    """The language whose code is that of smart-home:LANG, a folder or a file; None where there is none in the name."""
    for part in reversed(name.rpartition(":")[2].split("/")):
        path = Path(part)
        ending = "" if path.suffix in (*ENDINGS, ".txt") else path.suffix.removeprefix(".")
        for one in filter(_CODE.fullmatch, (part, path.stem, ending)):
            try:
                return find_language(one)
            except DataError:
                continue
    return None


def typology(own: str, other: str) -> float | None:
    """1 - the mean of URIEL's DISTANCES between two languages; None where they or lang2vec are not there."""
    try:
        uriel: Any = import_module("lang2vec.lang2vec")
    except ImportError:
        return None
    codes = []
    for language in (language_of(own), language_of(other)):
        known = () if language is None else (language.code, *language.codes)
        codes.append(next((code for code in known if code in uriel.LANGUAGES), None))
    if None in codes:
        return None
    apart = [float(np.max(uriel.distance(kind, codes))) for kind in DISTANCES]
    return 1 - sum(apart) / len(apart)


def _trigrams(texts: Sequence[str]) -> Counter[str]:
    padded = (f" {' '.join(ngram_words(text))} " for text in texts)
    return Counter(one[at : at + 3] for one in padded for at in range(len(one) - 2))


def _cosine(own: Mapping[str, int], other: Mapping[str, int]) -> float:
    shared = sum(count * other[gram] for gram, count in own.items() if gram in other)
    return shared / max(1e-9, math.sqrt(sum(one**2 for one in own.values()) * sum(one**2 for one in other.values())))
