"""pocketlm run: predictions for texts from the command line or stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pocketlm.cli.show import print_json
from pocketlm.errors import DataError

if TYPE_CHECKING:
    from pocketlm.runtime.inputs import Text
    from pocketlm.runtime.lines import Row
    from pocketlm.runtime.load import Pocket


def command(
    pocket: Annotated[str, typer.Argument(help="The Pocket.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; without any, JSON Lines are read from stdin.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="A question, for a Pocket that answers them.")] = None,
    context: Annotated[str | None, typer.Option(help="The text that holds the answer; goes with --question.")] = None,
    batch_size: Annotated[int, typer.Option(help="Lines predicted at once from stdin.", min=1)] = 32,
) -> int:
    """Predict, one JSON object a text on stdout.

    From stdin each line is a JSON string, an object with "text", with "tokens", or with "question" and "context"
    (its other fields come back), or plain text. Answers stream: a batch is answered as soon as it is full or the
    input pauses at its end.

    A Pocket that answers questions takes --question and --context, or such objects from stdin.
    """
    if (question is None) != (context is None) or (question is not None and texts):
        raise DataError("--question and --context go together, in place of texts")
    from pocketlm.runtime.load import load
    from pocketlm.runtime.question import question_of

    model = load(pocket)
    if question is not None:
        print_json(model.predict(question_of({"question": question, "context": context}, "--question, --context")))
        return 0
    if texts:
        for prediction in model.predict(texts):
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
