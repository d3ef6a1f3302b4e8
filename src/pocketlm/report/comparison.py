"""The page of a comparison: Pockets side by side on the same rows, and which differences are real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pocketlm.pocket.format import write_atomically
from pocketlm.report.figures import figure, interval, latency, metric_name, part, quality, rows, size
from pocketlm.report.html import page
from pocketlm.report.markup import Markup, data, element, join
from pocketlm.report.scatter import Mark, Scatter, legend, scatter
from pocketlm.report.sections import HOW_COSTS_ARE_TAKEN, environment
from pocketlm.report.tables import Cell, figure_cell, table, with_recipe


def render_comparison(found: Mapping[str, Any]) -> str:
    """The page for a comparison as `Comparison.to_json` tells it."""
    names = [str(one["name"]) for one in rows(found, "systems")]
    about = f"{found['task']} · {found['n']:,} rows of {found['data']}"
    header = element(
        "header",
        element("p", "PocketLM comparison", class_="kicker"),
        element("h1", data(" · ".join(names)), dir="auto"),
        element("p", data(about), class_="muted"),
        element("ul", *(element("li", data(_sentence(found, *pair))) for pair in _pairs(found)), class_="facts"),
    )
    parts = (
        header,
        _planes(found),
        _systems(found),
        _differences(found),
        _classes(found),
        environment(found, HOW_COSTS_ARE_TAKEN),
    )
    return page(f"{' · '.join(names)} · PocketLM comparison", join(parts, "\n"), found)


def write_comparison(found: Mapping[str, Any], path: Path, *, replace: bool) -> Path:
    """Write the page whole or not at all; the path. Raises OutputError where it exists and `replace` is false."""
    write_atomically(path, render_comparison(found).encode(), replace=replace)
    return path


def _pairs(found: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every system but the first, with its difference from it."""
    return list(zip(rows(found, "systems")[1:], rows(found, "differences"), strict=True))


def _sentence(found: Mapping[str, Any], other: Mapping[str, Any], apart: Mapping[str, Any]) -> str:
    first, metric = rows(found, "systems")[0]["name"], str(found["main_metric"])
    gain = part(apart, "gain")
    more = f"{gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
    sure = "the difference is real" if apart["real"] else "no sure difference"
    return f"{first} has {more} {metric_name(metric)} over {other['name']}: {sure}"


def _planes(found: Mapping[str, Any]) -> Markup:
    metric, systems = str(found["main_metric"]), rows(found, "systems")
    shown: tuple[tuple[str, str, str, Callable[[object], str]], ...] = (
        ("Size and quality", "size_bytes", "whole file (log scale)", size),
        ("Latency and quality", "latency_p50_ms", "p50, one text on one thread (log scale)", latency),
    )
    drawn = []
    for heading, key, axis, write in shown:
        marks = []
        for place, one in enumerate(systems):
            reached, cost = figure(one, "scores", "metrics", metric, "value"), figure(one, key)
            if reached is not None and cost:
                details = (f"{write(cost)}", f"{metric_name(metric)} {quality(metric, reached)}")
                marks.append(Mark(str(one["name"]), cost, reached, place, details, chosen=place == 0))
        plot = Scatter(heading, axis, metric_name(metric), write, tuple(marks), metric=metric)
        drawn.append(element("figure", element("figcaption", heading), scatter(plot), class_="tipped"))
    key = legend([str(one["name"]) for one in systems], teacher=False, missed=False, chosen="compared with")
    return element("section", element("h2", "Side by side", id="planes"), key, element("div", *drawn, class_="pair"))


def _systems(found: Mapping[str, Any]) -> Markup:
    metric = str(found["main_metric"])
    lines = []
    for one in rows(found, "systems"):
        own = part(part(part(one, "scores"), "metrics"), metric)
        recipe, name = rows(one, "recipe"), str(one["name"])
        lines.append([
            Cell(with_recipe(name, recipe) if recipe else data(name), heading=True),
            figure_cell(quality(metric, own.get("value")), own.get("value")),
            Cell(interval(own.get("low"), own.get("high"), metric)),
            figure_cell(size(one["size_bytes"]), one["size_bytes"]),
            *(figure_cell(latency(one[key]), one[key]) for key in ("latency_p50_ms", "latency_p95_ms")),
            figure_cell(size(one["memory_bytes"]), one["memory_bytes"]),
        ])  # fmt: skip
    headings = ("Pocket", metric_name(metric), "95 % interval", "size", "p50", "p95", "memory")
    return element("section", table("Pockets on the same rows", headings, lines))


def _differences(found: Mapping[str, Any]) -> Markup:
    metric, first = str(found["main_metric"]), str(rows(found, "systems")[0]["name"])
    lines = []
    for other, apart in _pairs(found):
        gain, p_value = part(apart, "gain"), apart.get("p_value")
        lines.append([
            Cell(data(f"{first} less {other['name']}"), heading=True),
            figure_cell(f"{gain['value']:+.4f}", gain["value"]),
            Cell(f"{gain['low']:+.4f} to {gain['high']:+.4f}"),
            figure_cell("–" if apart.get("won") is None else f"{apart['won']:,} / {apart['lost']:,}", apart.get("won")),
            figure_cell("–" if p_value is None else f"{p_value:.2g}", p_value),
            Cell("real" if apart["real"] else "not sure"),
        ])  # fmt: skip
    headings = ("difference", metric_name(metric), "95 % interval", "rows won / lost", "McNemar p", "")
    note = "Intervals are paired bootstraps over rows; McNemar's test is exact, where a row is right or wrong."
    if (count := len(lines)) > 1:
        note += f" All {count} intervals hold together, and p-values are {count} times as large as of one alone."
    made = table("Differences on the same rows", headings, lines)
    return element("section", element("h2", "Differences", id="differences"), made, element("p", note, class_="muted"))


def _classes(found: Mapping[str, Any]) -> Markup:
    """F1 of each label, a column a Pocket."""
    systems = rows(found, "systems")
    tables = []
    for key, noun in (("per_class", "label"), ("per_slot", "slot")):
        own = [{row["label"]: row for row in rows(part(one, "scores"), key)} for one in systems]
        labels = list(dict.fromkeys(label for known in own for label in known))
        lines = [
            [
                Cell(data(label), heading=True),
                *(figure_cell(f"{known[label]['f1']:.3f}" if label in known else "–",
                              known[label]["f1"] if label in known else None) for known in own),
            ]
            for label in labels
        ]  # fmt: skip
        tables.append(table(f"F1 by {noun}", (noun, *(str(one["name"]) for one in systems)), lines, tall=True))
    made = join(tables)
    return element("section", element("h2", "By label", id="labels"), made) if made else Markup("")
