"""Find the columns that hold the text, the labels and the tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pocketlm.data.cells import is_null
from pocketlm.data.guess import (
    LABEL_NAMES,
    TEXT_NAMES,
    fewest_values,
    find_separator,
    find_text,
    named_column,
    named_label,
    refuse_numbers,
)
from pocketlm.data.parallel import find_sides, odd_pairs
from pocketlm.data.questions import answer_notes, find_question, row_answers, start_column
from pocketlm.data.read import Row
from pocketlm.data.tagged import (
    SLOT_NAMES,
    TOKEN_NAMES,
    find_scheme,
    find_spans,
    find_tagged,
    first_type,
    parts,
    spans_in,
    types_of,
    widened,
)
from pocketlm.errors import DataError
from pocketlm.runtime.tags import Scheme


@dataclass(frozen=True)
class Columns:
    """Which columns are read, and why.

    text: joined by a space where there are several. label: None where words alone are tagged. tokens, tags: set
    where words are tagged; without tokens, the words are those of the text. scheme: of the tags, where there is
    no label; None for plain ones. separator: between the labels of a cell, for multi-label data in plain text.
    context, answer: where the text is a question about a context; start: where answers begin, if a column says so.
    chosen: one line for people. target: the text to write, where one is written.
    """

    text: tuple[str, ...]
    label: str | None
    tokens: str | None = None
    tags: str | None = None
    scheme: Scheme | None = None
    multi_label: bool = False
    separator: str | None = None
    context: str | None = None
    answer: str | None = None
    start: str | None = None
    chosen: str = ""
    target: str | None = None

    @property
    def read(self) -> tuple[str | None, ...]:
        """The columns that must be there; None for those that are not read."""
        return (*self.text, self.label, self.tokens, self.tags, self.context, self.answer, self.target)

    @property
    def task(self) -> str:
        """The name of the task these columns are for."""
        if self.context:
            return "question-answering"
        if self.target:
            return "translation"
        if self.tags:
            return "understanding" if self.label else "tagging" if self.scheme else "word-tagging"
        return "multi-label" if self.multi_label else "classification"

    def text_of(self, row: Row) -> str:
        """The text of a row."""
        if not self.text:
            return " ".join(parts(row.get(self.tokens or "")))
        return self.raw_text(row).strip()

    def texts_of(self, row: Row) -> tuple[str, ...]:
        """What may not stand on two sides of a split: the texts, or the context that questions are about."""
        if self.context:
            return (str(row.get(self.context) or ""),)
        return tuple(side(row) for side in self.sides)

    def raw_text(self, row: Row) -> str:
        """The text of a row with the spaces at its ends."""
        return " ".join("" if is_null(row.get(name)) else str(row[name]) for name in self.text)

    def notes(self, rows: Sequence[Row], where: str) -> list[str]:
        """What is worth knowing of rows that were read: answers that are not where they should be, odd translations."""
        if self.target:
            return odd_pairs(rows, self.sides, where)
        return (
            answer_notes(rows, (self.context, self.answer, self.start), where) if self.context and self.answer else []
        )

    def target_of(self, row: Row) -> str:
        """The text to write."""
        return str(row[self.target]).strip() if self.target and not is_null(row.get(self.target)) else ""

    @property
    def sides(self) -> tuple[Callable[[Row], str], ...]:
        """The text, and the text to write where one is written."""
        return (self.text_of, self.target_of) if self.target else (self.text_of,)

    def class_of(self, row: Row) -> str:
        """What splits are stratified by: the label, the first tag that is not O, whether there is an answer.

        Nothing where a text is written.
        """
        if self.context:
            return str(bool(row_answers(row, self.context, self.answer or "", self.start, "row")[0]))
        if self.target:
            return ""
        return first_type(row.get(self.tags or "")) if self.label is None else str(row.get(self.label))


def detect(
    rows: Sequence[Row],
    text: str | None = None,
    label: str | None = None,
    slots: str | None = None,
    multi_label: bool = False,
    tags: str | None = None,
    context: str | None = None,
    answer: str | None = None,
) -> Columns:
    """The columns named, or the likeliest ones.

    text: a name, or several with commas between them. multi_label: a cell of text holds several labels.
    slots: tags of words beside a label; tags: tags of words alone. context, answer: where the text is a question.
    A number stands for the column at that place.
    Raises DataError for a name that is no column, and where no column can be the text or the label.
    """
    if tags and (slots or label):
        raise DataError("a label goes with slots; tags are of words alone, without a label")
    names = list(dict.fromkeys(name for row in rows for name in row))
    asked = tuple(named_column(part.strip(), names) for part in text.split(",")) if text else ()
    label, slots, tags, context, answer = (
        named_column(name, names) if name else None for name in (label, slots, tags, context, answer)
    )
    if not (label or slots or tags):
        held = find_question(rows, names, asked, context, answer)
        if held is not None:
            return _questions(names, *held)
    tokens, found_tags = _tagged(rows, names, slots or tags, asked, label)
    found_label = _label(rows, names, (asked, label, slots, tags), tokens, found_tags)
    found_text = asked or find_text(rows, names, found_label, tokens)
    # where words alone are tagged they are the text; so are words that were asked for as the text
    if tokens and ((asked == (tokens,) and isinstance(rows[0].get(tokens), list)) or not (asked or found_label)):
        found_text = ()
    refuse_numbers(rows, found_text)
    lists = found_label is not None and any(isinstance(row.get(found_label), list) for row in rows)
    separator = find_separator(rows, found_label) if found_label and multi_label and not lists else None
    scheme = find_scheme(rows, found_tags) if found_tags and not found_label else None
    columns = Columns(found_text, found_label, tokens, found_tags, scheme, multi_label or lists, separator)
    return replace(columns, chosen=_reasons(rows, columns, text is not None, label is not None))


def _questions(names: Sequence[str], question: str, context: str, answer: str) -> Columns:
    start = start_column(names)
    chosen = f"questions from {question!r}, contexts from {context!r}, answers from {answer!r}"
    return Columns((question,), None, context=context, answer=answer, start=start, chosen=chosen)


def pair_columns(rows: Sequence[Row], source: str | None, target: str | None, sure: bool = False) -> Columns | None:
    """The columns of pairs of texts, named or found, as `find_sides` has it; None where rows are no pairs."""
    found = find_sides(rows, source, target, sure)
    if found is None:
        return None
    whys = [_why(asked is not None, True, "") for asked in (source, target)]
    chosen = f"source from {found[0]!r} ({whys[0]}), target from {found[1]!r} ({whys[1]})"
    return Columns((found[0],), None, target=found[1], chosen=chosen)


def _tagged(
    rows: Sequence[Row], names: Sequence[str], tags: str | None, text: tuple[str, ...], label: str | None
) -> tuple[str | None, str | None]:
    """The columns of words and of tags; no words where tags are spans of a text's characters."""
    if text and label and not tags:
        return None, None
    if tags and spans_in(rows, tags):
        return None, tags
    free = [name for name in names if name != label]
    labelled = label is not None or named_label(rows, names, text, plain=True) is not None
    pair = find_tagged(rows, free, tags, text, labelled)
    return pair or (None, None if labelled else find_spans(rows, names))


def _label(
    rows: Sequence[Row],
    names: Sequence[str],
    asked: tuple[tuple[str, ...], str | None, str | None, str | None],
    tokens: str | None,
    found_tags: str | None,
) -> str | None:
    """The column of the labels; None where words alone are tagged.

    asked: text, label, slots and tags. Beside slots any column may be the label, beside other tags one that is
    called so.
    """
    text, label, slots, tags = asked
    if label or tags:
        return label
    if not found_tags:
        return named_label(rows, names, text) or fewest_values(rows, names, text)
    taken = (*text, *filter(None, (tokens, found_tags)))
    named = named_label(rows, names, taken, plain=True)
    if named or not (slots or found_tags in SLOT_NAMES):
        return named
    plain = [name for name in names if not isinstance(rows[0].get(name), list)]
    return fewest_values(rows, plain, taken, refuse=False)


def _reasons(rows: Sequence[Row], columns: Columns, text_asked: bool, label_asked: bool) -> str:
    """What was chosen and why, in one line."""
    text = columns.text or (columns.tokens or "",)
    joined = " joined by a space" if len(text) > 1 else ""
    named = text[0].lower() in (*TEXT_NAMES, *TOKEN_NAMES) or not (columns.text or text[0].isdecimal())
    why = _why(text_asked, named, "the longest" if columns.text else "the first of words")
    reasons = [f"text from {' + '.join(map(repr, text))}{joined} ({why})"]
    if columns.label:
        by_name = columns.label.lower() in LABEL_NAMES
        reasons.append(f"labels from {columns.label!r} ({_why(label_asked, by_name, 'fewest values')})")
    if columns.tags:
        reasons.append(f"tags from {columns.tags!r}" + ("" if columns.label else _about_tags(rows, columns)))
    if columns.multi_label:
        sign = f", separated by {columns.separator!r}" if columns.separator else ""
        reasons.append(f"several labels a row{sign}")
    return ", ".join(reasons)


def _about_tags(rows: Sequence[Row], columns: Columns) -> str:
    """What the tags are: ": spans in BIO of PER, LOC" or ": plain labels such as NOUN, VERB"."""
    assert columns.tags is not None
    types = types_of(rows, columns.tags, columns.scheme)
    some = (", ".join(types[:5]) or "no type") + (", …" if len(types) > 5 else "")
    if columns.scheme is None:
        return f": plain labels, one a word, such as {some}"
    if columns.tokens is not None:
        return f": spans in {columns.scheme} of {some}"
    cut, every = widened(rows, columns.text[0], columns.tags) if len(columns.text) == 1 else (0, 0)
    return f": spans of characters of {some}" + (f"; {cut} of {every} widened to whole words" if cut else "")


def _why(asked: bool, named: bool, otherwise: str) -> str:
    return "as asked" if asked else "by its name" if named else otherwise
