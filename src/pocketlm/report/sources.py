"""Tables of other languages and sources that a model learnt from: how often they were heard, why they were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pocketlm.report.figures import ABSENT, count, figure, part, percent, rows
from pocketlm.report.markup import Markup, data
from pocketlm.report.tables import Cell, figure_cell, table

_KIN = ("words", "spelling", "typology", "meaning", "gain")


def sources_tables(found: Mapping[str, Any]) -> list[Markup]:
    """How sources were mixed, and how they were chosen; none where the data stood alone. found: of the data."""
    mixed = [one for one in rows(part(found, "also"), "sources") if isinstance(one, Mapping)]
    tried = [one for one in rows(part(found, "choice"), "sources") if isinstance(one, Mapping)]
    shown = []
    if mixed:
        body = [
            [
                _name(one),
                figure_cell(count(figure(one, "rows")), figure(one, "rows")),
                _figure(one, "repeats"),
                figure_cell(percent(figure(one, "share")), figure(one, "share")),
            ]
            for one in mixed
        ]
        shown.append(table("Sources", ("source", "rows", "times", "share"), body))
    if tried:
        body = [[_name(one), *(_figure(one, name) for name in _KIN), _chosen(one)] for one in tried]
        headings = ("source", "words shared", "spelling", "typology", "meaning", "held-out gain", "chosen")
        shown.append(table("Nearness of sources", headings, body))
    return shown


def _name(one: Mapping[str, Any]) -> Cell:
    return Cell(data(one.get("source")), heading=True)


def _figure(one: Mapping[str, Any], name: str) -> Cell:
    value = figure(one, name)
    return figure_cell(ABSENT if value is None else f"{value:.3g}", value)


def _chosen(one: Mapping[str, Any]) -> Cell:
    return Cell("yes" if one.get("chosen") else "")
