"""Turn rows into examples, and refuse rows that lack what is read."""

from __future__ import annotations

from collections.abc import Sequence

from pocketlm.data.cells import missing, unlabelled
from pocketlm.data.columns import Columns
from pocketlm.data.questions import row_answers
from pocketlm.data.read import Row
from pocketlm.data.tagged import parts, row_tags, tags_of_spans
from pocketlm.errors import DataError
from pocketlm.outputs import Example
from pocketlm.runtime.words import words
from pocketlm.tables import did_you_mean


def examples(rows: Sequence[Row], columns: Columns, where: str) -> list[Example]:
    """The rows as examples. where: the file or split, for messages.

    Raises DataError for a missing text, label (NaN, null or empty) or tag, with the numbers of the first rows.
    """
    refuse_absent(where, rows, columns.read)
    what = "without text" if columns.label else "without words; leave empty sentences out"
    if columns.context:
        what = "without a question"
        bare = [place for place, row in enumerate(rows) if missing(row.get(columns.context))]
        refuse(where, "with an empty context", bare)
    if columns.target:
        what = f"without a source in column {columns.text[0]!r}"
        bare = [place for place, row in enumerate(rows) if not columns.target_of(row)]
        refuse(where, f"without a target in column {columns.target!r}", bare)
    refuse(where, what, [place for place, row in enumerate(rows) if not columns.text_of(row)])
    if columns.label:
        empty = [place for place, row in enumerate(rows) if unlabelled(row.get(columns.label), columns.multi_label)]
        refuse(where, f"without a label in column {columns.label!r} (empty, null or NaN)", empty)
    return [example_of(row, columns, f"{where}, row {place + 1}") for place, row in enumerate(rows)]


def refuse(where: str, what: str, places: Sequence[int]) -> None:
    """Raise DataError where there are such rows, with the numbers of the first ones."""
    if places:
        first = ", ".join(str(place + 1) for place in places[:5])
        more = ", …" if len(places) > 5 else ""
        raise DataError(f"{where}: {len(places)} row{'s' * (len(places) > 1)} {what}: row {first}{more}")


def refuse_absent(where: str, rows: Sequence[Row], columns: Sequence[str | None]) -> None:
    """Raise DataError where a column that is needed is in none of the rows."""
    there = {name: None for row in rows for name in row}
    for name in columns:
        if rows and name is not None and name not in there:
            raise DataError(
                f"{where}: has no column {name!r}; it has {', '.join(there)}.{did_you_mean(name, list(there))}"
            )


def example_of(row: Row, columns: Columns, where: str) -> Example:
    """The row as an example. where: for messages. Raises DataError where tags or answers do not fit the text."""
    text, labels = columns.text_of(row), _labels(row, columns)
    if columns.context and columns.answer:
        answers, _ = row_answers(row, columns.context, columns.answer, columns.start, where)
        return Example(text, pair=str(row[columns.context]), answers=answers)
    if columns.target:
        return Example(text, target=columns.target_of(row))
    if not columns.tags:
        return Example(text, labels)
    cell = row.get(columns.tags)
    if columns.tokens is None:
        return Example(text, labels, tuple(words(text)), tuple(tags_of_spans(columns.raw_text(row), cell, where)))
    tokens = parts(row.get(columns.tokens))
    if columns.label is None:
        tags = row_tags(cell, len(tokens), columns.tags, columns.scheme, where)
        return Example(text, labels, tuple(tokens), tuple(tags))
    tags = parts(cell)
    if len(tokens) != len(tags):
        raise DataError(f"{where}: {len(tokens)} tokens but {len(tags)} tags")
    for tag in tags:
        if tag != "O" and not (tag[:2] in ("B-", "I-") and len(tag) > 2):
            raise DataError(f"{where}: {tag!r} is not a BIO tag; tags are O, B-slot and I-slot")
    return Example(text, labels, tuple(tokens), tuple(tags))


def _labels(row: Row, columns: Columns) -> tuple[str, ...]:
    """The labels of a row, none where words alone are tagged."""
    if columns.label is None:
        return ()
    cell = row.get(columns.label)
    if not columns.multi_label:
        return (str(cell).strip(),)
    if isinstance(cell, list):
        return tuple(str(label).strip() for label in cell)
    cut = str(cell).split(columns.separator) if columns.separator else [str(cell)]
    return tuple(part.strip() for part in cut if part.strip())
