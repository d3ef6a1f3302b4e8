"""pocketlm inspect: what is in a Pocket, or in the layers of a pretrained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pocketlm.cli.show import Bars, need_torch, print_json, say
from pocketlm.errors import CalibrationError, UserError
from pocketlm.units import format_size

# Methods whose losses stand in the table on the terminal, under short names; JSON and the page have more.
SHOWN = {
    "grid 4 bits": "4 bits", "grid 3 bits": "3 bits", "grid 2 bits": "2 bits", "low-rank 40 %": "rank −40%",
    "prune 50 %": "prune 50%",
}  # fmt: skip


def command(
    path: Annotated[str, typer.Argument(help="A Pocket, a model's folder or .keras file, a hub name or pypi:PACKAGE.")],
    calibration: Annotated[
        str | None, typer.Option(help="UTF-8 text (for speech: WAV files) that a model's sensitivity is measured on.")
    ] = None,
    test: Annotated[str | None, typer.Option(help="Text whose overlap with the calibration is counted.")] = None,
    windows: Annotated[int, typer.Option(min=1, help="Stretches (or lines) of the calibration text to read.")] = 32,
    length: Annotated[int, typer.Option(min=2, help="Tokens of each.")] = 512,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Write a model's layers as an HTML page.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a page that exists.")] = False,
    cache: Annotated[
        str | None, typer.Option(help="Folder where measurements are kept; without, the user's cache folder.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> int:
    """Say what a Pocket holds, or where the bytes and the loss of a pretrained model are.

    Of a Pocket: every hash verified, task, labels, figures, recipe, members. Of a model: every weight matrix with its
    bytes and the predicted rise of the loss (without --calibration, the relative error) if it alone were quantized,
    factorized or pruned.
    """
    file = Path(path).is_file() and not path.endswith(".keras")
    if file or (path.endswith(".pocket") and not Path(path).is_dir()):
        for name, value in (("--calibration", calibration), ("--test", test), ("--output", output)):
            if value is not None:
                raise UserError(f"{name} is for a model; {path} is a Pocket")
        return _pocket(path, json_output)
    if test is not None and calibration is None:
        raise CalibrationError("--test needs --calibration FILE: overlap is counted between the two")
    found = _model(path, calibration, test, windows, length, None if cache is None else Path(cache), json_output)
    if output is not None:
        from pocketlm.report.layers import write_layers

        write_layers(found, Path(output), replace=force)
    if json_output:
        print_json(found)
    else:
        _say_layers(found)
        if output is not None:
            say(f"wrote {output}")
    return 0


def _model(
    path: str, calibration: str | None, test: str | None, windows: int, length: int, cache: Path | None, quiet: bool
) -> dict[str, Any]:
    """What is known of a model's layers, as plain data."""
    need_torch("inspect of a model")
    from pocketlm.compress.audit import audit
    from pocketlm.compress.calibration import read_calibration
    from pocketlm.compress.context import Context
    from pocketlm.compress.survey import survey
    from pocketlm.model.pretrained import load_model
    from pocketlm.progress import Silent

    model = load_model(path)
    folder = Path(path) if Path(path).is_dir() else None
    about: dict[str, Any] = {}
    with Bars() as bars:
        context = Context(progress=Silent() if quiet else bars)
        if calibration is None:
            table = survey(model, context=context, cache=cache, folder=folder)
        else:
            text = read_calibration(calibration, model, windows, length)
            table = survey(model, text, context, cache=cache, folder=folder)
            about = audit(model, text, test=None if test is None else _text(test), context=context)
    return {
        "model": path, "architecture": model.spec.architecture, "parameters": model.parameters,
        "size_bytes": table.bytes, "unit": table.unit, "layers": [_layer(one, table.bytes) for one in table.layers],
        "blocks": dict(table.drops), "calibration": about,
    }  # fmt: skip


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"test {path}: cannot be read as UTF-8 text: {error}") from None


def _layer(one: Any, whole: int) -> dict[str, Any]:
    """One matrix as plain data: losses by what it would become, of entropy coding the one nearest 3 bits."""
    simple = [option for option in one.options if len(option.losses) == 1 and option.kind != "entropy-coded"]
    coded = [option for option in one.options if option.kind == "entropy-coded"]
    simple += sorted(coded, key=lambda option: abs(option.settings["bits"] - 3))[:1]
    return {
        "name": one.name, "names": list(one.names), "kind": one.kind, "block": one.block, "shape": list(one.shape),
        "parameters": one.parameters, "bytes": one.bytes, "share": one.bytes / max(1, whole),
        "losses": {option.label: option.loss() for option in simple},
        "sizes": {option.label: option.bytes for option in simple},
    }  # fmt: skip


def _say_layers(found: Mapping[str, Any]) -> None:
    layers = found["layers"]
    say(
        f"{found['model']}: {found['architecture']}, {found['parameters']:,} parameters, "
        f"{format_size(found['size_bytes'])} of weights in {len(layers)} matrices; predicted {found['unit']}"
    )
    wide = max((len(one["name"]) for one in layers), default=0)
    head = "".join(f"{name:>11}" for name in SHOWN.values())
    say(f"{'layer':<{wide}}{'shape':>14}{'parameters':>13}{'bytes':>10}{'share':>8}{head}")
    for one in layers:
        losses = "".join(f"{one['losses'][key]:>11.2g}" if key in one["losses"] else " " * 11 for key in SHOWN)
        shape = "×".join(map(str, one["shape"]))
        say(
            f"{one['name']:<{wide}}{shape:>14}{one['parameters']:>13,}{format_size(one['bytes']):>10}"
            f"{one['share']:>8.1%}{losses}".rstrip()
        )
        for other in one["names"][1:]:
            say(f"  {other} is the same matrix")
    for block, loss in found["blocks"].items():
        say(f"without {block}: the loss rises by {loss:.3g} {found['unit']}, measured")
    about = found["calibration"]
    if about:
        facts = ", ".join(f"{key} {value}" for key, value in about.items() if isinstance(value, int | float))
        say(f"calibration: {facts}")
        for line in about["notes"]:
            say(f"calibration: {line}")


def _pocket(pocket: str, json_output: bool) -> int:
    """What a Pocket holds."""
    from pocketlm.pocket.format import read_pocket

    file = read_pocket(Path(pocket))
    if json_output:
        print_json({**file.manifest, "size_bytes": file.size_bytes})
        return 0
    manifest = file.manifest
    say(
        f"{pocket}: {manifest['task']}, {format_size(file.size_bytes)}, made by PocketLM {manifest['pocketlm']}; "
        "every hash matches"
    )
    for output in manifest["outputs"]:
        if output["kind"] == "text":
            say(f"  writes {output['name']}: {_writer(manifest, file.size_bytes)}")
            continue
        shown = ", ".join(output["labels"][:8]) + (", …" if len(output["labels"]) > 8 else "")
        count = output.get("width") or len(output["labels"])
        say(f"  predicts {output['name']} ({output['kind']}, {count})" + (f": {shown}" if shown else ""))
    if "unsure" in manifest:
        out_of_scope = manifest["unsure"].get("out_of_scope")
        kept = f", and never {out_of_scope}" if out_of_scope else ""
        say(f"  answers from a score of {manifest['unsure']['below']:g} on{kept}")
    test = manifest.get("quality", {}).get("test", {})
    for name, one in test.get("metrics", {}).items():
        say(f"  {name} {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f}) on {test['n']:,} test rows")
    _provenance(manifest["provenance"])
    for name, about in manifest["members"].items():
        say(f"  member {name}: {format_size(about['bytes'])}")
    return 0


def _writer(manifest: Mapping[str, Any], size: int) -> str:
    """What is so of a model that writes."""
    about = manifest["model"]
    cache = sum(8 * heads * width for heads, width in about["caches"])
    parameters = manifest["provenance"]["parameters"]
    return (
        f"{manifest['provenance']['architecture']} ({about['form']}), {parameters:,} parameters at "
        f"{8 * size / parameters:.2f} bits, {about['words']:,} tokens, context {about['context']:,}, "
        f"{format_size(cache)} of cache a token"
    )


def _provenance(about: dict[str, Any]) -> None:
    teacher = about["teacher"]["name"] if about["teacher"] else "none"
    say(f"  data {about['data']['source']}, teacher {teacher}, seed {about['seed']}")
    for step in about["recipe"]:
        settings = ", ".join(f"{key}={value}" for key, value in step.items() if key != "pass")
        say(f"  pass {step['pass']}: {settings}")
