"""One self-contained page that shows a result: no network, no other file, nothing of the data unescaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from pocketlm.pocket.format import write_atomically
from pocketlm.report import commands, search, sections, summary
from pocketlm.report.markup import Markup, element, escape, inline_json, join

# (id of the section's heading, its name in the contents, what makes it), in the order of the page
SECTIONS: tuple[tuple[str, str, Callable[[Mapping[str, Any]], Markup]], ...] = (
    ("key", "Key figures", summary.tiles),
    ("candidates", "Candidates", sections.candidates),
    ("search", "Search", search.section),
    ("passes", "Passes", sections.passes),
    ("int8", "int8", sections.int8),
    ("labels", "Quality", sections.labels),
    ("confusion", "Confusions", sections.confusion),
    ("lost", "Lost examples", sections.lost),
    ("run", "Run it", commands.section),
    ("data", "Data", sections.about_data),
    ("how", "How taken", sections.environment),
)


def render(result: Mapping[str, Any]) -> str:
    """The page for a result as `fit` describes it (schema 1). Parts that are absent or null are left out."""
    made = [(place, name, section(result)) for place, name, section in SECTIONS]
    links = (element("a", name, href=f"#{place}") for place, name, section in made if section)
    contents = element("nav", *links, aria_label="Contents")
    body = join((summary.header(result), contents, *(section for *_, section in made)), "\n")
    return page(f"{summary.title(result)} · PocketLM report", body, result)


def page(title: str, body: Markup, result: Mapping[str, Any]) -> str:
    """A self-contained page with this body; `result` stands in it as JSON."""
    script = _file("page.js")
    return Template(_file("page.html")).substitute(
        title=escape(title),
        # only this script may run, whatever the data holds
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=_file("page.css"),
        script=script,
        body=body,
        json=inline_json(result),
    )


def write_report(result: Mapping[str, Any], path: Path, *, replace: bool) -> Path:
    """Write the page whole or not at all; the path. Raises OutputError where it exists and `replace` is false."""
    write_atomically(path, render(result).encode(), replace=replace)
    return path


def _file(name: str) -> str:
    """A file of this package."""
    return resources.files("pocketlm.report").joinpath(name).read_text("utf-8")
