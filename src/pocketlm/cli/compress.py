"""pocketlm compress: a pretrained model and a recipe or a size in, a smaller model's folder out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pocketlm.cli.show import Bars, console, need_torch, print_json
from pocketlm.errors import RecipeError
from pocketlm.units import format_duration, format_size, parse_latency, parse_size


def command(
    model: Annotated[
        str, typer.Argument(help="A transformers or compressed folder, a hub name, pypi:PACKAGE, a .keras file.")
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="The folder to write.")],
    recipe: Annotated[str | None, typer.Option(help="YAML file with passes in order.")] = None,
    calibration: Annotated[
        str | None, typer.Option(help="UTF-8 text (for speech: WAV files) that layers' inputs are measured on.")
    ] = None,
    target_size: Annotated[
        str | None, typer.Option(help='Largest folder, such as "60MB": makes a recipe that fits it.')
    ] = None,
    target_time: Annotated[
        str | None,
        typer.Option(help='Longest forward pass over one stretch, such as "30ms", by torch on this machine.'),
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Stretches (or lines) of the calibration text to read.")] = 128,
    length: Annotated[int, typer.Option(min=2, help="Tokens of each.")] = 512,
    test: Annotated[
        str | None, typer.Option(help="Text for the audit only: how much of it calibration has seen.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Model that distill, qat and corrections learn from; without, MODEL as given.")
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="Python file that registers a .keras file's own layers. It is run.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes for layers that do not depend on each other.")] = 1,
    ray: Annotated[str | None, typer.Option(help='Ray cluster to spread them over: its address, or "local".')] = None,
    disk: Annotated[str | None, typer.Option(help="Folder for activations that should not stay in memory.")] = None,
    allow_no_effect: Annotated[
        bool, typer.Option("--allow-no-effect", help="Accept a pass that changes or saves nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder this command wrote.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> int:
    """Compress a pretrained model by a recipe, or to a size, and write it as a folder.

    Example: pocketlm compress path/to/model --recipe recipe.yaml --calibration text.txt -o small

    The folder opens again with pocketlm.load_model; record.json in it says what became of every layer.
    """
    if sum(one is not None for one in (recipe, target_size, target_time)) != 1:
        raise RecipeError("give one of --recipe FILE, --target-size SIZE and --target-time TIME")
    if teacher is not None and recipe is None:
        raise RecipeError("--teacher goes with --recipe: a target is searched for the model as it is given")
    need_torch("compress")
    from pocketlm.model.folder import check_output
    from pocketlm.recipe.job import CompressJob, run_job

    check_output(Path(output), force)  # at once, before the work
    job = CompressJob(
        model, Path(output), recipe, None if target_size is None else parse_size(target_size),
        None if target_time is None else round(1000 * parse_latency(target_time)), calibration, windows, length, test,
        teacher, seed, workers, ray, None if disk is None else Path(disk), allow_no_effect, force, code,
    )  # fmt: skip
    bars = nullcontext(None) if quiet or json_output else Bars()
    with bars as progress:
        report = run_job(job, progress)
    if json_output:
        print_json(report)
    elif not quiet:
        _summarize(report)
    return 0


def _summarize(report: Mapping[str, Any]) -> None:
    out, table = console(), Table(box=None, pad_edge=False)
    for name in ("pass", "layers", "size before", "size after", "time", "memory"):
        table.add_column(name, justify="left" if name == "pass" else "right")
    for one in report["records"]:
        changed = [layer for layer in one["layers"] if layer["done"] != "left"]
        table.add_row(
            one["pass"], f"{len(changed)} of {len(one['layers'])}", format_size(one["size_bytes"][0]),
            format_size(one["size_bytes"][1]), format_duration(one["seconds"]), format_size(one["peak_memory_bytes"]),
        )  # fmt: skip
    out.print(table)
    for one in report["records"]:
        for note in one["notes"]:
            out.print(f"{one['pass']}: {note}", markup=False, soft_wrap=True)
    for line in report["notes"]:
        out.print(line, markup=False, soft_wrap=True)
    for line in report["audit"].get("notes", ()):
        out.print(f"calibration: {line}", markup=False, soft_wrap=True)
    before, after = report["loss"]
    if before is not None:
        out.print(f"loss on calibration: {before:.4f} before, {after:.4f} after", markup=False, soft_wrap=True)
    out.print(
        f"wrote {report['output']}: {format_size(report['size_bytes'])}", style="bold", markup=False, soft_wrap=True
    )
