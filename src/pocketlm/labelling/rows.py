"""What there is to label, and what is labelled already: texts of any file that PocketLM reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pocketlm.data.columns import detect
from pocketlm.data.duplicates import near_duplicates
from pocketlm.data.examples import examples
from pocketlm.data.guess import find_text, named_column
from pocketlm.data.read import Row, read_rows
from pocketlm.data.texts import iter_texts
from pocketlm.errors import DataError


def unlabelled_texts(path: Path, text: str | None) -> list[str]:
    """The texts of a file, in order, empty ones left out: its lines, or a column. Raises DataError.

    text: the column, or several joined by commas; without it the one that looks like text.
    """
    if path.suffix.lower() == ".txt":
        found = [line.strip() for line in iter_texts(path)]
    else:
        rows = read_rows(path)
        found = [_joined(row, _columns(rows, text)) for row in rows]
    found = [one for one in found if one]
    if not found:
        raise DataError(f"{path}: has no text")
    return found


def _columns(rows: Sequence[Row], text: str | None) -> tuple[str, ...]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if text:
        return tuple(named_column(part.strip(), names) for part in text.split(","))
    return find_text(rows, names, None, None)


def _joined(row: Row, columns: Sequence[str]) -> str:
    return " ".join(str(row[name]) for name in columns if row.get(name) is not None).strip()


def labelled_texts(path: Path, text: str | None, label: str | None) -> list[tuple[str, str]]:
    """(text, label) of the rows of a file with one label a row. Raises DataError."""
    rows = read_rows(path)
    columns = detect(rows, text, label)
    if columns.task != "classification":
        raise DataError(f"{path}: is for {columns.task}; rows with one label each are labelled here")
    return [(one.text, one.labels[0]) for one in examples(rows, columns, str(path))]


def alike(texts: Sequence[str]) -> np.ndarray:
    """The first of the texts that each says almost the same as, itself where there is none: (texts,) places."""
    first = np.arange(len(texts))
    for group in near_duplicates(texts):
        first[group] = min(group)
    return first
