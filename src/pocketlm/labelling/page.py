"""The local page: one person, this machine, one token; nothing of it works for another site or another name."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from importlib import resources
from string import Template
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pocketlm.errors import DataError
from pocketlm.labelling.drawing import state_of
from pocketlm.labelling.session import Session
from pocketlm.runtime.lines import parse_json
from pocketlm.serve.app import JSON, REFUSALS, as_json, body_in_time

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LabellingPage:
    """Answers the page with one session; requests take turns, as the session is not safe in two threads."""

    def __init__(self, session: Session, token: str, hosts: tuple[str, ...]) -> None:
        self.session, self.token, self.hosts = session, token, hosts
        self._turn = asyncio.Lock()

    async def page(self, request: Request) -> Response:
        """The page, which holds nothing of the data: it asks for that with the token behind the # of its address."""
        self._same_host(request)
        return Response(page_text(), media_type="text/html", headers=HEADERS)

    async def state(self, request: Request) -> Response:
        """The row to label, and how far it has come."""
        self._allow(request)
        return await self._turned(lambda: None)

    async def act(self, request: Request) -> Response:
        """{"do": "label", "label": …, "text": the row it is for}, or "skip", "unsure", "undo"; the state after it."""
        self._allow(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise HTTPException(415, f"the Content-Type is {JSON}, got {kind or 'none'}")
        said = parse_json(await body_in_time(request), "the body is not JSON")
        return await self._turned(partial(self._act, said))

    def _act(self, said: Any) -> None:
        if not isinstance(said, dict) or not all(isinstance(one, str) for one in said.values()):
            raise DataError('the body is an object such as {"do": "label", "label": …, "text": …}')
        asked = self.session.next()
        if said.get("do") == "undo":
            self.session.undo()
        elif asked is None or said.get("text") != asked.text:
            pass  # an answer that was sent twice, or from a second window: the state says which row is asked now
        elif said.get("do") == "label":
            self.session.answer(said.get("label", ""))
        elif said.get("do") in ("skip", "unsure"):
            (self.session.skip if said["do"] == "skip" else self.session.not_sure)()
        else:
            raise DataError('"do" is label, skip, unsure or undo')

    async def _turned(self, act: Callable[[], None]) -> Response:
        async with self._turn:
            await run_in_threadpool(act)
            state = await run_in_threadpool(state_of, self.session)
        answer = as_json(state)
        answer.headers.update(HEADERS)
        return answer

    def _same_host(self, request: Request) -> None:
        """Refuse a request by a name that some site has made lead here."""
        if request.headers.get("host", "") not in self.hosts:
            raise HTTPException(403, f"this page is at {self.hosts[0]} alone")

    def _allow(self, request: Request) -> None:
        """Refuse a request without the token."""
        self._same_host(request)
        if not hmac.compare_digest(request.headers.get("x-token", "").encode(), self.token.encode()):
            raise HTTPException(403, "open the address that the terminal shows, with its token")


def make_page(session: Session, token: str, port: int) -> Starlette:
    """The ASGI application of the page."""
    own = LabellingPage(session, token, (f"127.0.0.1:{port}", f"localhost:{port}"))
    return Starlette(
        routes=[Route("/", own.page), Route("/state", own.state), Route("/act", own.act, methods=["POST"])],
        exception_handlers=REFUSALS,
    )


def page_text() -> str:
    """The page: self-contained, no network but this server, only its own script may run."""
    script = _file("page.js")
    return Template(_file("page.html")).substitute(
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=_file("page.css"),
        script=script,
    )


def _file(name: str) -> str:
    return resources.files("pocketlm.labelling").joinpath(name).read_text("utf-8")
