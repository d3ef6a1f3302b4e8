"""Texts without labels, of whatever file holds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pocketlm.data.guess import find_text
from pocketlm.data.read import read_rows, read_text
from pocketlm.errors import DataError


def iter_texts(path: Path) -> Iterator[str]:
    """Unlabelled texts: the lines of a .txt file; of a table the column of texts or words, or what looks like texts."""
    if path.suffix.lower() == ".txt":
        if not path.exists():
            raise DataError(f"{path}: no such file")
        yield from (line for line in read_text(path).split("\n") if line.strip())
        return
    rows = read_rows(path)
    column = next((name for name in ("text", "tokens", "form") if name in rows[0]), None)
    columns = find_text(rows, list(rows[0]), None, None) if column is None else (column,)
    cells = (row[name] for row in rows for name in columns if row.get(name))
    yield from (" ".join(map(str, cell)) if isinstance(cell, list) else str(cell) for cell in cells)
