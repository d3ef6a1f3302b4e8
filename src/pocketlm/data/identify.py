"""Which of 140 languages texts are in, by naive Bayes over byte n-grams of the package py3langid, where that is there.

After Lui and Baldwin 2011, "Cross-domain feature selection for language identification".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from pocketlm.data.languages import Language, find_language
from pocketlm.errors import DataError

# Bytes from which a text says enough of its language, and to which short ones are joined; characters read of a text.
ENOUGH, JOINED, READ = 40, 200, 500
# Passages looked at of all texts, and the fewest that say something of them as a whole.
MOST, FEWEST = 300, 3
# The probability from which a passage, and a row that is held against all others, is sure to be of a language.
SURE, SURER = 0.9, 0.99
# Shares: of what is sure, below this the expected language is not there, and from this another one is; of all passages,
# from this one is that stands for a language which is not among the 140 (those look like one near them, less often).
HARDLY, MOSTLY, WHOLLY = 0.2, 0.5, 0.8
# The share from which a language is a part of texts in several.
PART = 0.1
# What stands for no language at all.
NONE = "zxx"
# Languages that are told apart badly or by their writing alone, and wider and narrower codes of one.
_ALIKE = (
    "ar ary arz apc ars", "bs cnr hr sh sr", "en pcm", "fa prs", "ff fuv", "fil tl", "gcf gcr ht", "gom mr", "he hbo",
    "id ms", "ku kmr ckb sdh", "lv ltg", "nb nn no", "qu quy quz", "uz uzn uzs", "zh yue wuu",
)  # fmt: skip


@dataclass(frozen=True)
class Identified:
    """shares: of the passages that are surely in a language, by its code, most frequent first. passages: looked at."""

    shares: dict[str, float]
    passages: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"shares": {code: round(share, 4) for code, share in self.shares.items()}, "passages": self.passages}

    def share(self, code: str) -> float:
        """Of passages that are surely in this language or one that is hardly told from it."""
        own = alike(code)
        return sum(share for one, share in self.shares.items() if one in own)

    @property
    def main(self) -> str | None:
        """The code of the language that most passages are in, with those that are hardly told from it."""
        return max(self.shares, key=self.share, default=None)

    def mixed(self, expected: Language | None = None) -> list[str]:
        """Codes of languages that are not alike and each have a good part of the passages; fewer than two are none.

        None of texts in a language that is not among the known: they look now like one, now like another.
        """
        found: list[str] = []
        if expected is not None and not _is_known(expected):
            return []
        for code, share in self.shares.items():
            if share >= PART and alike(code).isdisjoint(found):
                found.append(code)
        return found if len(found) > 1 else []

    def against(self, expected: Language) -> str | None:
        """What the texts are in where it is surely not this language; else None."""
        main = self.main
        if main is None or self.passages < FEWEST or main in alike(expected.code):
            return None
        sure = sum(self.shares.values())
        if _is_known(expected):
            other = sure >= HARDLY and self.share(expected.code) < HARDLY * sure and self.share(main) >= MOSTLY * sure
        else:
            other = self.share(main) >= WHOLLY
        return name_of(main) if other else None


def _is_known(language: Language) -> bool:
    """Whether it, or one that is hardly told from it, is among the languages that are told apart."""
    model = _model()
    return model is not None and not model.codes.isdisjoint(alike(language.code))


def alike(code: str) -> frozenset[str]:
    """The code, and those of languages that are hardly told from it."""
    return frozenset(one for group in _ALIKE if code in group.split() for one in group.split()) | {code}


def name_of(code: str) -> str:
    """The language's name, or the code where it has none."""
    try:
        return find_language(code).name
    except DataError:
        return code


def identify(texts: Sequence[str]) -> Identified | None:
    """The languages of texts as a whole, short ones joined with the next; None without py3langid."""
    model = _model()
    if model is None:
        return None
    passages = list(_joined(texts))
    passages = passages[:: -(-len(passages) // MOST) or 1]
    counts: Counter[str] = Counter()
    for passage in passages:
        code, probability = model.classify(passage)
        if probability >= SURE and code != NONE:
            counts[code] += 1
    shares = {code: count / len(passages) for code, count in counts.most_common()}
    return Identified(shares, len(passages))


def other_language(texts: Sequence[str], expected: Language) -> str | None:
    """What the texts as a whole are in where it is surely not this language; else None, as without py3langid."""
    found = identify(texts)
    return None if found is None else found.against(expected)


def strangers(texts: Sequence[str], expected: Language | None = None) -> dict[int, str]:
    """Places of texts that are surely of another language than most, or than `expected`, and its code.

    Empty without py3langid, where no language has most of the texts, and where that is not the one expected: texts in a
    language that is not among the known look now like one, now like another.
    """
    model, told = _model(), identify(texts)
    if model is None or told is None or told.main is None or told.share(told.main) < MOSTLY:
        return {}
    own = alike(told.main if expected is None else expected.code)
    if told.main not in own:
        return {}
    found = {place: model.classify(text[:READ]) for place, text in enumerate(texts) if _enough(text)}
    return {place: code for place, (code, sure) in found.items() if sure >= SURER and code not in {NONE, *own}}


def _enough(text: str) -> bool:
    return len(text.encode()) >= ENOUGH


def _joined(texts: Iterable[str]) -> Iterator[str]:
    passage = ""
    for text in texts:
        passage = f"{passage} {text[:READ]}".strip()
        if len(passage.encode()) >= JOINED:
            yield passage
            passage = ""
    if _enough(passage):
        yield passage


class _Model:
    """codes: of the languages it knows, as `languages` has them."""

    def __init__(self, package: Any) -> None:
        self._identifier = package.LanguageIdentifier.from_model_file(package.MODEL_FILE, norm_probs=True)
        self._codes = {label: _code(label) for label in self._identifier.labels}
        self.codes = frozenset(self._codes.values())

    def classify(self, text: str) -> tuple[str, float]:
        """The likeliest language, and how probable it or one that is hardly told from it is."""
        ranked = [(self._codes[label], float(probability)) for label, probability in self._identifier.rank(text)]
        code = ranked[0][0]
        own = alike(code)
        return code, sum(probability for one, probability in ranked if one in own)


def _code(label: str) -> str:
    try:
        return find_language(label).code
    except DataError:
        return label


@cache
def _model() -> _Model | None:
    try:
        return _Model(import_module("py3langid.langid"))
    except ModuleNotFoundError:
        return None
