"""Pairs of texts: TMX, two files line by line, two columns of a table; which side is which, and what looks wrong."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pocketlm.data.guess import TEXT_NAMES, named_column
from pocketlm.data.read import Row, read_text
from pocketlm.errors import DataError

SOURCE_NAMES = ("source", "src", "input", "source_text", "input_text", "original")
TARGET_NAMES = ("target", "tgt", "trg", "output", "target_text", "output_text", "translation", "translated")
# A pair is suspicious where one side is so many times longer, beside the other, than is usual in the data.
ODD_RATIO = 4.0
_ODD_LENGTH = 20
_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
# ISO 639-1, but for "id" (Indonesian), which as a name of a column is mostly a number.
_LISTED = (
    "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee "
    "el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia ie ig ii ik io is "
    "it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr "
    "ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg "
    "si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa "
    "wo xh yi yo za zh zu "
)
_CODES = frozenset(_LISTED.split())


def tmx_rows(text: str, where: object) -> list[Row]:
    """One row a translation unit, {language: text}, the header's source language first. Raises DataError."""
    try:
        root = xml.fromstring(text)  # noqa: S314  (expat refuses expanding entities, and none is fetched)
    except xml.ParseError as error:
        raise DataError(f"{where}: is not TMX ({error})") from None
    header = root.find("header")
    first = "" if header is None else header.get("srclang", "")
    rows = []
    for unit in root.iter("tu"):
        row = {_language(one): _segment(one) for one in unit.findall("tuv")}
        rows.append(dict(sorted(row.items(), key=lambda item: item[0].lower() != first.lower())))
    return rows


def _language(variant: xml.Element) -> str:
    return variant.get("{http://www.w3.org/XML/1998/namespace}lang") or variant.get("lang") or ""


def _segment(variant: xml.Element) -> str:
    """The text of a variant, without the codes of its formatting."""
    segment = variant.find("seg")
    if segment is None:
        return ""
    inner = ("".join(one.itertext()) if one.tag in ("hi", "sub") else "" for one in segment)
    parts = [segment.text or "", *(part + (one.tail or "") for part, one in zip(inner, segment, strict=True))]
    return "".join(parts).strip()


def aligned_rows(files: Sequence[Path]) -> list[Row]:
    """Two text files line by line; columns are called as the files' endings or names say. Raises DataError."""
    if len(files) != 2:
        raise DataError(f"{', '.join(map(str, files))}: a pair of texts is in two files, not {len(files)}")
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file")
    sides = [read_text(file).replace("\r\n", "\n").removesuffix("\n").split("\n") for file in files]
    if len(sides[0]) != len(sides[1]):
        counts = " and ".join(f"{file} has {len(side):,} lines" for file, side in zip(files, sides, strict=True))
        raise DataError(f"{counts}; line by line they must be translations of each other")
    names = [file.suffix.removeprefix(".") for file in files]
    if names[0] == names[1] or not all(map(_is_language, names)):
        names = [file.stem for file in files]
    if names[0] == names[1] or not all(map(_is_language, names)):
        names = ["source", "target"]
    return [dict(zip(names, pair, strict=True)) for pair in zip(*sides, strict=True)]


def two_files(spec: str) -> list[Path] | None:
    """The files of "train.en,train.sw"; None where the name is of something else."""
    parts = [Path(part.strip()).expanduser() for part in spec.split(",")]
    return parts if len(parts) == 2 and not Path(spec).exists() and any(part.is_file() for part in parts) else None


def pair_of_files(folder: Path, name: str, endings: Sequence[str]) -> list[Path] | None:
    """The two files of a folder called `name` with a language's ending each, in the order of the alphabet."""
    found = sorted(
        file for file in folder.glob(f"{name}.*") if file.suffix not in endings and _is_language(file.suffix[1:])
    )
    return found if len(found) == 2 else None


def flattened(rows: list[Row]) -> list[Row]:
    """Rows whose column "translation" holds {language: text}, as hubs keep them, with a column a language."""
    if not rows or not isinstance(rows[0].get("translation"), dict):
        return rows
    return [{**{k: v for k, v in row.items() if k != "translation"}, **row["translation"]} for row in rows]


def _is_language(name: str) -> bool:
    """Whether it looks like a language's code: "en", "swa", "pt-BR", "eng_Latn"."""
    return bool(_CODE.fullmatch(name)) and name.lower() not in ("txt", "id", "tag", "pos", "url")


def find_sides(rows: Sequence[Row], source: str | None, target: str | None, sure: bool) -> tuple[str, str] | None:
    """The columns of source and target: those named, or two called so, or two called as languages are.

    sure: the rows are pairs, whatever columns are called; then the first two columns of text will do. None where they
    do not look like pairs. Raises DataError for a name that is no column, and where `sure` and there are no two.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    source, target = (named_column(name, names) if name else None for name in (source, target))
    texts = [name for name in names if isinstance(rows[0].get(name), str) and name not in (source, target)]
    if not (source or target or sure) and any(name.lower() in TEXT_NAMES for name in texts):
        return None
    for one, wanted in ((source, SOURCE_NAMES), (target, TARGET_NAMES)):
        called = next((name for name in texts if name.lower() in wanted), None)
        if one is None and called is not None:
            source, target = (called, target) if wanted is SOURCE_NAMES else (source, called)
    if source and target and source != target:
        asked = sure or (source not in texts and target not in texts)
        return (source, target) if asked or _differ(rows, target) else None
    spoken = [name for name in texts if _is_language(name) and (sure or _differ(rows, name))]
    known = [name for name in spoken if name.lower() in _CODES or not name.isalpha()]
    free = spoken if len(spoken) + bool(source or target) == 2 and (known or sure) else texts if sure else []
    free = [name for name in free if name not in (source, target)]
    if len(free) + bool(source) + bool(target) < 2:
        if sure or source or target:
            raise DataError(f"no two columns of text among {', '.join(names)}; name them with --source and --target")
        return None
    return source or free.pop(0), target or free.pop(0)


def _differ(rows: Sequence[Row], name: str) -> bool:
    """Whether most cells of a column differ, and few are numbers: labels do not."""
    cells = [str(row.get(name)) for row in rows[:500]]
    return len(set(cells)) > len(cells) / 2 and sum(cell.strip().isdecimal() for cell in cells) < len(cells) / 2


def odd_pairs(rows: Sequence[Row], sides: Sequence[Callable[[Row], str]], where: str) -> list[str]:
    """Notes on pairs that may be none: of very unlike length, or the same text twice."""
    texts = [[side(row) for row in rows] for side in sides]
    lengths = np.array([[len(text) for text in side] for side in texts], float)
    ratios = np.log(np.maximum(lengths[0], 1) / np.maximum(lengths[1], 1))
    odd = (np.abs(ratios - np.median(ratios)) > np.log(ODD_RATIO)) & (lengths.max(0) >= _ODD_LENGTH)
    copied = np.array([a == b for a, b in zip(*texts, strict=True)]) & (lengths[0] >= _ODD_LENGTH)
    usual = f"{ODD_RATIO:g} times further apart in length than is usual"
    return [*_note(odd, usual, where), *_note(copied, "with one text on both sides", where)]


def _note(found: Any, what: str, where: str) -> list[str]:
    places = (np.flatnonzero(found) + 1).tolist()
    if not places:
        return []
    rows = ", ".join(map(str, places[:5])) + (", …" if len(places) > 5 else "")
    return [f"{where}: {len(places)} pair{'s' * (len(places) > 1)} {what}, such as row {rows}; are they translations?"]
