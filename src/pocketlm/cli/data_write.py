"""pocketlm data write: write a data set out as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pocketlm.cli.show import console, print_json
from pocketlm.errors import DataError


def command(
    source: Annotated[str, typer.Argument(help="smart-home:LANG, a file, a folder or a hub data set.")],
    output: Annotated[str | None, typer.Option("-o", "--output", help="File to write: .jsonl, .csv or .tsv.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split: train, dev or test.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print counts and notes as JSON on stdout.")] = False,
) -> int:
    """Write a data set's rows to one file; each row says its split."""
    from pocketlm.data.source import load, write_rows

    found = load(source, seed=seed)
    if split is not None and split not in found.splits:
        raise DataError(f"{source}: has no split {split!r}; there is {', '.join(found.splits)}")
    chosen = {name: rows for name, rows in found.splits.items() if split in (None, name)}
    if output is not None:
        write_rows(
            [{**row, "split": name} for name, rows in chosen.items() for row in rows], Path(output), replace=force
        )
    counts = {name: len(rows) for name, rows in chosen.items()}
    if json_output:
        print_json({"source": found.name, "rows": counts, "notes": list(found.notes), "output": output})
        return 0
    out = console()
    out.print(f"{found.name}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()), markup=False)
    for note in found.notes:
        out.print(f"  {note}", markup=False)
    return 0
