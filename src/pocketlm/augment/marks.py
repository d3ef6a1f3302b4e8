"""Which marks on letters are optional in writing, by script and by language.

A mark is here where ordinary writing leaves it out and the word stays the same one: vowel points of Arabic, Hebrew and
Syriac (The Unicode Standard, chapter 9), gemination in Ethiopic (chapter 19), tone in African languages (Bird 1999,
"Strategies for representing tone in African writing systems", Written Language and Literacy 2), stress and pitch in
Slavic and Baltic ones, length in Latin, tone in Vietnamese. A mark that makes another letter (ç, å, ñ, ě; the dot of
ẹ and ọ; the hook of ơ) is never here; no entry means that no mark of that language is known to be optional.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

GRAVE, ACUTE, CIRCUMFLEX, TILDE, MACRON, BREVE = "\u0300\u0301\u0302\u0303\u0304\u0306"
DIAERESIS, HOOK, CARON, VERTICAL, DOUBLE_GRAVE = "\u0308\u0309\u030c\u030d\u030f"
INVERTED_BREVE, DOT_BELOW = "\u0311\u0323"
ROMAN_VOWELS = "aeiouyAEIOUY"


@dataclass(frozen=True)
class Optional:
    """Combining marks that may be left out. bases: the only letters they may be left off; all where empty."""

    marks: str
    bases: str = ""


def _range(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


# By the script of the letter: whatever the language, but for those in WRITTEN.
BY_SCRIPT: Final = {
    "ARABIC": Optional(_range(0x64B, 0x652) + "\u0670" + _range(0x6D6, 0x6DC)),
    "HEBREW": Optional(_range(0x591, 0x5BD) + "\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"),
    "SYRIAC": Optional(_range(0x730, 0x74A)),
    "ETHIOPIC": Optional(_range(0x135D, 0x135F)),
}
# Languages that write their vowels with those points: Kashmiri, Uyghur, Sorani, Yiddish.
WRITTEN: Final = {"ks": "ARABIC", "ug": "ARABIC", "ckb": "ARABIC", "ku": "ARABIC", "yi": "HEBREW"}

_TONE = Optional(GRAVE + ACUTE + CIRCUMFLEX + CARON + MACRON)
_PITCH = Optional(GRAVE + ACUTE + MACRON + DOUBLE_GRAVE + INVERTED_BREVE, ROMAN_VOWELS + "rR")
BY_LANGUAGE: Final = {
    **dict.fromkeys(("yo", "ig", "ln", "ee", "fon", "bm", "ha", "tw", "nup", "bin", "dyu", "gaa"), (_TONE,)),
    "vi": (Optional(GRAVE + ACUTE + TILDE + HOOK + DOT_BELOW),),
    "ru": (Optional(ACUTE), Optional(DIAERESIS, "еЕ")),
    **dict.fromkeys(("uk", "be", "bg"), (Optional(ACUTE, "аеиоуыэюяієАЕИОУЫЭЮЯІЄ"),)),
    **dict.fromkeys(("hr", "sr", "bs", "sl"), (_PITCH,)),
    "lt": (Optional(GRAVE + ACUTE + TILDE),),
    "la": (Optional(MACRON + BREVE),),
}
# Marks that are part of letters, yet mostly left out where keyboards lack them.
TYPED_WITHOUT: Final = {"yo": Optional(DOT_BELOW + VERTICAL), "ig": Optional(DOT_BELOW + "\u0307")}
_LONGER = {
    "yor": "yo", "ibo": "ig", "lin": "ln", "ewe": "ee", "bam": "bm", "hau": "ha", "twi": "tw", "aka": "tw", "vie": "vi",
    "rus": "ru", "ukr": "uk", "bel": "be", "bul": "bg", "hrv": "hr", "srp": "sr", "bos": "bs", "slv": "sl",
    "lit": "lt", "lat": "la", "kas": "ks", "uig": "ug", "kur": "ku", "yid": "yi", "ak": "tw",
}  # fmt: skip


def short_code(language: str) -> str:
    """A language code as the tables have it: "yor", "yor_Latn" and "yo-NG" are "yo"."""
    code = language.replace("_", "-").split("-")[0].lower()
    return _LONGER.get(code, code)


def optional_marks(language: str, script: str, *, typed: bool = False) -> tuple[Optional, ...]:
    """What may be left off letters of the script in the language; its code may be empty where it is not known.

    typed: also what keyboards lack.
    """
    code = short_code(language)
    found: Iterable[Optional | None] = (
        BY_SCRIPT.get(script) if WRITTEN.get(code) != script else None,
        *(BY_LANGUAGE.get(code, ()) if script in ("LATIN", "CYRILLIC") else ()),
        TYPED_WITHOUT.get(code) if typed and script == "LATIN" else None,
    )
    return tuple(one for one in found if one is not None)
