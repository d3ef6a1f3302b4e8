"""Rows that say which texts are alike: scored pairs, pairs that belong together, texts of one label, or texts alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pocketlm.data.cells import missing
from pocketlm.data.examples import refuse, refuse_absent
from pocketlm.data.guess import find_text, named_column, named_label, refuse_numbers
from pocketlm.data.parallel import find_sides
from pocketlm.data.read import Row
from pocketlm.errors import DataError
from pocketlm.outputs import Example

TASKS_OF_PAIRS = ("similarity", "retrieval")
PAIR_NAMES = (
    *(
        (f"{word}{gap}1", f"{word}{gap}2")
        for word in ("sentence", "text", "sent", "question", "s")
        for gap in ("", "_")
    ),
    *((f"{word}_a", f"{word}_b") for word in ("sentence", "text")),
    *(("query", name) for name in ("document", "passage", "positive")),
    ("anchor", "positive"),
)
# What only the likeness of two texts is called, and what other figures of a row are called too.
_LIKENESS_NAMES = ("similarity", "similarity_score", "similarity score", "relatedness", "relatedness_score")
SCORE_NAMES = (*_LIKENESS_NAMES, "score", "gold", "label")


@dataclass(frozen=True)
class Asked:
    """Columns by name or number, as far as they were named. source, target: of texts and their translations."""

    text: str | None = None
    pair: str | None = None
    score: str | None = None
    label: str | None = None
    source: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class PairColumns:
    """Which columns are read: a text, with another one, and perhaps their score; or with a label; or alone.

    parallel: whether the second text is a translation of the first, which the teacher of vectors need not know.
    """

    text: str
    pair: str | None = None
    score: str | None = None
    label: str | None = None
    parallel: bool = False

    @property
    def task(self) -> str:
        """Judged by order where there are scores (or a teacher's cosines, for texts alone), else by retrieval."""
        return "similarity" if self.score or not (self.pair or self.label) else "retrieval"

    @property
    def chosen(self) -> str:
        """What was chosen, in one line."""
        if self.pair is None:
            return f"texts from {self.text!r}, " + (
                f"alike where {self.label!r} is the same" if self.label else "nothing that says which are alike"
            )
        if self.parallel:
            return f"texts from {self.text!r}, their translations from {self.pair!r}"
        scored = f"scores from {self.score!r}" if self.score else "each second text belonging to its first"
        return f"pairs from {self.text!r} and {self.pair!r}, {scored}"

    def texts_of(self, row: Row) -> tuple[str, ...]:
        """What may not stand on two sides of a split."""
        return tuple(_text(row, name) for name in (self.text, self.pair) if name)

    def class_of(self, row: Row) -> str:
        """What splits are stratified by."""
        return str(row.get(self.label)) if self.label else ""


def has_pairs(rows: Sequence[Row]) -> bool:
    """Whether columns are called as those of pairs are, with numbers for scores or without any label.

    Two texts and a number called "score" may as well be a title, a review and its stars.
    """
    names = _names(rows)
    known = _known_pair(names)
    if known is not None:
        return _score(rows, names) is not None or named_label(rows, names, known) is None
    score = _score(rows, [name for name in names if name.lower() in _LIKENESS_NAMES])
    return score is not None and len(_text_columns(rows, [name for name in names if name != score])) == 2


def detect_pairs(rows: Sequence[Row], asked: Asked) -> PairColumns:
    """The columns asked for, or the likeliest ones.

    Columns called source and target, or as two languages are, hold texts and their translations. Raises DataError for a
    name that is no column, for a score without a second text, and for a second text that is the first one again.
    """
    names = _names(rows)
    if not (asked.text or asked.pair or asked.score or asked.label):
        sides = find_sides(rows, asked.source, asked.target, sure=False)
        if sides is not None and not _known_pair(names):
            return PairColumns(*sides, parallel=True)
    text, pair, score, label = (
        named_column(name, names) if name else None for name in (asked.text, asked.pair, asked.score, asked.label)
    )
    known = _known_pair(names) if not label else None
    if known and text in (None, *known) and pair in (None, *known):
        first = text or next(name for name in known if name != pair)
        text, pair = first, pair or next(name for name in known if name != first)
    free = [name for name in names if name not in (text, pair, label)]
    score = score or (None if label else _score(rows, free))
    others = [name for name in _text_columns(rows, free) if name != score]
    if text is None:
        named = find_text(rows, [name for name in names if name not in (pair, score)], label, None)[0]
        text = others[0] if score and not pair and len(others) == 2 else named
    if score and pair is None:
        left = [name for name in others if name != text]
        if len(left) != 1:
            raise DataError(
                f"column {score!r} has scores, but no column is the second text of a pair; name it (--pair)"
            )
        pair = left[0]
    if pair == text:
        raise DataError(f"column {text!r} cannot be both texts of a pair; name the other one with --pair")
    refuse_numbers(rows, (text,))
    if pair is None and label is None:
        label = named_label(rows, names, (text,))
    return PairColumns(text, pair, score, label)


def pair_examples(rows: Sequence[Row], columns: PairColumns, where: str) -> list[Example]:
    """The rows as examples. where: the file or split, for messages.

    Raises DataError for a missing text, label or score and for a score that is no number, with the rows' numbers.
    """
    refuse_absent(where, rows, (columns.text, columns.pair, columns.score, columns.label))
    for name, what in ((columns.text, "without text"), (columns.pair, "without a second text")):
        if name:
            empty = [place for place, row in enumerate(rows) if not _text(row, name)]
            refuse(where, f"{what} in column {name!r}", empty)
    if columns.label:
        empty = [place for place, row in enumerate(rows) if missing(row.get(columns.label))]
        refuse(where, f"without a label in column {columns.label!r} (empty, null or NaN)", empty)
    scores = [_number(row.get(columns.score)) if columns.score else None for row in rows]
    if columns.score:
        wrong = [place for place, score in enumerate(scores) if score is None]
        shown = f", such as {rows[wrong[0]].get(columns.score)!r}" if wrong else ""
        refuse(where, f"without a number in the column of scores {columns.score!r}{shown}", wrong)
    return [
        Example(
            _text(row, columns.text),
            (str(row[columns.label]).strip(),) if columns.label else (),
            pair=_text(row, columns.pair) if columns.pair else "",
            score=score,
        )
        for row, score in zip(rows, scores, strict=True)
    ]


def check_judgeable(examples: Sequence[Example], where: str) -> None:
    """Raise DataError where held-out examples are too few, or too much alike, to judge by."""
    scores = {example.score for example in examples}
    labels = Counter(example.labels[0] for example in examples if example.labels)
    seconds = {example.pair for example in examples}
    if examples[0].score is not None:
        wrong = f"every one of its {len(examples)} pairs has the same score" if len(scores) == 1 else ""
    elif labels:
        wrong = (
            "" if len(labels) > 1 < max(labels.values()) else "no two of its texts have one label, and others another"
        )
    else:
        wrong = "every pair has the same second text" if examples[0].pair and len(seconds) == 1 else ""
    if wrong:
        raise DataError(f"{where}: {wrong}, so nothing can be judged; give more rows or a file for each split")


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _known_pair(names: Sequence[str]) -> tuple[str, str] | None:
    own = {name.lower(): name for name in names}
    return next(((own[a], own[b]) for a, b in PAIR_NAMES if a in own and b in own), None)


def _score(rows: Sequence[Row], names: Sequence[str]) -> str | None:
    """The column called as scores are, with numbers in most of its first rows; the others are refused when read."""
    sample = rows[:500]
    found = (name for wanted in SCORE_NAMES for name in names if name.lower() == wanted)
    counts = ((name, sum(_number(row.get(name)) is not None for row in sample)) for name in found)
    return next((name for name, count in counts if 2 * count > len(sample)), None)


def _text_columns(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Columns of strings that are no numbers."""
    sample = rows[:500]
    return [
        name
        for name in names
        if all(isinstance(row.get(name), str) for row in sample)
        and any(_number(row.get(name)) is None for row in sample)
    ]


def _number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if missing(value) else str(value).strip()
