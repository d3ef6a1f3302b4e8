"""Texts as programs send them: a line of a stream, or a JSON value."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeGuard

from pocketlm.errors import DataError
from pocketlm.runtime.inputs import Pair, Text
from pocketlm.runtime.question import question_of

Row = dict[str, Any]


def read_line(line: str, place: str) -> tuple[Row, Text]:
    """The fields to give back with the answer, and the text or tokens.

    A line is a JSON string, an object with "text" (and perhaps "pair"), with "tokens", or with "question" and
    "context", or plain text. Raises DataError, which names `place`.
    """
    if not line.lstrip().startswith(("{", '"')):
        return {}, line
    return row_and_text(parse_json(line, f"{place} begins like JSON but is not"), place)


def parse_json(text: str, complaint: str) -> Any:
    """The value of a JSON document that can be written again. Raises DataError that begins with `complaint`."""
    try:
        value = json.loads(text, parse_constant=_refuse)
        if "\\ud" in text.lower():  # half of a surrogate pair is no character, and no UTF-8 can carry it
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{complaint} ({error})") from None
    return value


def row_and_text(value: Any, place: str) -> tuple[Row, Text]:
    """The fields to give back, and the text or tokens, of a JSON string or object. Raises DataError."""
    if isinstance(value, str):
        return {}, value
    row: Row = value if isinstance(value, dict) else {}
    if "context" in row and "text" not in row:
        return row, question_of(row, place)
    tokens, text = row.get("tokens"), row.get("text")
    if isinstance(tokens, list) and is_text(tokens):
        return row, tokens
    if isinstance(text, str):
        pair = row.get("pair")
        return row, Pair(text, pair) if isinstance(pair, str) else text
    raise DataError(
        f'{place}: an object needs "text" (a string) or "tokens" (a list of strings); a question, "context" too'
    )


def is_text(value: Any) -> TypeGuard[Text]:
    """Whether it is a string, or a list of one string or more."""
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(token, str) for token in value)
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
