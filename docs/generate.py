"""Write the reference pages from the code, or check that they are as the code says: generate.py [--check]."""

from __future__ import annotations

import sys
from dataclasses import fields
from inspect import getdoc
from pathlib import Path

import typer

from pocketlm.cli.main import app
from pocketlm.compress.passes import PASSES
from pocketlm.tasks.table import TASKS

REFERENCE = Path(__file__).parent / "reference"


def cli_page() -> str:
    """Every command with its arguments and options."""
    group = typer.main.get_command(app)
    parts = ["# Command line", "", "Written by `docs/generate.py` from the code.", "", group.epilog or ""]
    for name, command in group.commands.items():
        parts += ["", f"## pocketlm {name}", "", (command.help or "").replace("\b", "").strip(), ""]
        parts += ["| option | meaning |", "| --- | --- |"]
        for option in command.params:
            names = (
                ", ".join(f"`{one}`" for one in option.opts)
                if option.opts[0].startswith("-")
                else f"`{option.name.upper()}`"
            )
            parts.append(f"| {names} | {(getattr(option, 'help', None) or '').strip()} |")
    return "\n".join(parts) + "\n"


def passes_page() -> str:
    """Every pass with its settings."""
    parts = ["# Passes", "", "Written by `docs/generate.py` from the code.", ""]
    for name in PASSES:
        kind = PASSES[name]
        module = sys.modules[kind.__module__]
        settings = ", ".join(f"`{one.name}={one.default!r}`" for one in fields(kind))
        parts += [f"## {name}", "", getdoc(module) or "", "", getdoc(kind) or "", "", f"Settings: {settings}", ""]
    return "\n".join(parts)


def tasks_page() -> str:
    """Every task with its metrics."""
    parts = ["# Tasks", "", "Written by `docs/generate.py` from the code.", ""]
    for name in TASKS:
        task = TASKS[name]
        metrics = ", ".join(f"`{metric}`" for metric in task.higher_is_better)
        parts += [
            f"## {name}",
            "",
            getdoc(type(task)) or "",
            "",
            f"Main metric: `{task.main_metric}`. Metrics: {metrics}.",
            "",
        ]
    return "\n".join(parts)


PAGES = {"cli.md": cli_page, "passes.md": passes_page, "tasks.md": tasks_page}


def main() -> int:
    """Write the pages; with --check write nothing and return 1 where one is stale."""
    check, stale = "--check" in sys.argv, []
    REFERENCE.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if check and (not path.is_file() or path.read_text("utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, "utf-8")
    if stale:
        sys.stderr.write(f"stale: docs/reference/{', docs/reference/'.join(stale)}; run: make docs\n")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
