"""pocketlm export: a model's folder in, a graph that onnxruntime runs out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pocketlm.cli.show import print_json, say
from pocketlm.errors import MissingExtraError, OutputError, UserError
from pocketlm.units import format_size


def command(
    model: Annotated[str, typer.Argument(help="A folder that compress wrote, a transformers folder, a hub name.")],
    output: Annotated[str, typer.Option("-o", "--output", help="The file to write, such as model.onnx.")],
    allow_no_effect: Annotated[
        bool, typer.Option("--allow-no-effect", help="Accept 8-bit layers that are slower than float ones here.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Write a model as an ONNX graph, whatever forms its weights have, and prove that it answers as torch does.

    Example: pocketlm export small -o small.onnx

    Layers with 8-bit inputs are timed beside float ones on this machine; slower ones are a failure.
    """
    path = Path(output)
    if path.suffix != ".onnx":
        raise UserError(f"output {output}: an ONNX graph is written; give a name that ends in .onnx")
    if path.is_dir() or (path.exists() and not force):
        raise OutputError(f"{output}: {'is a folder' if path.is_dir() else 'exists already; --force replaces it'}")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("export", "build") from None
    from pocketlm.export.compressed import export_onnx
    from pocketlm.model.pretrained import load_model

    found = export_onnx(load_model(model), path, allow_no_effect=allow_no_effect)
    if json_output:
        print_json(
            {
                "output": output, "size_bytes": found.size_bytes, "difference": found.difference,
                "integer_products": found.integer_products, "time_ratio": found.time_ratio,
            }
        )  # fmt: skip
        return 0
    if found.time_ratio is not None:
        say(f"{found.integer_products} 8-bit layers take {found.time_ratio:.2f} times float's time on this machine")
    say(f"wrote {output}: {format_size(found.size_bytes)}; answers differ from torch's by {found.difference:.1g}")
    return 0
