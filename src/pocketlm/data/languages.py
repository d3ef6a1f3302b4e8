"""Languages by code: what they are called and which scripts they are written in.

The table languages.tsv holds codes of BCP 47 (two letters where there are two), three-letter codes beside them, names
and scripts by ISO 15924, the usual one first, after the Unicode CLDR and the lists of multilingual models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import takewhile

from pocketlm.errors import DataError
from pocketlm.scripts import SCRIPTS
from pocketlm.tables import did_you_mean

# Codes that stand for several scripts, or for a way to write one.
TOGETHER = {
    "Hans": ("Hani",), "Hant": ("Hani",), "Hanb": ("Hani", "Bopo"), "Jpan": ("Hani", "Hira", "Kana"),
    "Hrkt": ("Hira", "Kana"), "Kore": ("Hang", "Hani"), "Aran": ("Arab",), "Latf": ("Latn",), "Latg": ("Latn",),
}  # fmt: skip
# What may follow a code besides: a region, and a variant ("ca-valencia", "sl-1994").
_OTHERWISE = re.compile(r"[A-Za-z]{2}|\d{3}|[A-Za-z0-9]{5,8}|\d[A-Za-z0-9]{3}")
# How alike a part and a script are where one is taken to be meant.
NEARLY = 0.65


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
    scripts = () if whole else _scripts(name, rest)
    return replace(found, scripts=scripts) if scripts else found


def _scripts(name: str, parts: Sequence[str]) -> tuple[str, ...]:
    """The scripts that the parts after a code stand for; regions, variants and what follows a single letter have none.

    Raises DataError for what is none of these, and for what is nearly a script.
    """
    known = {one for language in _table().values() for one in language.scripts} | set(SCRIPTS.values())
    together = {**{one: (one,) for one in known}, **TOGETHER}
    found: tuple[str, ...] = ()
    for place, part in enumerate(takewhile(lambda one: len(one) > 1, parts)):
        if part.title() in together:
            found += together[part.title()]
            continue
        near = did_you_mean(part.title(), sorted(together), NEARLY) if len(part) > 2 else ""  # two letters: a region
        inside = place == 0 and re.fullmatch(r"[A-Za-z]{3}", part)
        if near or not (inside or _OTHERWISE.fullmatch(part)):
            raise DataError(
                f"language {name!r}: {part!r} is no script that is known here, such as 'Latn', and no region, such as "
                f"'NG'.{near}"
            )
    return found
