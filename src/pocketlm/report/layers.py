"""The page of a model's layers: where its bytes are, and what the loss feels of each method in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pocketlm.pocket.format import write_atomically
from pocketlm.report.axes import Axis, log_axis
from pocketlm.report.figures import count, figure, number, part, percent, rows, size
from pocketlm.report.html import page
from pocketlm.report.markup import Markup, data, element, escape, join
from pocketlm.report.tables import Cell, figure_cell, table

LEFT, TOP, TALL, GAP, STEP = 64, 18, 120, 34, 6
# Methods of the plot; their place is their colour.
DRAWN = ("grid 4 bits", "grid 2 bits", "low-rank 40 %", "prune 50 %")


def render_layers(result: Mapping[str, Any]) -> str:
    """The page for what `pocketlm inspect` found of a model: layers, each with bytes and losses by method."""
    layers = rows(result, "layers")
    name = str(result.get("model", ""))
    head = element(
        "p", f"{result.get('architecture', '')}, {size(result.get('size_bytes'))} of weights", class_="muted"
    )
    body = join(
        (
            element("header", element("p", "Layers", class_="kicker"), element("h1", data(name)), head),
            element("section", element("h2", "Where bytes and loss are"), _legend(), plot(layers, _unit(result))),
            element("section", element("h2", "Layers"), _layers(layers, _unit(result))),
            _blocks(part(result, "blocks")),
            _audit(part(result, "calibration")),
        ),
        "\n",
    )
    return page(f"{name} · layers", body, result)


def write_layers(result: Mapping[str, Any], path: Path, *, replace: bool) -> Path:
    """Write the page whole or not at all; the path. Raises OutputError where it exists and `replace` is false."""
    write_atomically(path, render_layers(result).encode(), replace=replace)
    return path


def _unit(result: Mapping[str, Any]) -> str:
    return str(result.get("unit", ""))


def _legend() -> Markup:
    keys = [
        element("li", element("svg", element("circle", cx=6, cy=6, r=4, class_=f"family-{place}", style=_fill(place)),
        width=12, height=12), f" {name}") for place, name in enumerate(DRAWN)
    ]  # fmt: skip
    return element("ul", *keys, class_="legend")


def _fill(place: int) -> str:
    return f"fill: var(--family-{place})"


def plot(layers: Sequence[Mapping[str, Any]], unit: str) -> Markup:
    """Two panels over the layers in order: bytes as bars from zero, losses of methods as dots on a log scale."""
    width = LEFT + STEP * max(1, len(layers)) + 8
    bottom = TOP + TALL
    most = max((figure(one, "bytes") or 0.0 for one in layers), default=1.0) or 1.0
    across = Axis(0.0, most, bottom, TOP)
    parts = [element("text", "bytes stored", class_="axis", x=0, y=12)]
    parts += _ticks([(tick, size(tick)) for tick in across.ticks(3)], across, width)
    for place, one in enumerate(layers):
        top = across.at(figure(one, "bytes") or 0.0)
        tip = element("title", f"{one.get('name')}: {size(one.get('bytes'))}, {percent(one.get('share'))}")
        x = LEFT + STEP * place
        parts.append(element("rect", tip, class_="bar made", x=x, y=top, width=STEP - 1, height=bottom - top))
    losses = [loss for one in layers for name in DRAWN if (loss := figure(one, "losses", name)) and loss > 0]
    height = bottom + 6
    if losses:
        height = bottom + GAP + TALL + 6
        parts += _dots(layers, log_axis(losses, bottom + GAP + TALL, bottom + GAP), width, unit)
    label = f"Bytes and predicted losses of {len(layers)} layers in order; the table below has all figures."
    drawn = element(
        "svg", *parts, class_="plot", viewBox=f"0 0 {width} {height}", role="img", aria_label=label,
        style=f"max-width: none; width: {max(600, width)}px",
    )  # fmt: skip
    return element("div", drawn, class_="box", tabindex="0", role="region", aria_label="Plot of the layers")


def _ticks(marks: Sequence[tuple[float, str]], axis: Axis, width: float) -> list[Markup]:
    found = []
    for value, text in marks:
        y = axis.at(value)
        found.append(element("line", class_="grid", x1=LEFT, x2=width, y1=y, y2=y))
        found.append(element("text", text, class_="tick", x=LEFT - 4, y=y + 4, text_anchor="end"))
    return found


def _dots(layers: Sequence[Mapping[str, Any]], axis: Axis, width: float, unit: str) -> list[Markup]:
    found = [element("text", f"predicted loss, {unit} (log scale)", class_="axis", x=0, y=axis.end - 10)]
    found += _ticks([(tick, f"{tick:.0e}") for tick in axis.ticks(4)], axis, width)
    for place, one in enumerate(layers):
        for number_, name in enumerate(DRAWN):
            loss = figure(one, "losses", name)
            if loss and loss > 0:
                tip = element("title", f"{one.get('name')}, {name}: {loss:.3g}")
                x = LEFT + STEP * place + STEP / 2
                found.append(element("circle", tip, cx=x, cy=axis.at(loss), r=2.4, style=_fill(number_)))
    return found


def _layers(layers: Sequence[Mapping[str, Any]], unit: str) -> Markup:
    methods = list(dict.fromkeys(name for one in layers for name in part(one, "losses")))
    body = []
    for one in layers:
        names = join((data(name) for name in one.get("names", ())), Markup("<br>"))
        line = [
            Cell(names, heading=True), Cell(one.get("kind", "")), Cell(" × ".join(map(str, one.get("shape", ())))),
            figure_cell(count(one.get("parameters")), one.get("parameters")),
            figure_cell(size(one.get("bytes")), one.get("bytes")),
            figure_cell(percent(one.get("share")), one.get("share")),
        ]  # fmt: skip
        body.append([*line, *(_loss(figure(one, "losses", name)) for name in methods)])
    headings = ("layer", "kind", "shape", "parameters", "bytes", "share", *methods)
    return table(f"Every matrix once; losses in {unit}, as predicted for it alone", headings, body, tall=True)


def _loss(value: float | None) -> Cell:
    return figure_cell("" if value is None else f"{value:.2g}", value)


def _blocks(blocks: Mapping[str, Any]) -> Markup:
    body = [[Cell(data(name), heading=True), _loss(number(loss))] for name, loss in blocks.items()]
    made = table("The rise of the loss without each block, measured", ("block", "loss"), body)
    return element("section", element("h2", "Without a block"), made) if body else Markup("")


def _audit(about: Mapping[str, Any]) -> Markup:
    if not about:
        return Markup("")
    facts = [
        element("li", f"{key}: {value}") for key, value in about.items() if not isinstance(value, Mapping | list)
    ]  # fmt: skip
    said = [element("li", escape(line), class_="bad") for line in rows(about, "notes")]
    return element("section", element("h2", "Calibration"), element("ul", *said, *facts))
