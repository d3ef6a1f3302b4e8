"""Languages by code: what they are called and which scripts they are written in.

The table languages.tsv holds codes of BCP 47 (two letters where there are two), three-letter codes beside them, names
and scripts by ISO 15924, the usual one first, after the Unicode CLDR and the lists of multilingual models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from pocketlm.errors import DataError
from pocketlm.tables import did_you_mean


@dataclass(frozen=True)
class Language:
    """code: as in "yo". scripts: it is written in, the usual one first. codes: others of it, as in "yor"."""

    code: str
    name: str
    scripts: tuple[str, ...]
    codes: tuple[str, ...] = ()


@cache
def _table() -> dict[str, Language]:
    """Every code and name, in lower case."""
    found: dict[str, Language] = {}
    lines = (resources.files("pocketlm.data") / "languages.tsv").read_text("utf-8").splitlines()[1:]
    for code, others, name, scripts in (line.split("\t") for line in lines):
        language = Language(code, name, tuple(scripts.split("/")), tuple(filter(None, others.split("/"))))
        for key in (code, *language.codes, name.lower()):
            found.setdefault(key, language)
    return found


def find_language(name: str) -> Language:
    """The language of a code such as "yo", "yor", "yor_Latn" or "sr-Cyrl", or of a name; a script in it counts alone.

    Raises DataError, with the nearest, where there is none.
    """
    table = _table()
    parts = name.strip().replace("_", "-").split("-")
    found = table.get(name.strip().lower()) or table.get(parts[0].lower())
    if found is None:
        raise DataError(
            f"language {name!r}: no such code or name; give one such as 'yo', 'yor' or 'Yoruba'."
            f"{did_you_mean(name.strip().lower(), list(table))}"
        )
    script = next((part.title() for part in parts[1:] if len(part) == 4), None)
    script = {"Hans": "Hani", "Hant": "Hani"}.get(script or "", script)
    return found if script is None else replace(found, scripts=(script,))
