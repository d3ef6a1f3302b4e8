"""Find the columns that hold the text, the labels and the slots, and turn rows into examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pocketlm.data.read import Row
from pocketlm.errors import DataError
from pocketlm.outputs import Example
from pocketlm.runtime.words import words
from pocketlm.tables import did_you_mean

_TEXT_NAMES = (
    *("text", "sentence", "utterance", "tweet", "content", "query", "question"),
    *("review", "message", "headline"),
)
_LABEL_NAMES = ("label", "labels", "category", "intent", "class", "sentiment", "topic", "target", "tag")
_SEPARATORS = ("|", ";", ",")


@dataclass(frozen=True)
class Columns:
    """Which columns are read, and why.

    text: joined by a space where there are several. tokens, slots: set where words are tagged.
    separator: between the labels of a cell, for multi-label data in plain text. chosen: one line for people.
    """

    text: tuple[str, ...]
    label: str
    tokens: str | None = None
    slots: str | None = None
    multi_label: bool = False
    separator: str | None = None
    chosen: str = ""

    @property
    def task(self) -> str:
        """The name of the task these columns are for."""
        return "understanding" if self.slots else "multi-label" if self.multi_label else "classification"

    def text_of(self, row: Row) -> str:
        """The text of a row."""
        if not self.text:
            return " ".join(_parts(row.get(self.tokens or "")))
        return " ".join("" if _is_null(row.get(name)) else str(row[name]) for name in self.text).strip()

    def class_of(self, row: Row) -> str:
        """What splits are stratified by."""
        return str(row.get(self.label))


def detect(
    rows: Sequence[Row],
    text: str | None = None,
    label: str | None = None,
    slots: str | None = None,
    multi_label: bool = False,
) -> Columns:
    """The columns named, or the likeliest ones.

    text: a name, or several with commas between them. multi_label: a cell of text holds several labels.
    Raises DataError for a name that is no column, and where no column can be the text or the label.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    asked = tuple(part.strip() for part in text.split(",")) if text else ()
    for name in (*asked, *filter(None, (label, slots))):
        if name not in names:
            raise DataError(f"there is no column {name!r}; there is {', '.join(names)}.{did_you_mean(name, names)}")
    tokens, slots = _tagging(rows, names, slots, asked, label)
    found_label = label or _find_label(rows, names, asked, slots)
    found_text = asked or _find_text(rows, names, found_label, tokens)
    _refuse_numbers(rows, found_text)
    lists = any(isinstance(row.get(found_label), list) for row in rows)
    separator = _separator(rows, found_label) if multi_label and not lists else None
    columns = Columns(found_text, found_label, tokens, slots, multi_label or lists, separator)
    return replace(columns, chosen=_reasons(columns, text is not None, label is not None))


def _reasons(columns: Columns, text_asked: bool, label_asked: bool) -> str:
    """What was chosen and why, in one line."""
    text = columns.text or (columns.tokens or "",)
    joined = " joined by a space" if len(text) > 1 else ""
    named = not columns.text or text[0].lower() in _TEXT_NAMES
    reasons = [
        f"text from {' + '.join(map(repr, text))}{joined} ({_why(text_asked, named, 'the longest')})",
        f"labels from {columns.label!r} ({_why(label_asked, columns.label.lower() in _LABEL_NAMES, 'fewest values')})",
    ]
    if columns.slots:
        reasons.append(f"tags from {columns.slots!r}")
    if columns.multi_label:
        sign = f", separated by {columns.separator!r}" if columns.separator else ""
        reasons.append(f"several labels a row{sign}")
    return ", ".join(reasons)


def _why(asked: bool, named: bool, otherwise: str) -> str:
    return "as asked" if asked else "by its name" if named else otherwise


def _refuse_numbers(rows: Sequence[Row], text: tuple[str, ...]) -> None:
    """Raise DataError where the text is a different number in every row: an index, not a text."""
    for name in text if len(text) == 1 else ():
        cells = [str(row.get(name)) for row in rows[:5000]]
        if len(cells) > 2 and len(set(cells)) == len(cells) and all(cell.strip().isdecimal() for cell in cells):
            raise DataError(
                f"column {name!r} is a different number in every row, such as {cells[0]}; name the text's with --text"
            )


def _tagging(
    rows: Sequence[Row], names: list[str], slots: str | None, text: tuple[str, ...], label: str | None
) -> tuple[str | None, str | None]:
    """The token and tag columns: lists, or texts of space-separated words, of equal length in every row seen."""
    if text and label and not slots:
        return None, None
    tag_names = [slots] if slots else [name for name in ("slots", "tags", "ner_tags", "seq.out") if name in names]
    for tags in tag_names:
        for tokens in (name for name in ("tokens", "words", "seq.in", *text, *names) if name in names and name != tags):
            pairs = [(_parts(row.get(tokens)), _parts(row.get(tags))) for row in rows[:50]]
            if all(left and len(left) == len(right) for left, right in pairs):
                return tokens, tags
        if slots:
            raise DataError(
                f"column {slots!r} holds tags, but no column holds as many words; put them in a column 'tokens'"
            )
    return None, None


def _parts(value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [str(part) for part in value]
    return str(value).split() if isinstance(value, str) else []


def _find_label(rows: Sequence[Row], names: list[str], text: tuple[str, ...], slots: str | None) -> str:
    free = [name for name in names if name not in text and name != slots]
    order = [name for wanted in _LABEL_NAMES for name in free if name.lower() == wanted]
    if order:
        return order[0]
    sample = rows[:5000]
    counts = {name: len({str(row.get(name)) for row in sample}) for name in free}
    likely = sorted((count, name) for name, count in counts.items() if 1 < count <= max(2, len(sample) // 4))
    if not likely:
        raise DataError(f"no column looks like labels among {', '.join(names)}; name it with --label")
    return likely[0][1]


def _find_text(rows: Sequence[Row], names: list[str], label: str, tokens: str | None) -> tuple[str, ...]:
    free = [name for name in names if name != label]
    for wanted in _TEXT_NAMES:
        for name in free:
            if name.lower() == wanted and isinstance(rows[0].get(name), str):
                return (name,)
    if tokens:
        return ()
    lengths = {
        name: sum(len(str(row.get(name) or "")) for row in rows[:500])
        for name in free
        if isinstance(rows[0].get(name), str) and not str(rows[0][name]).startswith(("http://", "https://"))
    }
    if not lengths:
        raise DataError(f"no column looks like text among {', '.join(names)}; name it with --text")
    return (max(lengths, key=lambda name: lengths[name]),)


def _separator(rows: Sequence[Row], label: str) -> str | None:
    cells = [str(row.get(label) or "") for row in rows[:5000]]
    best = max(_SEPARATORS, key=lambda sign: sum(sign in cell for cell in cells))
    return best if any(best in cell for cell in cells) else None


def examples(rows: Sequence[Row], columns: Columns, where: str) -> list[Example]:
    """The rows as examples. where: the file or split, for messages.

    Raises DataError for a missing text, label (NaN, null or empty) or tag, with the numbers of the first rows.
    """
    _refuse_absent(where, rows, columns)
    _refuse(where, "without text", [place for place, row in enumerate(rows) if not columns.text_of(row)])
    empty = [place for place, row in enumerate(rows) if _unlabelled(row.get(columns.label), columns.multi_label)]
    _refuse(where, f"without a label in column {columns.label!r} (empty, null or NaN)", empty)
    return [_example(row, columns, f"{where}, row {place + 1}") for place, row in enumerate(rows)]


def _refuse(where: str, what: str, places: Sequence[int]) -> None:
    if places:
        first = ", ".join(str(place + 1) for place in places[:5])
        more = ", …" if len(places) > 5 else ""
        raise DataError(f"{where}: {len(places)} row{'s' * (len(places) > 1)} {what}: row {first}{more}")


def _refuse_absent(where: str, rows: Sequence[Row], columns: Columns) -> None:
    """Raise DataError where a column that is needed is in none of the rows."""
    there = {name: None for row in rows for name in row}
    for name in (*columns.text, columns.label, columns.tokens, columns.slots):
        if rows and name is not None and name not in there:
            raise DataError(
                f"{where}: has no column {name!r}; it has {', '.join(there)}.{did_you_mean(name, list(there))}"
            )


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _missing(value: Any) -> bool:
    return _is_null(value) or (isinstance(value, str) and (not value.strip() or value.strip().lower() == "nan"))


def _unlabelled(value: Any, multi_label: bool) -> bool:
    """Whether a cell is no label; where several are allowed, none is allowed too, but not null."""
    if isinstance(value, list):
        return any(_missing(label) for label in value)
    return _missing(value) and not (multi_label and value == "")


def _example(row: Row, columns: Columns, where: str) -> Example:
    text = columns.text_of(row)
    cell = row.get(columns.label)
    if not columns.multi_label:
        labels: tuple[str, ...] = (str(cell).strip(),)
    elif isinstance(cell, list):
        labels = tuple(str(label).strip() for label in cell)
    else:
        parts = str(cell).split(columns.separator) if columns.separator else [str(cell)]
        labels = tuple(part.strip() for part in parts if part.strip())
    if not columns.slots:
        return Example(text, labels)
    tokens = _parts(row.get(columns.tokens)) if columns.tokens else words(text)
    tags = _parts(row.get(columns.slots))
    if len(tokens) != len(tags):
        raise DataError(f"{where}: {len(tokens)} tokens but {len(tags)} tags")
    for tag in tags:
        if tag != "O" and not (tag[:2] in ("B-", "I-") and len(tag) > 2):
            raise DataError(f"{where}: {tag!r} is not a BIO tag; tags are O, B-slot and I-slot")
    return Example(text, labels, tuple(tokens), tuple(tags))


def check_labels(train: Sequence[Example], held: Sequence[Example], where: str) -> None:
    """Raise DataError where held-out examples have a label that training never showed."""
    known = {label for example in train for label in example.labels}
    unseen = sorted({label for example in held for label in example.labels} - known)
    if unseen:
        shown = ", ".join(map(repr, unseen[:5])) + (", …" if len(unseen) > 5 else "")
        raise DataError(f"{where}: has {len(unseen)} label{'s' * (len(unseen) > 1)} that no training row has: {shown}")
