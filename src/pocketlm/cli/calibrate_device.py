"""pocketlm calibrate-device: what this machine is worth, written to a file that other machines can fit for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pocketlm.cli.show import console, print_json, say
from pocketlm.units import format_size


def command(
    output: Annotated[str, typer.Argument(help="The YAML file to write.")] = "device.yaml",
    name: Annotated[str, typer.Option(help="What to call the machine; by default its processor.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Time small Pockets of every family on this machine, and write what calls, words and products cost here.

    It takes some ten seconds on a laptop and needs the base install alone. Elsewhere, pocketlm fit --device FILE makes
    a Pocket for this machine, its latency and memory estimated; here pocketlm bench measures it.

    Example: pocketlm calibrate-device board.yaml --name my-board
    """
    from pocketlm.measure.calibrate import calibrate
    from pocketlm.pocket.format import check_output, write_atomically

    check_output(Path(output), replace=force)
    with console().status("timing building blocks"):
        device = calibrate(name)
    write_atomically(Path(output), device.to_yaml().encode(), replace=force)
    if json_output:
        print_json({**vars(device), "microseconds": dict(device.microseconds)})
        return 0
    say(f"{device.name}: a call takes {device.microseconds['call']:.3g} µs, a text of nothing else")
    int8, float32 = (2e-3 / device.microseconds[unit] for unit in ("int8", "float32"))
    say(f"one thread does {int8:.3g} GOP/s of int8 products, {float32:.3g} GFLOP/s of float32")
    say(
        f"a process with ONNX Runtime takes {format_size(device.runtime_bytes)}, one for n-grams alone "
        f"{format_size(device.light_bytes)}; estimates are off by {device.error:.0%} (median)"
    )
    say(f"wrote {output}")
    return 0
