"""pocketlm run: predictions for texts from the command line or stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pocketlm.cli.show import print_json
from pocketlm.errors import DataError, UserError

if TYPE_CHECKING:
    from pocketlm.runtime.inputs import Text
    from pocketlm.runtime.lines import Row
    from pocketlm.runtime.load import Pocket


def command(
    pocket: Annotated[str, typer.Argument(help="The Pocket.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; without any, JSON Lines are read from stdin.")
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Say how alike each text is to this one.")] = None,
    batch_size: Annotated[int, typer.Option(help="Lines predicted at once from stdin.", min=1)] = 32,
) -> int:
    """Predict, one JSON object a text on stdout.

    From stdin each line is a JSON string, an object with "text" or "tokens" (its other fields come back), or
    plain text. With "text" and "pair", a Pocket that makes vectors says how alike the two are.
    Answers stream: a batch is answered as soon as it is full or the input pauses at its end.
    """
    from pocketlm.runtime.inputs import Pair
    from pocketlm.runtime.load import load

    model = load(pocket)
    if texts:
        if pair is not None and all(output.kind != "vector" for output in model.outputs):
            raise UserError(f"{pocket}: does {model.task}; --pair is for a Pocket whose task is similarity")
        asked = texts if pair is None else [Pair(text, pair) for text in texts]
        for prediction in model.predict(asked):
            print_json(prediction)
        return 0
    batch: list[tuple[Row, Text]] = []
    for one in _lines():
        batch.append(one)
        if len(batch) >= batch_size or sys.stdin.isatty():
            _answer(model, batch)
            batch = []
    if batch:
        _answer(model, batch)
    return 0


def _answer(model: Pocket, batch: list[tuple[Row, Text]]) -> None:
    for (row, _), prediction in zip(
        batch, model.predict([text for _, text in batch], batch_size=len(batch)), strict=True
    ):
        print_json({**row, **prediction})
    sys.stdout.flush()


def _lines() -> Iterator[tuple[Row, Text]]:
    from pocketlm.runtime.lines import read_line

    for number, raw in enumerate(sys.stdin.buffer, 1):
        try:
            line = raw.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"stdin, line {number}: byte {error.start} is not UTF-8") from None
        if line.strip():
            yield read_line(line, f"stdin, line {number}")
