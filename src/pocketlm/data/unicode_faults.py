"""What is wrong with the characters of texts: forms of accents that mix, invisible ones, remains of a wrong decoding.

Some invisible characters belong where they stand: joiners and non-joiners between letters of Indic, Arabic and other
scripts that shape their letters, and in emoji; zero-width spaces where words are written without spaces; direction
marks beside right-to-left text. Those are counted, and are no faults.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pocketlm.scripts import script_of

RIGHT_TO_LEFT = frozenset(("Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm", "Rohg"))
JOINED = frozenset((
    "Arab", "Syrc", "Mong", "Adlm", "Rohg", "Nkoo", "Deva", "Beng", "Guru", "Gujr", "Orya", "Taml", "Telu", "Knda",
    "Mlym", "Sinh", "Mymr", "Khmr", "Tibt", "Bali", "Java", "Sund", "Cakm", "Lana", "Mtei",
))  # fmt: skip
WITHOUT_SPACES = frozenset(("Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Hani", "Hira", "Kana", "Tale", "Talu", "Lana"))
_JOINERS, _DIRECTIONS = "\u200c\u200d", "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_NAMES = {
    "\u00ad": "soft hyphen", "\u200b": "zero-width space", "\u200c": "zero-width non-joiner",
    "\u200d": "zero-width joiner", "\u2060": "word joiner", "\ufeff": "byte order mark", "\u00a0": "no-break space",
    "\ufffd": "replacement character",
}  # fmt: skip
# UTF-8 read as Latin-1 or Windows-1252: a lead byte's letter, then what continuation bytes become.
_MOJIBAKE = re.compile(
    "(?:[ÂÃÄÅÐÑÎÏØÙ][\u0080-\u00bf]|â€[\u0098-\u009d™œ\u009d\u00a6“”˜]|á[»º][\u0080-\u00bf‡£¥©«¯±³µ·¹»½¿])"
)
# Accents that mark tones where letters themselves have others: grave, acute, circumflex, macron, caron, and their kin.
TONES = frozenset("\u0300\u0301\u0302\u0304\u030c\u030b\u030f\u1dc4\u1dc5\u1dc6\u1dc7")


@dataclass(frozen=True)
class Faults:
    """Counts of rows and characters.

    composed, decomposed: rows with characters as NFC and as NFD would not have them. compatible: rows with characters
    that NFKC changes. invisible, legitimate: by name. mojibake: places of rows with remains of a wrong decoding.
    marked, toned: of letters, how many have a mark, and one that marks tones. bare: places of rows of five words
    and more without any mark.
    """

    composed: int = 0
    decomposed: int = 0
    compatible: int = 0
    invisible: Counter[str] = field(default_factory=Counter)
    legitimate: Counter[str] = field(default_factory=Counter)
    mojibake: tuple[int, ...] = ()
    letters: int = 0
    marked: int = 0
    toned: int = 0
    bare: tuple[int, ...] = ()


def find_faults(texts: Sequence[str]) -> Faults:
    """What is so of the texts."""
    invisible: Counter[str] = Counter()
    legitimate: Counter[str] = Counter()
    forms: Counter[str] = Counter()
    letters = marked = toned = 0
    bare, mojibake = [], []
    for place, text in enumerate(texts):
        forms.update(_forms(text))
        for at, char in enumerate(text):
            if (name := _invisible(char)) is not None:
                (legitimate if _belongs(text, at) else invisible)[name] += 1
        own = _marks(text)
        letters, marked, toned = letters + own[0], marked + own[1], toned + own[2]
        if not own[1] and own[0] and len(text.split()) >= 5:
            bare.append(place)
        if _MOJIBAKE.search(text):
            mojibake.append(place)
    return Faults(
        forms["composed"], forms["decomposed"], forms["compatible"], invisible, legitimate, tuple(mojibake),
        letters, marked, toned, tuple(bare),
    )  # fmt: skip


def without_faults(text: str) -> str:
    """The text in NFC, without invisible characters that nothing needs; no-break spaces become spaces."""
    if text.isascii() and text.isprintable():
        return text
    stays = ("\ufffd",)  # something was lost there, which should stay to be seen
    kept = [
        char if char in stays or _invisible(char) is None or _belongs(text, at) else " " if char == "\u00a0" else ""
        for at, char in enumerate(text)
    ]
    return unicodedata.normalize("NFC", "".join(kept))


def _forms(text: str) -> list[str]:
    """Of "composed", "decomposed" and "compatible" those that the text has."""
    if text.isascii():
        return []
    composed = unicodedata.normalize("NFC", text)
    found = ["composed"] if any(unicodedata.decomposition(char)[:1] not in ("", "<") for char in set(text)) else []
    found += ["decomposed"] if composed != text else []
    return found + (["compatible"] if unicodedata.normalize("NFKC", text) != composed else [])


def _marks(text: str) -> tuple[int, int, int]:
    """Letters, letters with a mark and letters with a tone mark; vowel signs of Indic scripts are letters."""
    letters = marked = toned = 0
    has_mark = has_tone = False
    for char in unicodedata.normalize("NFD", text):
        if unicodedata.category(char) == "Mn":
            marked += not has_mark
            toned += char in TONES and not has_tone
            has_mark, has_tone = True, has_tone or char in TONES
        elif char.isalpha():
            letters += 1
            has_mark = has_tone = False
    return letters, marked, toned


def _invisible(char: str) -> str | None:
    """The name of a character that cannot be seen; None for letters, signs, spaces and line ends."""
    if char in _NAMES:
        return _NAMES[char]
    if char.isascii() and (char >= " " or char in "\t\n\r") and char != "\x7f":
        return None
    kind = unicodedata.category(char)
    if kind in ("Cc", "Co", "Cn", "Cs"):
        return {"Cc": "control character", "Co": "private character"}.get(kind, "unassigned character")
    if kind == "Cf" or 0xFE00 <= ord(char) <= 0xFE0F:
        return unicodedata.name(char, f"U+{ord(char):04X}").lower()
    return None


def _belongs(text: str, at: int) -> bool:
    """Whether the invisible character at this place is as its script needs it."""
    char, before, after = text[at], text[max(0, at - 1) : at], text[at + 1 : at + 2]
    around = {script_of(one) for one in (before, after) if one}
    if char in _JOINERS:
        pictures = bool(before) and unicodedata.category(before) in ("So", "Sk", "Mn")
        return bool(around & JOINED) or (char == "\u200d" and pictures)
    if char == "\u200b":
        return bool(around & WITHOUT_SPACES)
    if char in _DIRECTIONS:
        return any(script_of(one) in RIGHT_TO_LEFT for one in text)
    if char == "\ufeff":
        return False
    if 0xFE00 <= ord(char) <= 0xFE0F:
        return bool(before) and unicodedata.category(before) in ("So", "Sm", "Po", "Nd", "Lo")
    return char == "\u00a0" and (before.isdigit() or (bool(after) and unicodedata.category(after)[0] == "P"))
