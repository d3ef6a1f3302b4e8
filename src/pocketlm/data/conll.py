"""Sentences of a CoNLL-style file: a word and its columns a line, a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pocketlm.errors import DataError

# Columns of CoNLL-U, https://universaldependencies.org/format.html
CONLL_U = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_DOCUMENT = "-DOCSTART-"
_GLOBAL_COLUMNS = "# global.columns ="
# Numbers of words that stand for several others, and of words that are not in the text.
_NO_WORD = re.compile(r"\d+[-.]\d+")


def conll_rows(text: str, path: Path) -> list[dict[str, Any]]:
    """One row a sentence: {column: its cells, one a word}.

    Columns are called "1", "2", …; in a .conllu file, or after a line "# global.columns = …", by their names.
    Cells are parted by tabs where the first line of words has one, else by spaces. Lines of comments and
    -DOCSTART- are left out; so are, where columns have names, ranges (1-2) and empty nodes (1.1) of CoNLL-U.
    Raises DataError for a line with more or fewer columns than the first one.
    """
    names: tuple[str, ...] = CONLL_U if path.suffix.lower() == ".conllu" else ()
    named = next((line for line in text.split("\n") if line.startswith(_GLOBAL_COLUMNS)), None)
    if named is not None:
        names = tuple(named[len(_GLOBAL_COLUMNS) :].lower().split())
    rows: list[dict[str, Any]] = []
    sentence: list[Sequence[str]] = []
    for cells in [*_lines(text, path, len(names)), None]:
        if cells is not None:
            sentence.append(cells)
        elif sentence:
            columns = names or tuple(map(str, range(1, len(sentence[0]) + 1)))
            kept = [one for one in sentence if not (names and _NO_WORD.fullmatch(one[0]))]
            rows.append({name: [one[place] for one in kept] for place, name in enumerate(columns)})
            sentence = []
    return rows


def _lines(text: str, path: Path, columns: int) -> Iterator[Sequence[str] | None]:
    """The cells of each word, None between sentences. columns: how many there must be, 0 for as many as come first."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    first, shape = next(
        ((number, line) for number, line in enumerate(lines, 1) if line.strip(" \t") and not _aside(line)), (0, "")
    )
    tabs = "\t" in shape
    expected = f"its columns are {columns}" if columns else f"line {first} has {len(_cells(shape, tabs))}"
    columns = columns or len(_cells(shape, tabs))
    begins = True
    for number, line in enumerate(lines, 1):
        cells = _cells(line, tabs)
        if not line.strip(" \t") or line.startswith(_DOCUMENT):
            begins = True
            yield None
        elif begins and _is_comment(cells, columns):
            continue
        elif len(cells) != columns:
            raise DataError(
                f"{path}: line {number} has {len(cells)} columns, {expected}; a CoNLL file has a word and its "
                "tags a line, and a blank line between sentences"
            )
        else:
            begins = False
            yield cells


def _cells(line: str, tabs: bool) -> list[str]:
    return line.split("\t") if tabs else [cell for cell in line.split(" ") if cell]


def _aside(line: str) -> bool:
    """Whether a line may be no word: a comment, or the mark of a document."""
    return line.startswith(("#", _DOCUMENT))


def _is_comment(cells: Sequence[str], columns: int) -> bool:
    """Whether a line at the start of a sentence is a comment; a "#" with as many columns as a word is a word."""
    return cells[0].startswith("#") and (len(cells) != columns or "=" in cells[1:3])
