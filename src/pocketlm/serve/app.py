"""The HTTP face of a Pocket: POST /predict, POST /generate of one that writes, GET /health, GET /manifest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from pocketlm.errors import DataError, UserError
from pocketlm.runtime.decode import Prediction
from pocketlm.runtime.inputs import Text
from pocketlm.runtime.lines import is_text, parse_json, read_line, row_and_text
from pocketlm.runtime.load import Pocket
from pocketlm.runtime.question import question_of
from pocketlm.serve.writing import asked, streamed

LARGEST_BODY_BYTES = 1_000_000
MOST_TEXTS = 1000
# A body that is not here by then is not waited for.
BODY_SECONDS = 10
# Texts predicted in one go; between two goes another request has its turn.
BATCH = 32
JSON = "application/json"
LINES = ("application/x-ndjson", "application/jsonl")


class Service:
    """Answers requests with one Pocket.

    Predictions run in a thread, so that the server goes on listening, and one batch at a time: more at once would
    only share the same cores, and a Pocket need not be safe in two threads.
    """

    def __init__(self, model: Pocket) -> None:
        self.model = model
        self._turn = asyncio.Lock()

    async def predict(self, request: Request) -> Response:
        """One JSON object or a list of them for a JSON body, a line for each line of a JSON Lines body."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, *LINES):
            raise HTTPException(415, f"the Content-Type is {JSON} or {LINES[0]} (JSON Lines), got {kind or 'none'}")
        body = await body_in_time(request)
        if kind in LINES:
            lines = [(number, line.rstrip("\r")) for number, line in enumerate(body.split("\n"), 1) if line.strip()]
            rows = [read_line(line, f"line {number}") for number, line in lines]
            answers = await self._answers([text for _, text in rows])
            written = "".join(_line({**row, **one}) for (row, _), one in zip(rows, answers, strict=True))
            return Response(written, media_type=kind)
        value = parse_json(body, "the body is not JSON")
        if isinstance(value, dict) and "texts" in value:
            return as_json(await self._answers(_texts(value)))
        row, text = row_and_text(value, "the body")
        return as_json({**row, **(await self._answers([text]))[0]})

    async def generate(self, request: Request) -> Response:
        """What the Pocket writes for {"text", setting: value, …}, in JSON Lines as it is written."""
        value = parse_json(await body_in_time(request), "the body is not JSON")
        text, how = asked(self.model.generator, value)
        return await streamed(self.model.generator, text, how, self._turn)

    async def health(self, request: Request) -> Response:
        """That it runs, and what it predicts."""
        return as_json({"status": "ok", "task": self.model.task})

    async def manifest(self, request: Request) -> Response:
        """What the Pocket says of itself, as `pocketlm inspect --json` prints it."""
        return as_json({**self.model.manifest, "size_bytes": self.model.size_bytes})

    async def _answers(self, texts: Sequence[Text]) -> list[Prediction]:
        if len(texts) > MOST_TEXTS:
            raise HTTPException(413, f"at most {MOST_TEXTS:,} texts a request, got {len(texts):,}")
        done: list[Prediction] = []
        for begin in range(0, len(texts), BATCH):
            async with self._turn:
                done += await run_in_threadpool(self.model.predict, list(texts[begin : begin + BATCH]), BATCH)
        return done


def make_app(model: Pocket) -> Starlette:
    """The ASGI application that serves a Pocket; every refusal is {"error": one line}."""
    service = Service(model)
    writes = [Route("/generate", service.generate, methods=["POST"])] if model.writes else []
    return Starlette(
        routes=[
            Route("/predict", service.predict, methods=["POST"]),
            *writes,
            Route("/health", service.health),
            Route("/manifest", service.manifest),
        ],
        exception_handlers=REFUSALS,
    )


async def body_in_time(request: Request) -> str:
    """The body as text. Raises HTTPException where it takes too long."""
    try:
        return await asyncio.wait_for(_body(request), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"the body did not come within {BODY_SECONDS} s") from None


async def _body(request: Request) -> str:
    """The body as text; one that is too large is refused before it is all read."""
    body, limit = bytearray(), LARGEST_BODY_BYTES
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"at most {limit:,} bytes a request")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} of the body is not UTF-8") from None


def _texts(value: dict[str, Any]) -> Sequence[Text]:
    texts = value["texts"]
    if set(value) != {"texts"}:
        raise DataError('an object with "texts" has no other fields; send JSON Lines to have fields back')
    if not isinstance(texts, list):
        raise DataError('"texts" is a list of strings, of lists of tokens, or of questions with their contexts')
    read: list[Text] = []
    for number, text in enumerate(texts, 1):
        place = f'"texts", item {number}'
        if not (is_text(text) or isinstance(text, dict)):
            raise DataError(f"{place}: needs a string or a list of tokens, or a question with its context")
        read.append(question_of(text, place) if isinstance(text, dict) else text)
    return read


async def _refused(request: Request, error: Exception) -> Response:
    status, headers, said = 400, None, str(error)
    if isinstance(error, HTTPException):
        status, headers, said = error.status_code, error.headers, error.detail
    return Response(_line({"error": " ".join(said.split())}), status, headers, JSON)


async def _failed(request: Request, error: Exception) -> Response:
    """A bug: starlette raises it again, and the server's log keeps its traceback."""
    return Response(_line({"error": "internal error; the server's log says more"}), 500, media_type=JSON)


# What becomes of errors, for any application of ours.
REFUSALS: Mapping[Any, ExceptionHandler] = {
    HTTPException: _refused, UserError: _refused, ClientDisconnect: _refused, 500: _failed,
}  # fmt: skip


def as_json(value: Any) -> Response:
    """A value as a response of JSON."""
    return Response(_line(value), media_type=JSON)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
