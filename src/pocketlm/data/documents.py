"""Whole texts to model: a text file is one, rows of a table are one each."""

from __future__ import annotations

from pathlib import Path

from pocketlm.data.read import Row
from pocketlm.data.source import load
from pocketlm.errors import DataError

PLAIN = (".txt", ".md", ".text")


def documents(spec: str, column: str | None = None) -> list[str]:
    """The texts called `spec`: a UTF-8 text file as it is, else the test split's (or all) rows' column, "text".

    Raises DataError where there is none.
    """
    path = Path(spec).expanduser()
    if path.suffix.lower() in PLAIN and not path.is_dir():
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{spec}: cannot be read as UTF-8 text: {error}") from None
        if not text.strip():
            raise DataError(f"{spec}: has no text")
        return [text]
    splits = load(spec).splits
    rows, name = splits.get("test", splits["train"]), column or "text"
    return [_text(row, name, number, spec) for number, row in enumerate(rows, 1)]


def _text(row: Row, name: str, number: int, spec: str) -> str:
    found = row.get(name)
    if not isinstance(found, str) or not found.strip():
        there = ", ".join(row)
        raise DataError(f"{spec}, row {number}: has no text in column {name!r}; there is {there}; name one with --text")
    return found
