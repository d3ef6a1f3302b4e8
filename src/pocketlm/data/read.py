"""Rows of a file: CSV, TSV, JSON Lines, JSON or Parquet, with errors that name the line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pocketlm.errors import DataError, MissingExtraError
from pocketlm.tables import did_you_mean

Row = dict[str, Any]

# No text that a small model should read is longer; what is, is mostly a broken quote.
LARGEST_ROW = 1_000_000


def read_rows(path: Path) -> list[Row]:
    """The rows of `path`, each a dict from column to value; text is kept exactly as it is.

    Raises DataError for a missing or empty file, an unknown ending, bad UTF-8 (with the byte offset), a row
    of more than LARGEST_ROW bytes, and a row that does not fit the header.
    """
    if not path.exists():
        near = did_you_mean(path.name, [one.name for one in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"{path}: no such file.{near}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown ending {path.suffix!r}; PocketLM reads {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    rows = reader(path)
    if not rows:
        raise DataError(f"{path}: has no rows")
    return rows


def read_text(path: Path) -> str:
    """The file's text; a byte order mark at its start is dropped. Raises DataError with the offset of bad UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(line) > LARGEST_ROW:
            raise DataError(f"{path}: line {number} has {len(line):,} bytes; a row has at most {LARGEST_ROW:,}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, offset) + 1
        raise DataError(
            f"{path}: byte {offset} (line {line}) is not UTF-8 ({data[offset]:#04x}); save the file as UTF-8"
        ) from None


def _csv(path: Path) -> list[Row]:
    return _table(path, csv.reader(io.StringIO(read_text(path), newline=""), strict=True))


def _tsv(path: Path) -> list[Row]:
    """Quoted where quoting is consistent, else plain: many data sets' quotes are just characters."""
    text = read_text(path)
    if _quotes_are_quoting(text):
        return _table(path, csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    return _table(path, csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))


def _quotes_are_quoting(text: str) -> bool:
    """Whether every cell that begins with a quote also ends with one, with the columns of the header."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    except csv.Error:
        return False
    return len({len(row) for row in rows if row}) <= 1


def _table(path: Path, lines: Any) -> list[Row]:
    csv.field_size_limit(LARGEST_ROW)
    rows: list[Row] = []
    try:
        header = next(lines, None)
        if header is None or not any(cell.strip() for cell in header):
            raise DataError(f"{path}: has no header line")
        names = [name.strip() for name in header]
        if len(set(names)) < len(names):
            raise DataError(f"{path}: the header names a column twice: {', '.join(names)}")
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(names):
                raise DataError(
                    f"{path}: line {lines.line_num} has {len(cells)} cells, the header has {len(names)} ({', '.join(names)})"
                )
            if sum(map(len, cells)) > LARGEST_ROW:
                raise DataError(f"{path}: the row ending at line {lines.line_num} is larger than {LARGEST_ROW:,} characters")
            rows.append(dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}: line {lines.line_num}: {error}; is a quote missing?") from None
    return rows


def _json_lines(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}: line {number} is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}: line {number} is not an object such as {{\"text\": …, \"label\": …}}")
        rows.append(row)
    return rows


def _json(path: Path) -> list[Row]:
    try:
        value = json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); one object a line goes into a .jsonl file") from None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(f"{path}: is not a list of objects such as {{\"text\": …, \"label\": …}}")
    return value


def _parquet(path: Path) -> list[Row]:
    try:
        import pyarrow.parquet
        from pyarrow import ArrowException
    except ImportError:
        raise MissingExtraError("a Parquet file", "build") from None
    try:
        rows: list[Row] = pyarrow.parquet.read_table(path).to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is not a Parquet file ({error})") from None
    return rows


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
}
ENDINGS = tuple(_READERS)


def iter_texts(path: Path) -> Iterator[str]:
    """Unlabelled texts: the lines of a .txt file, or the "text" column (or the only one) of a table."""
    if path.suffix.lower() == ".txt":
        if not path.exists():
            raise DataError(f"{path}: no such file")
        yield from (line for line in read_text(path).split("\n") if line.strip())
        return
    rows = read_rows(path)
    column = "text" if "text" in rows[0] else next(iter(rows[0]))
    yield from (str(row[column]) for row in rows if row.get(column))
