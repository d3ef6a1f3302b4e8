"""Questions, contexts and answers in rows: which columns hold them, and where in the context the answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pocketlm.data.guess import LABEL_NAMES
from pocketlm.data.read import Row
from pocketlm.errors import DataError

QUESTION_NAMES = ("question", "question_text", "query")
CONTEXT_NAMES = ("context", "passage", "paragraph", "document")
ANSWER_NAMES = ("answers", "answer", "answer_text", "answer_pivot", "detected_answers")
START_NAMES = ("answer_start", "answer_starts", "start")
# Where an answer stands several times, the one this near to its offset is meant.
NEAR = 10
_SAMPLE = 50

Span = tuple[int, int]


def find_question(
    rows: Sequence[Row], names: Sequence[str], text: tuple[str, ...], context: str | None, answer: str | None
) -> tuple[str, str, str] | None:
    """The columns of questions, contexts and answers, or None where the rows hold no such things.

    text, context, answer: the ones asked for, if any. Without asking, answers must be in their contexts. Raises
    DataError where a context or answer was asked for, or rows are questions with contexts, and the rest is not there.
    """
    asked = bool(context or answer)
    question = text[0] if len(text) == 1 else _named(QUESTION_NAMES, names)
    context = context or _named(CONTEXT_NAMES, names)
    if not asked and (question is None or context is None or question == context):
        return None
    if question is None or context is None:
        what = "question; name it with --text" if question is None else "context; name it with --context"
        raise DataError(f"no column is the {what}; there is {', '.join(names)}")
    held = [name for name in ANSWER_NAMES if name in names]
    answer = answer or next((name for name in held if _holds_answers(rows, name, context)), held[0] if held else None)
    if answer is None and not asked and any(name.lower() in LABEL_NAMES for name in names):
        return None
    if answer is None:
        raise DataError(
            f"no column of answers beside {question!r} and {context!r}; name it with --answer (or a label of the text "
            "with --label)"
        )
    if not asked and not _holds_answers(rows, answer, context):
        return None
    return question, context, answer


def has_questions(rows: Sequence[Row]) -> bool:
    """Whether columns are called as questions, contexts and answers are, and answers are in their contexts."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    question, context = _named(QUESTION_NAMES, names), _named(CONTEXT_NAMES, names)
    if question is None or context is None:
        return False
    return any(name in names and _holds_answers(rows, name, context) for name in ANSWER_NAMES)


def context_column(rows: Sequence[Row]) -> str | None:
    """The column called as contexts are, for rows that are known to be questions."""
    return _named(CONTEXT_NAMES, list(dict.fromkeys(name for row in rows for name in row)))


def _named(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for one in wanted for name in names if name.lower() == one), None)


def _holds_answers(rows: Sequence[Row], name: str, context: str) -> bool:
    """Whether most cells are answers in the form of SQuAD, or texts that stand in their contexts."""
    sample = [row for row in rows[:_SAMPLE] if row.get(name) not in (None, "", [])]
    right = sum(
        isinstance(cell := row[name], Mapping)
        or (isinstance(cell, list) and all(isinstance(one, (str, Mapping)) for one in cell))
        or (isinstance(cell, str) and cell.strip() in str(row.get(context)))
        for row in sample
    )
    return 2 * right > len(sample)


def start_column(names: Sequence[str]) -> str | None:
    """The column that says where answers begin, for answers that are plain texts."""
    return _named(START_NAMES, names)


def row_answers(row: Row, context: str, answer: str, start: str | None, where: str) -> tuple[tuple[Span, ...], str]:
    """The answers of a row as spans of its context, and a note where one is not where it should be, or "".

    An answer that is not at its offset is taken where it stands: its one place, or the one that is near. Raises
    DataError for an answer that is not in the context, or that is at several places with no near one.
    """
    text, spans, note = str(row.get(context) or ""), [], ""
    for own, begin in _said(row, answer, start, where):
        if not own.strip():
            raise DataError(f"{where}: an answer in {answer!r} is empty; a question that has none has an empty list")
        if begin is not None and text[begin : begin + len(own)] == own:
            spans.append((begin, begin + len(own)))
            continue
        place = _place(text, own.strip(), begin, where)
        if begin is not None:
            note = f"{where}: the answer {own[:40]!r} is not at {begin} but at {place}"
        spans.append((place, place + len(own.strip())))
    return tuple(dict.fromkeys(spans)), note


def _place(text: str, answer: str, begin: int | None, where: str) -> int:
    """Where an answer stands that is not at its offset, or has none."""
    places, at = [], text.find(answer)
    while at >= 0:
        places.append(at)
        at = text.find(answer, at + 1)
    if not places:
        raise DataError(
            f"{where}: the answer {answer[:60]!r} is not in the context; answers are parts of it, to the letter"
        )
    near = [place for place in places if begin is not None and abs(place - begin) <= NEAR]
    if begin is None or len(places) == 1:
        return places[0]
    if len(near) != 1:
        raise DataError(
            f"{where}: the answer {answer[:60]!r} is not at its offset {begin}, and stands at {len(places)} places "
            f"({', '.join(map(str, places[:5]))}): say which one is meant"
        )
    return near[0]


def _said(row: Row, answer: str, start: str | None, where: str) -> list[tuple[str, int | None]]:
    """The texts of a row's answers and their offsets, from any of their forms."""
    cell, begins = row.get(answer), row.get(start) if start else None
    if cell is None or cell == "":
        return []
    if isinstance(cell, Mapping):
        texts, begins = cell.get("text"), cell.get("answer_start")
    elif isinstance(cell, list) and any(isinstance(one, Mapping) for one in cell):
        texts = [one.get("text") if isinstance(one, Mapping) else None for one in cell]
        begins = [one.get("answer_start") if isinstance(one, Mapping) else None for one in cell]
    else:
        texts = cell
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise DataError(
            f'{where}: {answer!r} is {str(cell)[:60]!r}; answers are texts, or {{"text": […], "answer_start": […]}}'
        )
    begins = list(begins) if isinstance(begins, list) else [begins]
    if len(begins) != len(texts):
        if begins != [None]:
            raise DataError(f"{where}: {len(texts)} answers but {len(begins)} offsets; each answer has one")
        begins *= len(texts)
    return [(text, _offset(begin, where)) for text, begin in zip(texts, begins, strict=True)]


def _offset(value: Any, where: str) -> int | None:
    if value is None or value == "":
        return None
    try:
        place = int(value)
    except (TypeError, ValueError):
        place = -1
    if place < 0:
        raise DataError(f"{where}: the offset {value!r} is no whole number of characters from 0 on")
    return place


def answer_notes(rows: Sequence[Row], columns: tuple[str, str, str | None], where: str) -> list[str]:
    """What is worth knowing of the answers of rows: those not at their offsets. columns: context, answer, start."""
    found = [row_answers(row, *columns, f"{where}, row {place + 1}")[1] for place, row in enumerate(rows)]
    moved = [note for note in found if note]
    if not moved:
        return []
    more = f" (and {len(moved) - 1} more rows)" if len(moved) > 1 else ""
    return [f"{moved[0]}, the only place near, which is used{more}"]
