"""Write the reference pages from the code, or check that they are as the code says: generate.py [--check]."""

from __future__ import annotations

import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import getdoc
from pathlib import Path
from typing import Any

import typer

from pocketlm.augment.method import AUGMENTERS
from pocketlm.augment.sound import SOUND_METHODS
from pocketlm.cli.main import app
from pocketlm.compress.passes import PASSES
from pocketlm.job import Job
from pocketlm.knobs import KEY, QUIET, Choice
from pocketlm.labelling.strategies import STRATEGIES
from pocketlm.pocket import format as pocket_format
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.tables import Table
from pocketlm.tasks.table import TASKS
from pocketlm.units import format_size

REFERENCE = Path(__file__).parent / "reference"
# Text of the pages that is written by hand.
FRAMES = Path(__file__).parent / "frames"
# The options of fit say nothing of defaults themselves: a job file may have set them.
JOB = {one.name: one.default for one in fields(Job)}
WRITTEN = "Written by `docs/generate.py` from the code."


def cli_page() -> str:
    """Every command with its arguments and options."""
    group = typer.main.get_command(app)
    parts = ["# Command line", "", WRITTEN, "", group.epilog or ""]
    for name, command in commands_of(group):
        parts += ["", f"## pocketlm {name}", "", (command.help or "").replace("\b", "").strip(), ""]
        parts += ["| option | meaning | default |", "| --- | --- | --- |"]
        for option in command.params:
            names = (
                ", ".join(f"`{one}`" for one in option.opts)
                if option.opts[0].startswith("-")
                else f"`{option.name.upper()}`"
            )
            default = JOB.get(option.name) if name == "fit" else option.default
            shown = "" if default in (None, False, ()) or option.required else f"`{default}`"
            parts.append(f"| {names} | {(getattr(option, 'help', None) or '').strip()} | {shown} |")
    return "\n".join(parts) + "\n"


def commands_of(group: Any, before: str = "") -> list[tuple[str, Any]]:
    """The group's commands and those of groups in it, each by all its words."""
    found = []
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found += [(before + name, command)] if inner is None else commands_of(command, f"{before}{name} ")
    return found


# What a table of passes is for, above its sections.
PASSES_OF = (
    (
        "Students",
        "Steps of the recipes `pocketlm fit` tries: the first builds a small model, the others shrink or teach it.",
        STUDENT_PASSES,
    ),
    (
        "Compression",
        "Steps of the recipes of `pocketlm compress`. Some settings take a mapping from layer patterns to values.",
        PASSES,
    ),
)


def shown(setting: Any) -> str:
    """A setting with its default."""
    default = setting.default if setting.default_factory is MISSING else setting.default_factory()
    return f"`{setting.name}={default!r}`{varied(setting)}"


def varied(setting: Any) -> str:
    """What a search lets a setting be, as far as its pass says so."""
    allowed = setting.metadata.get(KEY)
    if allowed is None:
        return ""
    if isinstance(allowed, Choice):
        said = ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in allowed.values)
    else:
        said = f"{allowed.low:g} to {allowed.high:g}"
    return f" (searched: {said}{', where set' if setting.metadata.get(QUIET) else ''})"


def passes_page() -> str:
    """Every pass with its settings: those that make students, and those that compress a model."""
    parts = ["# Passes", "", WRITTEN, ""]
    for title, about, table in PASSES_OF:
        parts += [f"## {title}", "", about, "", *entries(table)]
    return "\n".join(parts)


def augmenters_page() -> str:
    """Every augmentation method with its settings."""
    about = "Ways to make training rows of training rows: see [Augmentation](../augmentation.md)."
    parts = ["# Augmentation methods", "", WRITTEN, "", about, "", *entries(AUGMENTERS), "## Of sound", ""]
    for name, method in SOUND_METHODS.items():
        settings = ", ".join(shown(one) for one in fields(method))
        parts += [f"### {name}, of sound", "", getdoc(method) or "", "", f"Settings: {settings}", ""]
    return "\n".join(parts)


def strategies_page() -> str:
    """Every way of choosing rows to label."""
    about = "Ways to choose the rows that a person labels next: see [Labelling](../labelling.md)."
    parts = ["# Labelling strategies", "", WRITTEN, "", about, ""]
    for name, strategy in STRATEGIES.items():
        parts += [f"### {name}", "", getdoc(strategy) or "", ""]
    return "\n".join(parts)


def entries(table: Table) -> list[str]:
    """Lines on every entry of a table: what its module and its class say, and its settings."""
    parts = []
    for name in table:
        kind = table[name]
        module = sys.modules[kind.__module__]
        # A pass may take the settings of another one, which say what they are there.
        inherited = [getdoc(base) or "" for base in kind.__mro__[1:-1] if fields_of(base)]
        settings = ", ".join(shown(one) for one in fields(kind))
        texts = [getdoc(module) or "", getdoc(kind) or "", *inherited, f"Settings: {settings}"]
        parts += [f"### {name}", "", *(line for text in texts if text for line in (text, ""))]
    return parts


def fields_of(kind: type) -> tuple[Field[Any], ...]:
    """The settings of a class, none where it is no dataclass."""
    return fields(kind) if is_dataclass(kind) else ()


def tasks_page() -> str:
    """Every task with its metrics."""
    parts = ["# Tasks", "", WRITTEN, ""]
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


def formats_page() -> str:
    """What a Pocket holds: the frame from the code, the members by hand."""
    limits = (
        f"Schema: `{pocket_format.SCHEMA}`. Manifest: `{pocket_format.MANIFEST}`. A file, and what it unpacks to, has "
        f"at most {format_size(pocket_format.LARGEST_BYTES)}; beyond {format_size(pocket_format.HARMLESS_BYTES)} it "
        f"may not unpack to more than {pocket_format.LARGEST_RATIO} times its size. A reader refuses a newer schema."
    )
    about = getdoc(pocket_format) or ""
    return "\n".join(
        ["# The Pocket file", "", WRITTEN, "", about, "", limits, "", (FRAMES / "formats.md").read_text("utf-8")]
    )


PAGES = {
    "cli.md": cli_page, "passes.md": passes_page, "augmenters.md": augmenters_page,
    "strategies.md": strategies_page, "tasks.md": tasks_page, "formats.md": formats_page,
}  # fmt: skip


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
