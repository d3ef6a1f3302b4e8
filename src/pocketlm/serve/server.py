"""A Pocket behind a port."""

from __future__ import annotations

import contextlib
import socket

from pocketlm.errors import MissingExtraError, UserError
from pocketlm.runtime.load import Pocket

try:
    import uvicorn
    from starlette.applications import Starlette

    from pocketlm.serve.app import BODY_SECONDS, make_app
except ModuleNotFoundError as error:
    raise MissingExtraError(f"serve (the package {error.name})", "serve") from None

# Requests that have begun may take so long when the server is told to stop: a body to come, and its answer.
PATIENCE_SECONDS = BODY_SECONDS + 5


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UserError where that cannot be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host} port {port}: {why}; choose with --host and --port") from None


def url(door: socket.socket) -> str:
    """Where the socket is reached."""
    host, port = door.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(model: Pocket, door: socket.socket) -> None:
    """Answer requests to a Pocket until Ctrl-C; requests that have begun are finished."""
    serve_app(make_app(model), door)


def serve_app(app: Starlette, door: socket.socket) -> None:
    """Answer requests with any application until Ctrl-C."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=PATIENCE_SECONDS)
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn stops in order, then raises the signal again
        uvicorn.Server(config).run(sockets=[door])
