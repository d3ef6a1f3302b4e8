"""Which script a character is of, by its Unicode name; digits, signs and marks that all scripts share are of none."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# The first words of characters' names, and the script's code in ISO 15924.
SCRIPTS: dict[str, str] = {
    "ADLAM": "Adlm", "ARABIC": "Arab", "ARMENIAN": "Armn", "BALINESE": "Bali", "BAMUM": "Bamu", "BATAK": "Batk",
    "BENGALI": "Beng", "BOPOMOFO": "Bopo", "BUGINESE": "Bugi", "CANADIAN SYLLABICS": "Cans", "CHAKMA": "Cakm",
    "CHAM": "Cham", "CHEROKEE": "Cher", "CJK": "Hani", "COPTIC": "Copt", "CYRILLIC": "Cyrl", "DEVANAGARI": "Deva",
    "ETHIOPIC": "Ethi", "GEORGIAN": "Geor", "GREEK": "Grek", "GUJARATI": "Gujr", "GURMUKHI": "Guru", "HANGUL": "Hang",
    "HANIFI ROHINGYA": "Rohg", "HEBREW": "Hebr", "HIRAGANA": "Hira", "JAVANESE": "Java", "KANNADA": "Knda",
    "KATAKANA": "Kana", "KAYAH LI": "Kali", "KHMER": "Khmr", "LAO": "Laoo", "LATIN": "Latn", "LEPCHA": "Lepc",
    "LIMBU": "Limb", "LISU": "Lisu", "MALAYALAM": "Mlym", "MEETEI MAYEK": "Mtei", "MONGOLIAN": "Mong", "MRO": "Mroo",
    "MYANMAR": "Mymr", "NEW TAI LUE": "Talu", "NKO": "Nkoo", "NYIAKENG PUACHUE HMONG": "Hmnp", "OL CHIKI": "Olck",
    "ORIYA": "Orya", "OSAGE": "Osge", "OSMANYA": "Osma", "PAHAWH HMONG": "Hmng", "SAURASHTRA": "Saur",
    "SINHALA": "Sinh", "SUNDANESE": "Sund", "SYLOTI NAGRI": "Sylo", "SYRIAC": "Syrc", "TAI LE": "Tale",
    "TAI THAM": "Lana", "TAI VIET": "Tavt", "TAMIL": "Taml", "TELUGU": "Telu", "THAANA": "Thaa", "THAI": "Thai",
    "TIBETAN": "Tibt", "TIFINAGH": "Tfng", "VAI": "Vaii", "WANCHO": "Wcho", "WARANG CITI": "Wara", "YI": "Yiii",
}  # fmt: skip
_WORDS = 3


@lru_cache(maxsize=1 << 16)
def script_of(char: str) -> str:
    """The script's code, such as "Latn" or "Ethi"; "" for what all scripts share, and for unknown characters."""
    if unicodedata.category(char)[0] not in "LMN":
        return ""
    words = unicodedata.name(char, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split(" ")
    for count in range(_WORDS, 0, -1):
        found = SCRIPTS.get(" ".join(words[:count]))
        if found is not None:
            return found
    return ""
