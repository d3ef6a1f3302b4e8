"""Trials as lines across their knobs and figures, one axis each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.report.figures import latency, number, quality, size
from pocketlm.report.markup import Markup, element

WIDTH, HEIGHT, TOP, BOTTOM, LEFT, RIGHT = 940, 300, 54, 26, 62, 74
# Knobs shown beside the figures: those that decide most.
MOST_KNOBS = 7
# A search's own choice, which is of no pass.
SHOWN = {"size": "bytes to fill"}


@dataclass(frozen=True)
class Scale:
    """One axis: a name, a place in [0, 1] for each value from the bottom up, and what its ends are."""

    name: str
    place: Callable[[object], float | None]
    low: str
    high: str


def scale_of(name: str, values: Sequence[object], write: Callable[[object], str] = str) -> Scale:
    """The axis of these values: figures along their range (its logarithm where that is wide), others one by one."""
    figures = [known for value in values if (known := number(value)) is not None]
    if len(figures) == len(values) and figures:
        low, high = min(figures), max(figures)
        log = low > 0 and high / low > 20

        def place(value: object) -> float | None:
            known = number(value)
            if known is None:
                return None
            if high == low:
                return 0.5
            if log:
                return math.log(known / low) / math.log(high / low)
            return (known - low) / (high - low)

        return Scale(SHOWN.get(name, name), place, write(low), write(high))
    names = sorted({str(value) for value in values})
    spread = max(1, len(names) - 1)
    return Scale(name, lambda value: names.index(str(value)) / spread, names[0], names[-1])


def _short(value: object) -> str:
    known = number(value)
    if known is None:
        return str(value)
    return f"{known:,.0f}" if known == round(known) else f"{known:.3g}"


def coordinates(
    trials: Sequence[Mapping[str, Any]], knobs: Sequence[str], metric: str, estimated: bool, recipes: Mapping[str, str]
) -> Markup:
    """The measured trials of one family as inline SVG: blue lines, the better the stronger.

    estimated: whether times are estimates for another machine. recipes: ids of rows that unfold them, by trials' keys.
    """
    names = [name for name in knobs if len({str(one["knobs"].get(name)) for one in trials}) > 1][:MOST_KNOBS]
    scales = [(("knobs", name), scale_of(name, [one["knobs"].get(name) for one in trials], _short)) for name in names]
    for key, title, write in (
        ("size_bytes", "bytes", size), ("latency_p50_ms", "p50, estimated" if estimated else "p50", latency),
        ("quality", "quality", lambda value: quality(metric, value, 1)),
    ):  # fmt: skip
        scales.append((("figures", key), scale_of(title, [one["figures"].get(key) for one in trials], write)))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(scales) - 1)
    order = sorted(trials, key=lambda one: (bool(one.get("chosen")), one["figures"]["quality"]))
    lines = [
        _line(one, scales, step, place / max(1, len(order) - 1), recipes.get(one.get("key", "")))
        for place, one in enumerate(order)
    ]
    axes = [_axis(scale, LEFT + step * place, place) for place, (_, scale) in enumerate(scales)]
    return element(
        "svg", *axes, *lines, class_="plot parallel", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="group",
        aria_label=f"{len(trials)} trials across {', '.join(scale.name for _, scale in scales)}",
    )  # fmt: skip


def _axis(scale: Scale, x: float, place: int) -> Markup:
    return element(
        "g",
        element("line", class_="grid", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM),
        # names alternate in height, so that long ones do not run into each other
        element("text", scale.name, class_="axis", x=x, y=14 if place % 2 else 30, text_anchor="middle"),
        element("text", scale.high, class_="tick", x=x, y=TOP - 6, text_anchor="middle"),
        element("text", scale.low, class_="tick", x=x, y=HEIGHT - BOTTOM + 16, text_anchor="middle"),
        aria_hidden="true",
    )


def _line(
    one: Mapping[str, Any], scales: Sequence[tuple[tuple[str, str], Scale]], step: float, rank: float, row: str | None
) -> Markup:
    points = []
    for place, ((part, key), scale) in enumerate(scales):
        at = scale.place(one[part].get(key))
        if at is not None:
            points.append(f"{LEFT + step * place:.1f} {HEIGHT - BOTTOM - at * (HEIGHT - BOTTOM - TOP):.1f}")
    tip = [one["name"], *(f"{scale.name} {_short(one[part].get(key))}" for (part, key), scale in scales)]
    path = "M" + "L".join(points)
    return element(
        "g",
        element("path", class_="touch-line", d=path),
        element(
            "path", class_=f"trial-line{' chosen' if one.get('chosen') else ''}", d=path,
            style=f"opacity:{0.2 + 0.7 * rank:.2f}",
        ),
        class_="point", tabindex="0", role="img", aria_label=". ".join(tip),
        data_tip=json.dumps(tip, ensure_ascii=False),
        data_row=row,
    )  # fmt: skip
