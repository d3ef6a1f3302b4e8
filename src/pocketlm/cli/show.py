"""What the command line prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pocketlm.errors import MissingExtraError
from pocketlm.units import format_latency, format_size


def console() -> Console:
    """Where people read: stderr."""
    return Console(stderr=True, highlight=False)


def option(help_text: str, *names: str) -> Any:
    """An option whose default is said elsewhere, or is nothing."""
    return typer.Option(*names, help=help_text, show_default=False)


def given_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a command was told: without options left out, of which those that may be given again are empty lists."""
    return {name.rstrip("_"): value for name, value in params.items() if value not in (None, [], ())}


def add_row(table: Table, *cells: str) -> None:
    """A row of texts as they are: brackets in a label or a name are no markup."""
    table.add_row(*map(Text, cells))


def need_torch(what: str) -> None:
    """Raise MissingExtraError where the base install is all there is. what: needs more."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError(what, "build") from None


def say_notes(notes: Iterable[str]) -> None:
    """A line on stderr each."""
    for note in notes:
        console().print(f"note: {note}", markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """One line on stderr."""
    sys.stderr.write("error: " + " ".join(text.split()) + "\n")


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def say(text: str) -> None:
    """A line of the result on stdout."""
    sys.stdout.write(text + "\n")


class Bars:
    """Progress as bars on a terminal, and as lines where stderr is none."""

    def __init__(self) -> None:
        self._console = console()
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TimeRemainingColumn(),
            console=self._console, transient=True, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task: TaskID | None = None
        self._best = ""

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *stopped: object) -> None:
        self._bars.stop()

    def stage(self, name: str) -> None:
        """A new line, and a bar for it."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._console.print(name, style="bold", markup=False, soft_wrap=True)
        self._task = self._bars.add_task(name, total=None, note="")

    def step(self, done: int, total: int, note: str = "") -> None:
        """The bar moves; rich works out the rate and the time left."""
        if self._task is not None:
            best = f"best {self._best}" if self._best else ""
            self._bars.update(self._task, completed=done, total=total, note=" · ".join(filter(None, (note, best))))

    def best(self, text: str) -> None:
        """Said once in a line, and kept beside the bars."""
        if text != self._best:
            self._best = text
            self._console.print(f"  best so far: {text}", markup=False, soft_wrap=True)


def candidates_table(result: Mapping[str, Any]) -> Table:
    """All candidates with what they were measured to cost and reach; "*" is on the front."""
    table = Table(box=None, pad_edge=False)
    for name in ("candidate", result["main_metric"] + " (dev)", "size", "p50", "memory", ""):
        table.add_column(name, justify="left" if name in ("candidate", "") else "right")
    for one in result["candidates"]:
        mark = "chosen" if one["chosen"] else one["why"]
        if "quality" not in one:
            add_row(table, one["name"], "", "", "", "", mark)
            continue
        about = "~" if one.get("device") else ""  # an estimate for another machine
        add_row(
            table, one["name"] + " *" * bool(one.get("front")), f"{one['quality'][result['main_metric']]:.4f}",
            format_size(one["size_bytes"]),
            about + format_latency(one["latency_p50_ms"]), about + format_size(one["memory_bytes"]), mark,
        )  # fmt: skip
    signs = (
        ["* none is better in one figure and as good in the others"]
        if any(one.get("front") for one in result["candidates"])
        else []
    )
    there = next((one["device"] for one in result["candidates"] if one.get("device")), "")
    signs += [f"~ estimated for {there}"] if there else []
    table.caption, table.caption_justify = "; ".join(signs) or None, "left"
    return table
