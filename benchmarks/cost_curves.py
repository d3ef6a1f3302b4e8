"""How seconds of a fit grow, as an SVG file: with rows, and with the recipes that are tried (see costs.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pocketlm.report.axes import Axis, log_axis
from pocketlm.report.markup import Markup, element

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 280, 58, 16, 30, 46
COLOURS = {"whole fit": "#1b6ca8", "teacher": "#b3541e", "search": "#3a7d44"}

Line = Sequence[tuple[float, float]]


def drawing(runs: Sequence[Mapping[str, Any]]) -> Markup:
    """Both panels side by side. runs: of costs.py."""
    by_rows = sorted((one for one in runs if one["varied"] == "rows"), key=lambda one: int(one["rows"]))
    parts = {"whole fit": "seconds", "teacher": "teacher_seconds", "search": "search_seconds"}
    rows = {name: [(one["rows"], one[key]) for one in by_rows] for name, key in parts.items()}
    longest: Sequence[float] = max(
        (one["trial_ends"] for one in runs if one["varied"] == "trials"), key=len, default=[]
    )
    trials = {"search": [(float(count), end) for count, end in enumerate(longest, 1)]}
    panels = [
        element("g", *_panel(lines, across), transform=f"translate({place * WIDTH},0)")
        for place, (across, lines) in enumerate((("rows", rows), ("recipes tried", trials)))
    ]
    said = "Seconds of a fit against rows, and of its search against recipes tried, both logarithmic"
    return element(
        "svg", element("rect", width=2 * WIDTH, height=HEIGHT, fill="#fff"), *panels,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {2 * WIDTH} {HEIGHT}", role="img", aria_label=said,
        font_family="sans-serif", font_size=12, fill="#333",
    )  # fmt: skip


def _panel(lines: Mapping[str, Line], name: str) -> list[Markup]:
    """Axes, and a line a part that took any time."""
    drawn = {part: [(x, y) for x, y in line if y > 0] for part, line in lines.items()}
    points = [point for line in drawn.values() for point in line]
    if not points:
        return []
    across = log_axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = log_axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    found = _axes(across, up, name)
    for place, (part, line) in enumerate((part, line) for part, line in drawn.items() if line):
        ends = [(across.at(x), up.at(y)) for x, y in line]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ends)
        found.append(element("path", d=path, fill="none", stroke=COLOURS[part], stroke_width=2))
        found += [element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, fill=COLOURS[part]) for x, y in ends]
        found.append(element("text", part, x=LEFT + 8 + 90 * place, y=18, fill=COLOURS[part]))
    return found


def _axes(across: Axis, up: Axis, name: str) -> list[Markup]:
    found = []
    for tick in up.ticks(6):
        y = f"{up.at(tick):.1f}"
        found.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, stroke="#ddd"))
        found.append(element("text", f"{tick:,.0f} s", x=LEFT - 6, y=y, dy=4, text_anchor="end"))
    for tick in across.ticks(6):
        x = f"{across.at(tick):.1f}"
        found.append(element("text", f"{tick:,.0f}", x=x, y=HEIGHT - BOTTOM + 16, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*found, element("text", name, x=middle, y=HEIGHT - 8, text_anchor="middle")]
