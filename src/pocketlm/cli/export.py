"""pocketlm export: a model's folder in; a Pocket, or a file that onnxruntime, llama.cpp or LiteRT runs, out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pocketlm.cli.show import need_torch, print_json, say
from pocketlm.errors import OutputError, UserError
from pocketlm.units import format_size


def command(
    model: Annotated[str, typer.Argument(help="A compressed or transformers folder, a hub name, a .keras file.")],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="What to write: .pocket, .onnx, .gguf for llama.cpp, .tflite for LiteRT, a folder/ for transformers.",
        ),
    ],
    bits: Annotated[
        int | None, typer.Option(help="Of a Pocket's weights that are not quantized yet: 4, 8, 16 or 32 (as they are).")
    ] = None,
    group_size: Annotated[
        int | None, typer.Option(help="Columns that share a scale at 4 and 8 bits; 64 without.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="UTF-8 text by which 4 and 8 bits are fitted; without, weights are rounded.")
    ] = None,
    allow_no_effect: Annotated[
        bool, typer.Option("--allow-no-effect", help="Accept 8-bit layers that are slower than float ones here.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Write a model as a Pocket that writes, as ONNX or as GGUF, and prove that it answers as torch does.

    Examples: pocketlm export small -o small.pocket --bits 4; pocketlm export small -o small.onnx

    A name that ends in .pocket makes a file that `pocketlm run` writes text with, of a causal language model or an
    encoder-decoder; one that ends in .onnx a plain graph, whatever forms the weights have.

    Layers with 8-bit inputs are timed beside float ones on this machine; slower ones are a failure. A name that ends in
    .gguf makes a file that llama.cpp loads, of a Llama, Mistral or Qwen2 that the pass ggml-quantize made or none. Of a
    model that came from Keras, one in .tflite makes a file that LiteRT runs, one in .pocket a Pocket. One that ends in
    / makes a folder that transformers opens, of a model whose weights are plain, such as a trimmed one.
    """
    path = Path(output)
    write = _folder if output.endswith("/") else WRITERS.get(path.suffix)
    if write is None:
        raise UserError(
            f"output {output}: what is written is by its ending; give a name in {', '.join(WRITERS)} or a folder/"
        )
    settings = {"bits": bits, "group_size": group_size, "calibration": calibration}
    packing = {key: value for key, value in settings.items() if value is not None}
    if packing and path.suffix != ".pocket":
        _refuse_packing(packing, output)
    if path.is_dir() or (path.exists() and not force):
        raise OutputError(f"{output}: {'is a folder' if path.is_dir() else 'exists already; --force replaces it'}")
    need_torch("export")
    from pocketlm.model.pretrained import load_model

    loaded = load_model(model)
    if packing and loaded.spec.model_type == "keras":
        _refuse_packing(packing, output)
    found, lines = write(loaded, path, {**packing, "allow_no_effect": allow_no_effect})
    if json_output:
        print_json({"output": output, **found})
        return 0
    for line in lines:
        say(line)
    return 0


def _refuse_packing(packing: dict[str, Any], output: str) -> None:
    named = f"--{next(iter(packing)).replace('_', '-')}"
    raise UserError(f"{named} is for a Pocket that writes text; {output} is none: use pocketlm compress before")


def _pocket(model: Any, path: Path, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The Pocket written: what is so of it, and lines for people."""
    if model.spec.model_type == "keras":
        return _keras_pocket(model, path)
    from pocketlm.compress.calibration import read_calibration
    from pocketlm.export.generator import Packing, export_generator

    packing = {key: value for key, value in options.items() if key != "allow_no_effect"}
    if "calibration" in packing:
        packing["calibration"] = read_calibration(packing["calibration"], model)
    found = export_generator(model, path, Packing(**packing), force=True)
    other = found.difference.rounded
    lines = [
        f"wrote {path}: {format_size(found.size_bytes)}, {found.bits_per_weight:.2f} bits a weight; does "
        f"{found.facts['task']}, {found.facts['context']:,} tokens of context",
        f"logits differ from torch's with these weights by {found.difference.plain:.1g}"
        + (f", with inputs rounded to 8 bits by {other:.1g}" if other != found.difference.plain else ""),
    ]
    if found.facts["ignored"]:
        lines.append(f"its generation config asks for more than the runtime does: {', '.join(found.facts['ignored'])}")
    about = {"size_bytes": found.size_bytes, "bits_per_weight": found.bits_per_weight, **found.facts}
    return {**about, "difference": vars(found.difference)}, lines


def _keras_pocket(model: Any, path: Path) -> tuple[dict[str, Any], list[str]]:
    """The Pocket of a model that came from Keras written: what is so of it, and a line for people."""
    from pocketlm.export.keras_pocket import export_pocket

    found = export_pocket(model, path, force=True)
    line = f"wrote {path}: {format_size(found.size_bytes)}; answers differ from torch's by {found.difference:.1g}"
    return {"size_bytes": found.size_bytes, "difference": found.difference}, [line]


def _onnx(model: Any, path: Path, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The graph written: what is so of it, and lines for people."""
    from pocketlm.export.compressed import export_onnx

    found = export_onnx(model, path, allow_no_effect=options["allow_no_effect"])
    lines = [f"wrote {path}: {format_size(found.size_bytes)}; answers differ from torch's by {found.difference:.1g}"]
    if found.time_ratio is not None:
        timed = f"{found.integer_products} 8-bit layers take {found.time_ratio:.2f} times float's time on this machine"
        lines.insert(0, timed)
    facts = ("size_bytes", "difference", "integer_products", "time_ratio")
    return {name: getattr(found, name) for name in facts}, lines


def _gguf(model: Any, path: Path, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The file written: what is so of it, and a line for people."""
    from pocketlm.export.gguf import export_gguf

    found = export_gguf(model, path)
    types = ", ".join(f"{count} {name}" for name, count in found.types.items())
    line = f"wrote {path}: {format_size(found.size_bytes)}; tensors, as they decode to what torch runs: {types}"
    return {"size_bytes": found.size_bytes, "types": dict(found.types)}, [line]


def _folder(model: Any, path: Path, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The folder written: its size, and a line for people."""
    from pocketlm.export.transformers_folder import export_folder

    size = export_folder(model, path)
    return {"size_bytes": size}, [f"wrote {path}/: {format_size(size)}; transformers opens it, every tensor the same"]


def _litert(model: Any, path: Path, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The file written: what is so of it, and a line for people."""
    from pocketlm.export.litert import export_litert

    found = export_litert(model, path)
    held = f"{found.integers} matrices as 8-bit codes" + (f", {found.floats} as floats" if found.floats else "")
    line = (
        f"wrote {path}: {format_size(found.size_bytes)}; {held}; answers differ from torch's by {found.difference:.1g}"
    )
    return {name: getattr(found, name) for name in ("size_bytes", "difference", "integers", "floats")}, [line]


WRITERS = {".onnx": _onnx, ".gguf": _gguf, ".tflite": _litert, ".pocket": _pocket}
