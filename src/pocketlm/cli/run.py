"""pocketlm run: predictions for texts, or what a Pocket writes, from the command line or stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pocketlm.cli.show import print_json
from pocketlm.errors import DataError, UserError

if TYPE_CHECKING:
    from pocketlm.runtime.choose import Writing
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
    pair: Annotated[str | None, typer.Option(help="Say how alike each text is to this one.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Answer from this score on, whatever the Pocket says; 0 answers all.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Lines predicted at once from stdin.", min=1)] = 32,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens to write.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Above 0, tokens are drawn; 0 takes the most probable one.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many most probable tokens only.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the fewest tokens that reach this share.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Draw no token below this share of the most probable.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1, tokens that occurred are rarer.")] = None,
    beams: Annotated[int | None, typer.Option(help="Above 1, beam search over so many sequences.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="Of beam search; above 0, longer is better.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends the text; may be repeated.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of drawing.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print what is written as it comes, as plain text.")] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Put each text into the Pocket's chat template.")] = False,
    cut: Annotated[bool, typer.Option("--cut", help="Cut prompts that are longer than the context.")] = False,
) -> int:
    """Predict, or write, one JSON object a text on stdout.

    From stdin each line is a JSON string, an object with "text", with "tokens", or with "question" and "context"
    (its other fields come back), or plain text. With "text" and "pair", a Pocket that makes vectors says how alike
    the two are; --pair is for lines that have none. Answers stream: a batch is answered as soon as it is full or the
    input pauses at its end.

    Of a text that the Pocket is unsure of, the label is null, and "guess" says what it would have been.

    A Pocket that answers questions takes --question and --context, or such objects from stdin.
    Options after --batch-size are for Pockets that write text.
    """
    if (question is None) != (context is None) or (question is not None and texts):
        raise DataError("--question and --context go together, in place of texts")
    from pocketlm.runtime.inputs import Pair, plain_text
    from pocketlm.runtime.load import load
    from pocketlm.runtime.question import question_of

    model = load(pocket)
    model = model if threshold is None else model.answering(threshold)
    given = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "beams": beams, "length_penalty": length_penalty,
        "stop": tuple(stop) if stop else None, "seed": seed, "cut": cut or None,
    }  # fmt: skip
    how = _how(model, pocket, given, stream or chat)
    if question is not None:
        print_json(model.predict(question_of({"question": question, "context": context}, "--question, --context")))
        return 0
    if pair is not None and all(output.kind != "vector" for output in model.outputs):
        raise UserError(f"{pocket}: does {model.task}; --pair is for a Pocket whose task is similarity")

    def paired(text: Text) -> Text:
        return text if pair is None or isinstance(text, Pair) else Pair(plain_text(text), pair)

    if texts:
        _answer(model, [({}, paired(one)) for one in texts], how, stream, chat)
        return 0
    batch: list[tuple[Row, Text]] = []
    done = 0
    for row, text in _lines():
        batch.append((row, paired(text)))
        if len(batch) >= (1 if stream else batch_size) or sys.stdin.isatty():
            _answer(model, batch, how, stream, chat, done)
            done, batch = done + len(batch), []
    if batch:
        _answer(model, batch, how, stream, chat, done)
    return 0


def _how(model: Pocket, name: str, given: dict[str, Any], spoken: bool) -> Writing | None:
    """How to write, or None for a Pocket that predicts. Raises UserError for settings that such a one has not."""
    named = [key for key, value in given.items() if value is not None]
    if model.writes:
        from pocketlm.runtime.generate import with_settings

        return with_settings(model.generator.writing, **given)
    if named or spoken:
        option = f"--{named[0].replace('_', '-')}" if named else "--stream and --chat"
        raise UserError(f"{option}: is for a Pocket that writes text; {name} does {model.task}")
    return None


def _answer(
    model: Pocket, batch: Sequence[tuple[Row, Text]], how: Writing | None, stream: bool, chat: bool, first: int = 0
) -> None:
    """Print what the Pocket says of some texts. first: the number of the first of them, by which it draws."""
    if how is None:
        texts = [text for _, text in batch]
        for (row, _), prediction in zip(batch, model.predict(texts, batch_size=len(batch)), strict=True):
            print_json({**row, **prediction})
        sys.stdout.flush()
        return
    from pocketlm.runtime.inputs import plain_text
    from pocketlm.runtime.load import write_all
    from pocketlm.runtime.question import Question

    if any(isinstance(text, Question) for _, text in batch):
        raise DataError(f"this Pocket does {model.task}: it reads texts, not questions with a context")
    prompts = [plain_text(text) for _, text in batch]
    if chat:
        prompts = [model.generator.chat([{"role": "user", "content": one}]) for one in prompts]
    if stream:
        for number, one in enumerate(prompts, first):
            for piece in model.generator.stream(one, how, number):
                sys.stdout.write(piece)
                sys.stdout.flush()
            sys.stdout.write("\n")
    else:
        said = write_all(model.generator, model.outputs[0].name, prompts, len(prompts), how, first)
        for (row, _), prediction in zip(batch, said, strict=True):
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
