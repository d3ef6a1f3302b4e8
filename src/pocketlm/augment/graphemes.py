"""What readers see as one character, the script it is of, and the keys beside its own."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache

from pocketlm.runtime.question import glued

# Rows of the usual keyboards; a key's neighbours are those beside, above and below it.
KEYBOARDS = {
    "LATIN": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "CYRILLIC": ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
    "GREEK": ("ςερτυθιοπ", "ασδφγηξκλ", "ζχψωβνμ"),
    "ARABIC": ("ضصثقفغعهخحجد", "شسيبلاتنمكط", "ئءؤرىةوزظ"),
    "HEBREW": ("קראטוןםפ", "שדגכעיחלךף", "זסבהנמצתץ"),
}
# Canonical combining class of viramas: the consonant after one is joined to the one before.
_VIRAMA = 9


def graphemes(text: str) -> list[str]:
    """The text cut into grapheme clusters; joined, they are the text.

    Unicode Standard Annex 29 without its rarer rules; consonants that a virama joins stay together, as readers of
    Indic scripts see them.
    """
    found: list[str] = []
    for place, char in enumerate(text):
        if found and (glued(text, place) or _conjunct(found[-1], char)):
            found[-1] += char
        else:
            found.append(char)
    return found


def _conjunct(before: str, char: str) -> bool:
    joins = before.rstrip("\u200d")[-1:]
    return bool(joins) and unicodedata.combining(joins) == _VIRAMA and unicodedata.category(char) == "Lo"


@lru_cache(maxsize=8192)
def script_of(cluster: str) -> str:
    """The script of a cluster's first letter as Unicode's names call it, such as LATIN; nothing for other signs."""
    if not cluster or unicodedata.category(cluster[0])[0] != "L":
        return ""
    script = unicodedata.name(cluster[0], "").replace("-", " ").split(" ")[0]
    return "" if script == "MODIFIER" else script


def main_script(text: str) -> str:
    """The script of most of the text's letters; nothing where it has none."""
    counts = Counter(script for char in text if (script := script_of(char)))
    return counts.most_common(1)[0][0] if counts else ""


@lru_cache(maxsize=1024)
def beside(letter: str) -> tuple[str, ...]:
    """Letters on the keys beside a small letter's, of its own script; none where its keyboard is not known."""
    rows = KEYBOARDS.get(script_of(letter), ())
    for number, row in enumerate(rows):
        if letter in row:
            at = row.index(letter)
            near = [row[one] for one in (at - 1, at + 1) if 0 <= one < len(row)]
            for other in rows[max(0, number - 1) : number] + rows[number + 1 : number + 2]:
                near += other[at : at + 1]
            return tuple(near)
    return ()
