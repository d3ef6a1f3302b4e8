"""POST /generate: what a Pocket writes, piece by piece as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields, replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pocketlm.errors import DataError
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.generate import Generator

LINES = "application/x-ndjson"
# Of these a request may say nothing: one sequence is written, and none of it before the prompt is whole.
NOT_ASKED = ("beams", "length_penalty", "early_stopping", "cut")


def asked(model: Generator, value: Any) -> tuple[str, Writing]:
    """The prompt and how to write, of {"text" or "messages", setting: value, …}. Raises DataError or UserError."""
    settings = dict(value) if isinstance(value, dict) else {}
    text, messages = settings.pop("text", None), settings.pop("messages", None)
    if messages is not None:
        if not isinstance(messages, list) or not all(_is_message(one) for one in messages):
            raise DataError('"messages" is a list of objects with "role" and "content"')
        text = model.chat(messages)
    if not isinstance(text, str):
        raise DataError('an object with "text" (a string) or "messages" is needed')
    kinds = {one.name: type(getattr(model.writing, one.name)) for one in fields(Writing) if one.name not in NOT_ASKED}
    for name, one in settings.items():
        if name not in kinds:
            raise DataError(f"unknown setting {name!r}; there is {', '.join(kinds)}")
        settings[name] = _setting(name, one, kinds[name])
    return text, replace(model.writing, beams=1, **settings)


def _is_message(one: Any) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ("role", "content"))


def _setting(name: str, value: Any, kind: type) -> Any:
    if kind is tuple and isinstance(value, (str, list)):
        stops = (value,) if isinstance(value, str) else tuple(value)
        if all(isinstance(one, str) for one in stops):
            return stops
    elif isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool):
        return value
    raise DataError(f'"{name}" is {"a string or a list of them" if kind is tuple else "a number"}, got {value!r}')


class _TakingTurns(StreamingResponse):
    """Lines of pieces, after which the turn is given back: also where the reader went before the first of them."""

    def __init__(self, first: str, pieces: Iterator[str], turn: asyncio.Lock) -> None:
        super().__init__(_lines(first, pieces), media_type=LINES)
        self.turn = turn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.turn.release()


async def streamed(model: Generator, text: str, how: Writing, turn: asyncio.Lock) -> StreamingResponse:
    """{"text": piece} a line. What is wrong with the prompt is known before the first line, and raised here."""
    await turn.acquire()
    try:
        pieces = model.stream(text, how)
        first = await run_in_threadpool(next, pieces, "")
    except BaseException:
        turn.release()
        raise
    return _TakingTurns(first, pieces, turn)


async def _lines(first: str, pieces: Iterator[str]) -> AsyncIterator[str]:
    piece: str | None = first
    while piece is not None:
        if piece:
            yield json.dumps({"text": piece}, ensure_ascii=False) + "\n"
        piece = await run_in_threadpool(next, pieces, None)
