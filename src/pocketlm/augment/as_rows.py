"""New examples as rows of a file, in the columns that the rows they come from have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pocketlm.augment.apply import NewRow
from pocketlm.data.columns import Columns
from pocketlm.data.pairs import PairColumns
from pocketlm.data.read import Row
from pocketlm.data.source import ORIGIN
from pocketlm.outputs import Example
from pocketlm.runtime.tags import tag_spans


def augmented_rows(rows: Sequence[Row], new: Sequence[NewRow], columns: Columns | PairColumns) -> list[Row]:
    """The rows and after them the new ones; ORIGIN says by which method, from which row (from 1), and how."""
    made = [
        {
            **row_of(one.example, rows[one.source], columns),
            ORIGIN: f"{one.method} of row {one.source + 1}: {one.note}",
        }
        for one in new
    ]
    return [*({**row, ORIGIN: ""} for row in rows), *made]


def row_of(example: Example, row: Row, columns: Columns | PairColumns) -> Row:
    """The example in the columns of the row it comes from; what is no text, word or tag stays as it is there."""
    if isinstance(columns, PairColumns):
        return {**row, columns.text: example.text}
    # where a text is made of several columns, all of it goes into the first
    new = {**row, **dict.fromkeys(columns.text, ""), **dict.fromkeys(columns.text[:1], example.text)}
    if columns.tags and columns.tokens:
        new[columns.tokens] = _cell(example.tokens, row.get(columns.tokens))
        new[columns.tags] = _cell(example.tags, row.get(columns.tags))
    elif columns.tags:
        new[columns.tags] = _spans(example)
    return new


def _cell(items: Sequence[str], like: Any) -> Any:
    return " ".join(items) if isinstance(like, str) else list(items)


def _spans(example: Example) -> list[dict[str, Any]]:
    """Spans of words as spans of the text's characters."""
    places, at = [], 0
    for token in example.tokens:
        start = example.text.index(token, at)
        at = start + len(token)
        places.append((start, at))
    return [
        {"start": places[first][0], "end": places[last][1], "label": kind}
        for kind, first, last in tag_spans(example.tags)
    ]
