"""pocketlm inspect: what is in a Pocket."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pocketlm.cli.show import print_json, say
from pocketlm.units import format_size


def command(
    pocket: Annotated[str, typer.Argument(help="The Pocket.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print the manifest on stdout.")] = False,
) -> int:
    """Verify a Pocket and say what it holds: task, labels, figures, recipe, members."""
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
        shown = ", ".join(output["labels"][:8]) + (", …" if len(output["labels"]) > 8 else "")
        say(f"  predicts {output['name']} ({output['kind']}, {len(output['labels'])}): {shown}")
    test = manifest.get("quality", {}).get("test", {})
    for name, one in test.get("metrics", {}).items():
        say(f"  {name} {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f}) on {test['n']:,} test rows")
    _provenance(manifest["provenance"])
    for name, about in manifest["members"].items():
        say(f"  member {name}: {format_size(about['bytes'])}")
    return 0


def _provenance(about: dict[str, Any]) -> None:
    teacher = about["teacher"]["name"] if about["teacher"] else "none"
    say(f"  data {about['data']['source']}, teacher {teacher}, seed {about['seed']}")
    for step in about["recipe"]:
        settings = ", ".join(f"{key}={value}" for key, value in step.items() if key != "pass")
        say(f"  pass {step['pass']}: {settings}")
