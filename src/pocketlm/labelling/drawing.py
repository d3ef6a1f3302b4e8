"""The learning curve as inline SVG, and what a page shows of a session as plain data."""

from __future__ import annotations

from typing import Any

from pocketlm.labelling.curve import Curve
from pocketlm.labelling.ledger import HELD_OUT, TRAIN
from pocketlm.labelling.session import Session
from pocketlm.labelling.words import outlook
from pocketlm.report.axes import log_axis, share_axis
from pocketlm.report.figures import percent
from pocketlm.report.markup import Markup, element

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40


def state_of(session: Session) -> dict[str, Any]:
    """What the page shows: the row, the labels with their counts, the curve and the outlook."""
    asked = session.next()
    row = None
    if asked is not None:
        guess = None if asked.guess is None else {"label": asked.guess[0], "probability": asked.guess[1]}
        row = {"text": asked.text, "guess": guess}
    curve = session.curve
    return {
        "row": row,
        "labels": session.labels,
        "counts": session.counts(),
        "trained": sum(session.counts(TRAIN).values()),
        "held_out": sum(session.counts(HELD_OUT).values()),
        "curve": None if curve is None else str(curve_figure(curve)),
        "outlook": outlook(curve),
    }


def curve_figure(curve: Curve) -> Markup:
    """Accuracy with its interval against labelled rows, whose axis is logarithmic."""
    figures = curve.figures
    across = log_axis([float(size) for size in curve.sizes], LEFT, WIDTH - RIGHT)
    up = share_axis([bound for one in figures for bound in (one.low, one.high)], HEIGHT - BOTTOM, TOP)
    parts = []
    for tick in up.ticks(5):
        y = up.at(tick)
        parts.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        parts.append(element("text", percent(tick, 0), x=LEFT - 6, y=y + 4, text_anchor="end"))
    for tick in across.ticks(6):
        parts.append(element("text", f"{tick:,.0f}", x=across.at(tick), y=HEIGHT - BOTTOM + 16, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(element("text", "rows learnt from (log scale)", x=middle, y=HEIGHT - 6, text_anchor="middle"))
    places = [(across.at(size), one) for size, one in zip(curve.sizes, figures, strict=True)]
    path = "M" + "L".join(f"{x:.1f} {up.at(one.value):.1f}" for x, one in places)
    parts += [element("line", class_="range", x1=x, x2=x, y1=up.at(one.low), y2=up.at(one.high)) for x, one in places]
    parts.append(element("path", class_="line", d=path))
    parts += [element("circle", class_="dot", cx=x, cy=up.at(one.value), r=4) for x, one in places]
    last = figures[-1]
    said = (
        f"Accuracy on {curve.held} held-out rows: {percent(last.value, 1)} ({percent(last.low, 0)} to "
        f"{percent(last.high, 0)}) with {curve.sizes[-1]} rows"
    )
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)
