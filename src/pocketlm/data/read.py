"""Rows of a file: CSV, TSV, JSON Lines, JSON (SQuAD's too), Parquet, TMX or CoNLL, with errors that name the line."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pocketlm.data.conll import conll_rows
from pocketlm.data.qamr import is_qamr, qamr_rows
from pocketlm.data.squad import is_squad, squad_rows
from pocketlm.errors import DataError, MissingExtraError
from pocketlm.tables import did_you_mean

Row = dict[str, Any]

# No text that a small model should read is longer; what is, is mostly a broken quote.
LARGEST_ROW = 1_000_000
_QUOTED_CELL = re.compile(r'"(?:[^"]|"")*"')


def read_rows(path: Path) -> list[Row]:
    """The rows of `path`, each a dict from column to value; text is kept exactly as it is.

    Raises DataError for a missing or empty file, an unknown ending, bad UTF-8 (with the byte offset), a row
    of more than LARGEST_ROW bytes, and a row that does not fit the header.
    """
    if not path.exists():
        near = did_you_mean(path.name, [one.name for one in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"{path}: no such file.{near}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file ending in {', '.join(_READERS)}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown ending {path.suffix!r}; PocketLM reads {', '.join(_READERS)}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    rows = reader(path)
    if not rows:
        raise DataError(f"{path}: has no rows")
    return rows


def read_text(path: Path, *, longest_line: int | None = LARGEST_ROW) -> str:
    """The file's text; a byte order mark at its start is dropped.

    longest_line: in bytes; None where a line is not a row. Raises DataError for a longer one, and with the
    offset of bad UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(data.split(b"\n"), 1):
        if longest_line is not None and len(line) > longest_line:
            raise DataError(f"{path}: line {number} has {len(line):,} bytes; a row has at most {longest_line:,}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        number = data.count(b"\n", 0, offset) + 1
        raise DataError(
            f"{path}: byte {offset} (line {number}) is not UTF-8 ({data[offset]:#04x}); save the file as UTF-8"
        ) from None


def _csv(path: Path) -> list[Row]:
    return _table(path, csv.reader(io.StringIO(read_text(path), newline=""), strict=True))


def _tsv(path: Path) -> list[Row]:
    """Quoted where quoting is consistent, else plain: many data sets' quotes are just characters."""
    text = read_text(path)
    if (sentences := is_qamr(path, text)) is not None:
        return qamr_rows(text, read_text(sentences), path)
    if _quotes_are_quoting(text):
        return _table(path, csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    return _table(path, csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))


def _quotes_are_quoting(text: str) -> bool:
    """Whether quotes around a cell belong to the file rather than to its text.

    A header whose cells are all quoted says so. Where the lines, cut at tabs alone, all have the header's cells, no
    quote is needed to read them: then each cell with a quote in it must be quoted as a writer would have done it.
    Where they do not, quoted tabs and line breaks must explain it in every row.
    """
    if '"' not in text:
        return False
    lines = [line.split("\t") for line in text.replace("\r\n", "\n").split("\n") if line]
    if all(_QUOTED_CELL.fullmatch(cell) for cell in lines[0]):
        return True
    if all(len(cells) == len(lines[0]) for cells in lines):
        return all(_QUOTED_CELL.fullmatch(cell) for cells in lines for cell in cells if '"' in cell)
    csv.field_size_limit(LARGEST_ROW)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    except csv.Error:
        return False
    return len({len(row) for row in rows if row}) == 1


def _table(path: Path, lines: Any) -> list[Row]:
    csv.field_size_limit(LARGEST_ROW)
    rows: list[Row] = []
    try:
        header = next((cells for cells in lines if cells), None)
        if header is None or not any(cell.strip() for cell in header):
            raise DataError(f"{path}: has no header line")
        names = [name.strip() for name in header]
        if len(set(names)) < len(names):
            raise DataError(f"{path}: the header names a column twice: {', '.join(names)}")
        if len(names) == 1 and ";" in names[0]:
            raise DataError(
                f"{path}: the header is one cell, {names[0][:60]!r}; separate cells by commas, or tabs in .tsv"
            )
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(names):
                raise DataError(
                    f"{path}: line {lines.line_num} has {len(cells)} cells, "
                    f"the header has {len(names)} ({', '.join(names)})"
                )
            if sum(map(len, cells)) > LARGEST_ROW:
                raise DataError(
                    f"{path}: the row ending at line {lines.line_num} is larger than {LARGEST_ROW:,} characters"
                )
            rows.append(dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path}: line {lines.line_num}: {error}; is a quote missing?") from None
    return rows


def _json_lines(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        row = _parse_json(line, f"{path}: line {number}")
        if not isinstance(row, dict):
            raise DataError(f'{path}: line {number} is not an object such as {{"text": …, "label": …}}')
        rows.append(row)
    return rows


def _json(path: Path) -> list[Row]:
    value = _parse_json(read_text(path, longest_line=None), str(path))
    if is_squad(value):
        value = squad_rows(value, path)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(
            f'{path}: is not a list of objects such as {{"text": …, "label": …}}; one object a line goes into .jsonl'
        )
    _refuse_large(path, value)
    return value


def _parse_json(text: str, where: str) -> Any:
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} has half of a surrogate pair ({error.object[error.start]!a}), which is no text"
        ) from None
    except (ValueError, RecursionError) as error:
        hint = "; one object a line goes into .jsonl" if str(error).startswith("Extra data") else ""
        raise DataError(f"{where} is not JSON ({error}){hint}") from None
    return value


def _refuse_large(path: Path, rows: list[Row]) -> None:
    """Raise DataError for a row whose texts have more than LARGEST_ROW characters."""
    for number, row in enumerate(rows, 1):
        size = sum(len(value) for value in row.values() if isinstance(value, (str, bytes)))
        if size > LARGEST_ROW:
            raise DataError(f"{path}: row {number} has {size:,} characters; a row has at most {LARGEST_ROW:,}")


def _parquet(path: Path) -> list[Row]:
    try:
        import pyarrow.parquet
        from pyarrow import ArrowException
    except ImportError:
        raise MissingExtraError("a Parquet file", "build") from None
    try:
        table = pyarrow.parquet.read_table(path)
        rows: list[Row] = table.to_pylist()
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is not a Parquet file ({error})") from None
    _refuse_large(path, rows)
    for column, names in _class_names(table.schema.metadata or {}).items():
        for row in rows:
            if isinstance(row[column], list):
                row[column] = [names[one] if one is not None and 0 <= one < len(names) else None for one in row[column]]
    return rows


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """{column: names of the numbers in its lists}, as the `datasets` package writes them beside a table."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        inner = {column: about["feature"] for column, about in features.items() if "feature" in about}
        return {column: list(about["names"]) for column, about in inner.items() if "names" in about}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _conll(path: Path) -> list[Row]:
    return conll_rows(read_text(path), path)


def _tmx(path: Path) -> list[Row]:
    from pocketlm.data.parallel import tmx_rows

    return tmx_rows(read_text(path, longest_line=None), path)


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".tmx": _tmx,
    **dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2", ".txt"), _conll),
}
ENDINGS = tuple(_READERS)
