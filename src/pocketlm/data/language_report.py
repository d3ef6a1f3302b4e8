"""What a text is like as training data for a language, and what to fix in it before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer

from pocketlm.data.duplicates import near_duplicates
from pocketlm.data.fertility import Fertility, fertility
from pocketlm.data.foreign import ForeignRow, foreign_rows, scripts_of
from pocketlm.data.identify import Identified, identify, name_of
from pocketlm.data.languages import Language
from pocketlm.data.splits import normal_text
from pocketlm.data.unicode_faults import WITHOUT_SPACES, Faults, find_faults
from pocketlm.errors import DataError

# Rows compared with each other at most: a pair may be missed beyond, and is said to.
MOST_ROWS = 50_000
# When a person should hear of it: pieces a word (a character, without spaces), shares.
MANY_PIECES, MANY_PIECES_A_CHARACTER, UNKNOWN, FALLBACK, FEW, SOME_MARKS = 3.0, 1.5, 0.005, 0.02, 0.005, 0.1
_SHOWN = 60


@dataclass(frozen=True)
class LanguageReport:
    """Counts and findings. scripts: letters by script. mixed_words: of scripts that look alike.

    exact: repeated rows beyond the first; near: groups of places of rows that are almost the same. compared: rows that
    near and foreign looked at. texts: for examples. identified: the languages found, or None where nothing could tell.
    """

    texts: Sequence[str]
    words: int
    bytes: int
    scripts: Counter[str]
    mixed_words: int
    faults: Faults
    exact: int
    near: list[list[int]]
    foreign: list[ForeignRow]
    compared: int
    language: Language | None = None
    fertility: Fertility | None = None
    identified: Identified | None = None

    @property
    def characters(self) -> int:
        """Of all rows."""
        return sum(map(len, self.texts))

    @property
    def spaced(self) -> bool:
        """Whether most letters are of scripts that put spaces between words."""
        return sum(self.scripts[one] for one in WITHOUT_SPACES) <= self.scripts.total() / 2

    def to_json(self) -> dict[str, Any]:
        """Plain data: figures, examples by row (counted from 1), and advice."""
        faults, letters = self.faults, max(1, self.faults.letters)
        about = {} if self.language is None else {"language": {"code": self.language.code, "name": self.language.name}}
        return {
            **about, "identified": None if self.identified is None else self.identified.to_json(),
            "rows": len(self.texts), "words": self.words, "characters": self.characters, "bytes": self.bytes,
            "scripts": {name: round(count / self.scripts.total(), 5) for name, count in self.scripts.most_common()},
            "mixed_words": self.mixed_words,
            "tokenizer": None if self.fertility is None else self.fertility.to_json(),
            "normalization": {
                "composed_rows": faults.composed, "decomposed_rows": faults.decomposed,
                "compatible_rows": faults.compatible,
            },
            "marks": {
                "letters": faults.letters, "marked": round(faults.marked / letters, 5),
                "toned": round(faults.toned / letters, 5), "bare_rows": len(faults.bare),
            },
            "invisible": dict(faults.invisible.most_common()), "legitimate": dict(faults.legitimate.most_common()),
            "wrongly_decoded": self._examples(faults.mojibake),
            "duplicates": {
                "exact": self.exact, "groups": len(self.near), "rows": sum(len(one) - 1 for one in self.near),
                "examples": [self._examples(one[:2]) for one in self.near[:5]],
            },
            "foreign": [
                {
                    "row": one.place + 1, "why": one.why, "score": round(one.score, 3), "language": one.language,
                    "text": self._text(one.place),
                }
                for one in self.foreign[:50]
            ],
            "foreign_rows": len(self.foreign), "compared_rows": self.compared, "advice": advice(self),
        }  # fmt: skip

    def _text(self, place: int) -> str:
        return self.texts[place][:_SHOWN]

    def _examples(self, places: Sequence[int]) -> list[dict[str, Any]]:
        return [{"row": place + 1, "text": self._text(place)} for place in places[:5]]


def language_report(
    texts: Sequence[str], tokenizer: Tokenizer | None = None, language: Language | None = None
) -> LanguageReport:  # fmt: skip
    """The report on the texts, a row each. Raises DataError where there is no letter in them."""
    texts = [text for text in texts if text.strip()]
    scripts: Counter[str] = Counter()
    for text in texts:
        scripts.update(scripts_of(text))
    if not scripts:
        raise DataError("the text has no letters: there is nothing to say of its language")
    normal = [normal_text(text) for text in texts]
    first = {text: place for place, text in reversed(list(enumerate(normal)))}
    places = sorted(first.values())[:MOST_ROWS]
    alone = [texts[place] for place in places]
    return LanguageReport(
        texts, sum(len(text.split()) for text in texts), sum(len(text.encode()) for text in texts), scripts,
        sum(mixes_scripts(word) for text in texts for word in text.split()), find_faults(texts),
        len(texts) - len(first),
        [[places[one] for one in group] for group in near_duplicates(alone)],
        [replace(one, place=places[one.place]) for one in foreign_rows(alone, language)], len(alone),
        language, None if tokenizer is None else fertility(texts, tokenizer), identify(alone),
    )  # fmt: skip


def mixes_scripts(word: str) -> bool:
    """Whether letters of scripts that look alike stand in one word."""
    return not word.isascii() and len(set(scripts_of(word)) & {"Latn", "Cyrl", "Grek"}) > 1


def advice(report: LanguageReport) -> list[str]:
    """What to fix before training, a line each, gravest first; empty where nothing is wrong."""
    return [*_about_language(report), *_about_tokenizer(report), *_about_characters(report), *_about_rows(report)]


def _about_language(report: LanguageReport) -> list[str]:
    language, identified, found = report.language, report.identified, []
    share = 1.0 if language is None else sum(report.scripts[one] for one in language.scripts) / report.scripts.total()
    other = identified.against(language) if identified is not None and language is not None else None
    if language is not None and share < 1 - SOME_MARKS:
        found.append(
            f"{1 - share:.0%} of the letters are of no script that {language.name} is written in "
            f"({', '.join(language.scripts)}), most of them {report.scripts.most_common(1)[0][0]}: is this the right "
            "text?"
        )
    elif language is not None and other:
        found.append(f"the text is in {other}, not in {language.name}: is this the right text?")
    mixed = [] if identified is None else identified.mixed(language)
    if identified is not None and mixed:
        parts = ", ".join(f"{name_of(code)} {identified.shares[code]:.0%}" for code in mixed)
        found.append(f"the text is in several languages ({parts}): keep the rows of the one that is meant")
    return found


def _about_tokenizer(report: LanguageReport) -> list[str]:
    cut = report.fertility
    if cut is None:
        return []
    found = []
    if cut.unknown > UNKNOWN or cut.words_with_unknown > UNKNOWN:
        found.append(
            f"the tokenizer does not know something in {cut.words_with_unknown:.1%} of the words: a model with it "
            "cannot read them; transfer the vocabulary, or take a model that covers the language"
        )
    if cut.fallback > FALLBACK:
        found.append(f"{cut.fallback:.1%} of the pieces are single bytes: the tokenizer has not seen this script much")
    many = cut.a_word > MANY_PIECES if report.spaced else cut.a_character > MANY_PIECES_A_CHARACTER
    if many:
        each = f"{cut.a_word:.1f} pieces a word" if report.spaced else f"{cut.a_character:.1f} pieces a character"
        found.append(
            f"{each} are many: the model reads slowly and knows few words; a vocabulary of its own is worth it"
        )
    if cut.used < cut.pieces / 2:
        found.append(
            f"{cut.used:,} of {cut.pieces:,} pieces occur: trim-vocabulary takes the others away at no loss here"
        )
    return found


def _about_characters(report: LanguageReport) -> list[str]:
    faults, rows, found = report.faults, len(report.texts), []
    if faults.decomposed and faults.composed:
        found.append(
            f"{faults.decomposed:,} of {rows:,} rows have accents as separate characters (NFD) and {faults.composed:,} "
            "as one (NFC): the same word is spelled in two ways; normalize to NFC"
        )
    if faults.mojibake:
        found.append(
            f"{len(faults.mojibake):,} rows look like UTF-8 read as another encoding, such as row "
            f"{faults.mojibake[0] + 1}: read the source anew as UTF-8"
        )
    if faults.invisible:
        names = ", ".join(f"{count:,} {name}" for name, count in faults.invisible.most_common(4))
        found.append(f"invisible characters where none is needed: {names}; remove them")
    if report.mixed_words:
        found.append(f"{report.mixed_words:,} words mix letters that look alike from two scripts: spell them in one")
    share = faults.marked / max(1, faults.letters)
    if faults.bare and share >= SOME_MARKS and len(faults.bare) > FEW * rows:
        found.append(
            f"{len(faults.bare):,} of {rows:,} rows have no marks at all, though {share:.0%} of all letters have one: "
            "two ways of writing are mixed; add marks, or train on copies without them, too"
        )
    return found


def _about_rows(report: LanguageReport) -> list[str]:
    found, rows = [], len(report.texts)
    if report.exact:
        found.append(f"{report.exact:,} rows repeat another one: drop them, before splitting at the latest")
    near = sum(len(one) - 1 for one in report.near)
    if near:
        first, second = report.near[0][:2]
        found.append(
            f"{near:,} rows are almost another one, such as rows {first + 1} and {second + 1}: keep one of each"
        )
    if report.foreign:
        found.append(
            f"{len(report.foreign):,} rows look like another language, such as row {report.foreign[0].place + 1}"
            f"{_by_language(report.foreign)}: read them, and drop what does not belong"
        )
    if report.compared < rows - report.exact:
        found.append(f"only the first {report.compared:,} rows were compared with each other")
    return found


def _by_language(foreign: Sequence[ForeignRow]) -> str:
    """How many rows of which languages, as far as these are known."""
    counts = Counter(one.language for one in foreign if one.language)
    listed = ", ".join(f"{count:,} {name_of(code)}" for code, count in counts.most_common(3))
    return f" ({listed})" if listed else ""
