"""One self-contained page that shows a result: no network, no other file, nothing of the data unescaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from pocketlm.pocket.format import write_atomically
from pocketlm.report import commands, plots, sections, summary
from pocketlm.report.markup import Markup, element, escape, inline_json, join


def render(result: Mapping[str, Any]) -> str:
    """The page for a result as `fit` describes it (schema 1). Parts that are absent or null are left out."""
    script = _file("page.js")
    body = (
        summary.header(result),
        _contents(),
        summary.tiles(result),
        plots.section(result),
        sections.candidates(result),
        sections.passes(result),
        sections.int8(result),
        sections.labels(result),
        sections.confusion(result),
        sections.lost(result),
        commands.section(result),
        sections.about_data(result),
        sections.environment(result),
    )
    return Template(_file("page.html")).substitute(
        title=escape(f"{summary.title(result)} · PocketLM report"),
        # only this script may run, whatever the data holds
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=_file("page.css"),
        script=script,
        body=join((part for part in body if part), "\n"),
        json=inline_json(result),
    )


def write_report(result: Mapping[str, Any], path: Path | str, *, replace: bool) -> Path:
    """Write the page whole or not at all; the path. Raises OutputError where it exists and `replace` is false."""
    target = Path(path)
    write_atomically(target, render(result).encode(), replace=replace)
    return target
