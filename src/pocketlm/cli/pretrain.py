"""pocketlm pretrain: plain text in, a small language model's folder out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pocketlm.cli.show import Bars, console, need_torch, option, print_json
from pocketlm.units import format_duration, format_size


def command(
    text: Annotated[str, typer.Argument(help="Plain text: a UTF-8 file, a folder with train.txt, a table's column.")],
    output: Annotated[str, option("The folder to write.", "-o", "--output")],
    kind: Annotated[str | None, option('"causal" (writes) or "masked" (an encoder); with --base, its own.')] = None,
    base: Annotated[
        str | None, option("A pretrained model that learns on: a folder, a hub name, pypi:PACKAGE.")
    ] = None,
    vocabulary: Annotated[
        str, typer.Option(help='Of a base: "transfer", learnt from the text, or "keep".')
    ] = "transfer",
    adapter: Annotated[
        int,
        typer.Option(help="Rank of LoRA adapters that a base's blocks learn by, merged at the end; 0: all weights."),
    ] = 0,
    pieces: Annotated[int | None, option("Size of the new vocabulary; without, by the text.")] = None,
    width: Annotated[int | None, option("Width of a model from nothing; without, by text and time.")] = None,
    blocks: Annotated[int | None, option("Blocks of the model; of a base, its first ones.")] = None,
    dev: Annotated[str | None, option("Text that judges; without, a part is split off.")] = None,
    column: Annotated[str | None, option("Column of a table with the text.", "--text")] = None,
    time_limit: Annotated[
        str, typer.Option(help='Bound on the work, such as "30m"; "none" for --epochs alone.')
    ] = "30m",
    epochs: Annotated[float, typer.Option(help="Times over the text at most.")] = 20.0,
    rate: Annotated[float | None, option("Peak learning rate; without, what suits the start.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    work: Annotated[str | None, option("Folder for what can be resumed; without, beside the output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder this command wrote.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> int:
    """Pretrain a small language model on plain text, from nothing or from a base, and measure it in bits per byte.

    Example: pocketlm pretrain news.txt --dev dev.txt --time-limit 30m -o my-language

    Interrupted, the same command goes on where it stopped. The folder opens with transformers and pocketlm.load_model.
    """
    need_torch("pretrain")
    from pocketlm.pretraining import Pretraining, pretrain

    limit = None if time_limit == "none" else time_limit
    wish = Pretraining(
        text, output, kind, base, vocabulary, adapter, pieces, width, blocks, dev, column, limit, epochs, rate, seed,
        work, force,
    )  # fmt: skip
    with nullcontext(None) if quiet or json_output else Bars() as progress:
        report = pretrain(wish, progress)
    if json_output:
        print_json(report)
    elif not quiet:
        _summarize(report)
    return 0


def _summarize(report: Mapping[str, Any]) -> None:
    Console(highlight=False).print(_table(report))
    out = console()
    for line in (*report["data"]["notes"], *report["notes"]):
        out.print(line, markup=False, soft_wrap=True)
    if report["kind"] == "masked":
        out.print(
            "pseudo-likelihood sees both sides of a hidden word: it compares encoders, not models that write",
            markup=False, soft_wrap=True,
        )  # fmt: skip
    out.print(
        f"wrote {report['output']}: {report['parameters']:,} weights, {format_size(report['size_bytes'])}, "
        f"{report['epochs']:.1f} epochs in {format_duration(report['seconds'])}",
        style="bold", markup=False, soft_wrap=True,
    )  # fmt: skip


def _table(report: Mapping[str, Any]) -> Table:
    """How dev is read, the best first."""
    table = Table(box=None, pad_edge=False)
    for name in ("on dev", report["metric"], "95 % interval"):
        table.add_column(name, justify="left" if name == "on dev" else "right")
    for name, one in sorted(report["dev"].items(), key=lambda item: item[1]["value"]):
        interval = f"{one['low']:.3f} to {one['high']:.3f}" if "low" in one else ""
        table.add_row(name, f"{one['value']:.3f}", interval)
    return table
