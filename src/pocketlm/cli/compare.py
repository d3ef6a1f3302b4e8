"""pocketlm compare: several Pockets side by side, and whether their differences are real."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from pocketlm.cli.show import add_row, console, print_json, say, say_notes
from pocketlm.units import format_latency, format_size

if TYPE_CHECKING:
    from pocketlm.measure.comparison import Comparison


def command(
    pockets: Annotated[list[str], typer.Argument(help="Two Pockets of a task or more; the first is compared with.")],
    data: Annotated[str, typer.Option(help="Labelled rows that all of them answer.")],
    text: Annotated[str | None, typer.Option(help="Column with the text; several joined by commas.")] = None,
    label: Annotated[str | None, typer.Option(help="Column with the label, the intent, or the text to write.")] = None,
    slots: Annotated[str | None, typer.Option(help="Column with BIO tags beside an intent.")] = None,
    tags: Annotated[str | None, typer.Option(help="Column with a tag a word, by name or number.")] = None,
    context: Annotated[str | None, typer.Option(help="Column with what questions are about.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column with the answers to questions.")] = None,
    pair: Annotated[str | None, typer.Option(help="Column with the second text of a pair.")] = None,
    score: Annotated[str | None, typer.Option(help="Column with how alike the texts of a pair are.")] = None,
    output: Annotated[str | None, typer.Option("-o", "--output", help="An HTML page to write.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the rows that are drawn.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a page that exists.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Judge Pockets on the same labelled rows, measure each in a fresh process, and test their differences.

    A difference is that of the task's main metric, the first less another, with the 95 % interval of a paired bootstrap
    over rows; where a row is right or wrong, McNemar's exact test stands beside it. Of several differences all
    intervals hold together, and p-values are as many times as large. What is judged by no sum over rows (similarity,
    retrieval, translation, generation) is not compared: `pocketlm evaluate` judges each.

    Example: pocketlm compare new.pocket old.pocket --data test.csv -o compared.html
    """
    from pocketlm.measure.comparison import compare
    from pocketlm.pocket.format import check_output
    from pocketlm.report.comparison import write_comparison

    if output is not None:
        check_output(Path(output), replace=force)
    columns = (text, label, (slots, tags), (pair, score), (context, answer))
    found = compare(pockets, data, columns, seed)
    if output is not None:
        write_comparison(found.to_json(), Path(output), replace=force)
    if json_output:
        print_json(found.to_json())
        return 0
    _print(found)
    if output is not None:
        console().print(f"wrote {output}", markup=False)
    return 0


def _print(found: Comparison) -> None:
    table = Table(box=None, pad_edge=False, title=Text(f"{found.n:,} rows of {found.data}"), title_justify="left")
    for name in ("Pocket", found.metric, "95 % interval", "size", "p50", "memory"):
        table.add_column(name, justify="left" if name == "Pocket" else "right")
    for one in found.systems:
        figure = one.scores.metrics[found.metric]
        add_row(
            table, one.name, f"{figure.value:.4f}", f"{figure.low:.4f} to {figure.high:.4f}",
            format_size(one.size_bytes), format_latency(one.latency_p50_ms), format_size(one.memory_bytes),
        )  # fmt: skip
    console().print(table)
    for one, apart in zip(found.systems[1:], found.differences, strict=True):
        say(f"{found.systems[0].name} less {one.name}: {apart}")
    say_notes(found.notes)
