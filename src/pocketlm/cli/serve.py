"""pocketlm serve: predictions over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from pocketlm.cli.show import console
from pocketlm.units import format_size


def command(
    pocket: Annotated[str, typer.Argument(help="The Pocket.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8080,
    threshold: Annotated[
        float | None, typer.Option(help="Answer from this score on, whatever the Pocket says; 0 answers all.")
    ] = None,
) -> int:
    """Serve a Pocket over HTTP until Ctrl-C: POST /predict, GET /health, GET /manifest.

    One that writes text also streams it from POST /generate.

    Anyone who reaches the port may ask: there is no password.
    """
    from pocketlm.runtime.load import load
    from pocketlm.serve.server import listen, serve, url

    model = load(pocket, threads=1)
    model = model if threshold is None else model.answering(threshold)
    with listen(host, port) as door:
        console().print(
            f"{pocket} ({model.task}, {format_size(model.size_bytes)}) answers at {url(door)}; Ctrl-C stops it",
            markup=False,
            soft_wrap=True,
        )
        serve(model, door)
    return 0
