"""pocketlm evaluate: how well a Pocket does on labelled rows."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pocketlm.cli.show import add_row, print_json, say_notes


def command(
    pocket: Annotated[str, typer.Argument(help="The Pocket.")],
    data: Annotated[str, typer.Argument(help="Labelled rows, or text: a file, a folder, smart-home:LANG, a hub name.")],
    text: Annotated[str | None, typer.Option(help="Column with the text; several joined by commas.")] = None,
    label: Annotated[str | None, typer.Option(help="Column with the label, the intent, or the text to write.")] = None,
    slots: Annotated[str | None, typer.Option(help="Column with BIO tags beside an intent.")] = None,
    tags: Annotated[str | None, typer.Option(help="Column with a tag a word, by name or number.")] = None,
    context: Annotated[str | None, typer.Option(help="Column with what questions are about.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column with the answers to questions.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column with the second text of a pair.")] = None,
    score: Annotated[str | None, typer.Option(help="Column with how alike the texts of a pair are.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Answer from this score on, whatever the Pocket says.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Judge a Pocket on labelled rows: every metric with its 95 % interval, per class and per slot.

    Metrics are of all texts, as if each were answered. Of labels, how sure they are is judged, too: the error of their
    scores, how many texts are answered (coverage), and how many of those rightly.

    A Pocket that does generation reads plain text (a .txt file, or the rows of a table): perplexity and bits a byte.
    """
    from pocketlm.measure.quality import evaluate, foreign_labels
    from pocketlm.runtime.load import load
    from pocketlm.tasks.prepare import read_labelled

    model = load(pocket)
    model = model if threshold is None else model.answering(threshold)
    columns = (text, label, (slots, tags), (pair, score), (context, answer))
    examples = read_labelled(data, model.task, *columns)
    notes = foreign_labels(model, examples, data)
    scores = evaluate(model, examples)
    about = scores.to_json()
    if json_output:
        flat = {name: figure["value"] for name, figure in about["metrics"].items()}
        print_json(
            {
                "n": scores.n,
                **flat,
                "intervals": about["metrics"],
                **{k: about[k] for k in ("per_class", "per_slot", "confusion", "signatures", "sureness")},
                "notes": list(notes),
            }
        )
        return 0
    _print(scores.n, about)
    say_notes(notes)
    return 0


def _print(rows: int, about: dict[str, Any]) -> None:
    out = Console(highlight=False)
    table = Table(box=None, pad_edge=False, title=f"{rows:,} rows", title_justify="left")
    for name in ("metric", "value", "95 % interval"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    for name, one in (about["metrics"] | about["sureness"]).items():
        add_row(table, name, f"{one['value']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}")
    out.print(table)
    for name, signature in about["signatures"].items():
        out.print(f"{name} is counted {signature}", markup=False)
    for title in ("per_class", "per_slot"):
        if about[title]:
            out.print(_labels(title.removeprefix("per_"), about[title]))


def _labels(kind: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in (kind, "precision", "recall", "f1", "support"):
        table.add_column(name, justify="left" if name == kind else "right")
    for row in rows:
        add_row(
            table, row["label"], *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")), str(row["support"])
        )
    return table
