"""A figure against what it costs: one mark a candidate, the teacher, the limits and the front."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pocketlm.report.axes import Axis, falling_axis, log_axis, share_axis
from pocketlm.report.figures import lower_is_better, quality
from pocketlm.report.markup import Markup, data, element

WIDTH, HEIGHT = 440, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 22, 50
# Radius of what a finger must hit, in units of the plot: some 24 pixels across on a phone.
_TOUCH = 16
SHAPES = ("circle", "square", "triangle", "diamond", "wedge", "cross")
FAMILY_COLOURS = 6


@dataclass(frozen=True)
class Mark:
    """A measured model. cost: > 0; quality: in [0, 1]; family: its place among the families, None for the teacher.

    details: the lines that a person sees on asking. met: whether it meets the budget. row: the id of its row in the
    table of candidates, "" where it has none.
    """

    name: str
    cost: float
    quality: float
    family: int | None
    details: tuple[str, ...] = ()
    met: bool = True
    chosen: bool = False
    row: str = ""


@dataclass(frozen=True)
class Scatter:
    """A plot. cost_format: writes a tick. cost_limit: the most allowed; quality_limit: the least.

    metric: what the quality is; of one that is better the lower, quality_limit is the most, and up is less.
    """

    title: str
    cost_name: str
    quality_name: str
    cost_format: Callable[[float], str]
    marks: tuple[Mark, ...]
    cost_limit: float | None = None
    quality_limit: float | None = None
    metric: str = ""


def pareto_front(marks: Sequence[Mark], *, lower: bool = False) -> list[Mark]:
    """The candidates no other beats in both figures, cheapest first. lower: whether less quality is better."""
    front: list[Mark] = []
    sign = -1 if lower else 1
    for mark in sorted(marks, key=lambda one: (one.cost, -sign * one.quality)):
        if not front or sign * mark.quality > sign * front[-1].quality:
            front.append(mark)
    return front


def scatter(plot: Scatter) -> Markup:
    """The plot as inline SVG; a sentence where there is no mark to draw."""
    if not plot.marks:
        return element("p", "No candidate has this figure.", class_="muted")
    costs = [mark.cost for mark in plot.marks] + ([plot.cost_limit] if plot.cost_limit else [])
    shares = [mark.quality for mark in plot.marks] + ([] if plot.quality_limit is None else [plot.quality_limit])
    across = log_axis(costs, LEFT, WIDTH - RIGHT)
    lower = lower_is_better(plot.metric)
    up = (falling_axis if lower else share_axis)(shares, HEIGHT - BOTTOM, TOP)
    students = [mark for mark in plot.marks if mark.family is not None]
    return element(
        "svg",
        _grid(plot, across, up),
        _limits(plot, across, up),
        _front(pareto_front(students, lower=lower), across, up),
        *(_mark(mark, across, up) for mark in sorted(plot.marks, key=lambda one: one.chosen)),
        class_="plot",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=f"{plot.title}: {len(students)} candidates",
    )


def _grid(plot: Scatter, across: Axis, up: Axis) -> Markup:
    floor, parts = HEIGHT - BOTTOM, []
    ticks = up.ticks(7)
    digits = max(0, math.ceil(-math.log10(100 * (ticks[1] - ticks[0])) - 1e-9)) if len(ticks) > 1 else 1
    for tick in ticks:
        y = up.at(tick)
        parts.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        shown = quality(plot.metric, tick, digits)
        parts.append(element("text", shown, class_="tick", x=LEFT - 6, y=y + 4, text_anchor="end"))
    for tick in across.ticks(6):
        x = across.at(tick)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=TOP, y2=floor))
        text = plot.cost_format(tick)
        parts.append(element("text", text, class_="tick", x=x, y=floor + 17, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(element("text", plot.cost_name, class_="axis", x=middle, y=HEIGHT - 10, text_anchor="middle"))
    parts.append(element("text", plot.quality_name, class_="axis", x=4, y=13))
    return element("g", *parts, aria_hidden="true")


def _limits(plot: Scatter, across: Axis, up: Axis) -> Markup:
    """The limits as lines, with what lies beyond them shaded."""
    floor, right, parts = HEIGHT - BOTTOM, WIDTH - RIGHT, []
    if plot.cost_limit is not None:
        x = across.at(plot.cost_limit)
        parts.append(element("rect", class_="beyond", x=x, y=TOP, width=right - x, height=floor - TOP))
        parts.append(element("line", class_="limit", x1=x, x2=x, y1=TOP, y2=floor))
        # beside the line, on the side that is allowed unless there is no room
        aside, anchor = (x - 5, "end") if x > LEFT + 80 else (x + 5, "start")
        text = f"≤ {plot.cost_format(plot.cost_limit)}"
        parts.append(element("text", text, class_="limit-text", x=aside, y=floor - 6, text_anchor=anchor))
    if plot.quality_limit is not None:
        y = up.at(plot.quality_limit)
        parts.append(element("rect", class_="beyond", x=LEFT, y=y, width=right - LEFT, height=floor - y))
        parts.append(element("line", class_="limit", x1=LEFT, x2=right, y1=y, y2=y))
        text = f"{'≤' if lower_is_better(plot.metric) else '≥'} {quality(plot.metric, plot.quality_limit)}"
        parts.append(element("text", text, class_="limit-text", x=right - 4, y=y + 15, text_anchor="end"))
    return element("g", *parts, aria_hidden="true")


def _front(front: Sequence[Mark], across: Axis, up: Axis) -> Markup:
    """A staircase: what the cheapest so far reaches holds until a dearer one beats it."""
    if len(front) < 2:
        return Markup("")
    first = f"M{across.at(front[0].cost):.1f} {up.at(front[0].quality):.1f}"
    steps = "".join(f"H{across.at(mark.cost):.1f}V{up.at(mark.quality):.1f}" for mark in front[1:])
    return element("path", class_="front", d=first + steps, aria_hidden="true")


def _mark(mark: Mark, across: Axis, up: Axis) -> Markup:
    x, y = across.at(mark.cost), up.at(mark.quality)
    role = "teacher" if mark.family is None else "chosen" if mark.chosen else None
    colour = "teacher" if mark.family is None else f"family-{mark.family % FAMILY_COLOURS}"
    name = mark.name if mark.family is not None else f"teacher {mark.name}"
    left = x > (LEFT + WIDTH - RIGHT) / 2
    return element(
        "g",
        element("circle", class_="touch", cx=x, cy=y, r=_TOUCH),
        element("circle", class_="ring", cx=x, cy=y, r=11) if mark.chosen else None,
        element("path", class_=f"mark {colour}{'' if mark.met else ' missed'}", d=shape(mark.family, x, y)),
        element(
            "text", role, class_="mark-text", x=x - 15 if left else x + 15, y=y + (17 if mark.family is None else -9),
            text_anchor="end" if left else "start", aria_hidden="true",
        ) if role else None,
        class_="point",
        tabindex="0",
        role="img",
        aria_label=". ".join((name, *mark.details)),
        data_tip=json.dumps([name, *mark.details], ensure_ascii=False),
        data_row=mark.row or None,
    )  # fmt: skip


def shape(family: int | None, x: float, y: float, r: float = 6.5) -> str:
    """The outline of a family's mark around (x, y); None is the teacher's star."""
    if family is None:
        return "M" + "L".join(
            f"{x + radius * math.sin(turn):.1f} {y - radius * math.cos(turn):.1f}"
            for radius, turn in ((r * (1.45 if place % 2 == 0 else 0.6), place * math.pi / 5) for place in range(10))
        ) + "Z"  # fmt: skip
    kind = SHAPES[family % len(SHAPES)]
    if kind == "circle":
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
    corners = {
        "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        "triangle": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "wedge": [(0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
        "cross": [(-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4), (0.4, 1.1),
                  (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)],
    }[kind]  # fmt: skip
    return "M" + "L".join(f"{x + r * right:.1f} {y + r * down:.1f}" for right, down in corners) + "Z"


def legend(families: Sequence[str], *, teacher: bool, missed: bool, chosen: str = "chosen") -> Markup:
    """What the marks mean, as a list. teacher: whether it is drawn; missed: whether some marks are hollow.

    chosen: what the ringed mark is.
    """
    entries = [(_key(f"mark family-{place % FAMILY_COLOURS}", place), name) for place, name in enumerate(families)]
    if teacher:
        entries.append((_key("mark teacher", None), "teacher"))
    entries.append((_ring(), chosen))
    if missed:
        entries.append((_key("mark missed hollow", 0), "hollow: misses the budget"))
    entries.append((element("i", class_="key-line front-key"), "Pareto front"))
    entries.append((element("i", class_="key-line limit-key"), "limit"))
    return element("ul", *(element("li", key, data(text)) for key, text in entries), class_="legend")


def _key(class_: str, family: int | None) -> Markup:
    path = element("path", class_=class_, d=shape(family, 9, 9))
    return element("svg", path, viewBox="0 0 18 18", width=16, height=16, aria_hidden="true")


def _ring() -> Markup:
    circle = element("circle", class_="ring", cx=9, cy=9, r=7)
    return element("svg", circle, viewBox="0 0 18 18", width=16, height=16, aria_hidden="true")
