"""Languages by code: what they are called and which scripts they are written in.

The table languages.tsv holds codes of BCP 47 (two letters where there are two), three-letter codes beside them, names
and scripts by ISO 15924, the usual one first, after the Unicode CLDR and the lists of multilingual models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from pocketlm.errors import DataError
from pocketlm.scripts import SCRIPTS
from pocketlm.tables import did_you_mean

# Codes that stand for several scripts, or for a kind of one.
TOGETHER = {
    "Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Hani", "Hira", "Kana"), "Kore": ("Hang", "Hani"),
}  # fmt: skip
# What may follow a code besides: a region, and a variant ("ca-valencia", "sl-1994").
_OTHERWISE = re.compile(r"[A-Za-z]{2}|\d{3}|[A-Za-z0-9]{5,8}|\d[A-Za-z0-9]{3}")


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

    Raises DataError, with the nearest, where there is none, or where what follows the code is no script and no region.
    """
    table = _table()
    first, *rest = name.strip().replace("_", "-").split("-")
    whole = table.get(name.strip().lower())
    found = whole or table.get(first.lower())
    if found is None:
        raise DataError(
            f"language {name!r}: no such code or name; give one such as 'yo', 'yor' or 'Yoruba'."
            f"{did_you_mean(name.strip().lower(), list(table))}"
        )
    scripts = () if whole else tuple(script for part in rest for script in _scripts(name, part))
    return replace(found, scripts=scripts) if scripts else found


def _scripts(name: str, part: str) -> tuple[str, ...]:
    """The scripts that a part of a code stands for; of a region, a variant or a language in a language none.

    Raises DataError.
    """
    known = {one for language in _table().values() for one in language.scripts} | set(SCRIPTS.values())
    found = TOGETHER.get(part.title(), (part.title(),) if part.title() in known else ())
    if not found and not _OTHERWISE.fullmatch(part) and part not in _table():
        raise DataError(
            f"language {name!r}: {part!r} is no script of ISO 15924, such as 'Latn', and no region, such as 'NG'."
            f"{did_you_mean(part.title(), sorted(known))}"
        )
    return found
