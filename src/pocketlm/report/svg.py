"""Plots as SVG text: pure functions from figures to markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = {
    "hashed-ngrams": "#0072b2",
    "static-embeddings": "#009e73",
    "small-convnet": "#cc79a7",
    "small-transformer": "#d55e00",
    "teacher": "#7f8c9b",
}
OTHER = "#e69f00"
_WIDTH, _HEIGHT = 400, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 40


@dataclass(frozen=True)
class Mark:
    """One model in a plot. x: above 0, on a logarithmic axis. tip: what hovering says."""

    x: float
    y: float
    family: str
    tip: str
    chosen: bool = False


@dataclass(frozen=True)
class Axis:
    """A logarithmic x axis. show: a value as text. limit: the most allowed, or None."""

    label: str
    ticks: Sequence[tuple[float, str]]
    limit: float | None = None


def scatter(marks: Sequence[Mark], axis: Axis, y_label: str, floor: float | None = None) -> str:
    """Quality over cost, with limits as dashed lines and the front of what is best for its cost."""
    if not marks:
        return ""
    xs = [mark.x for mark in marks] + ([axis.limit] if axis.limit else [])
    ys = [mark.y for mark in marks] + ([floor] if floor else [])
    low, high = math.log10(min(xs)) - 0.15, math.log10(max(xs)) + 0.15
    bottom, top = min(ys), max(ys)
    margin = max(0.005, (top - bottom) * 0.12)
    bottom, top = bottom - margin, min(1.0, top + margin)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low) / (high - low)
        up = (y - bottom) / (top - bottom) if top > bottom else 0.5
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_frame(axis, place, low, high, bottom, top, y_label)]
    if axis.limit:
        x = place(axis.limit, bottom)[0]
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    if floor:
        y = place(min(xs), floor)[1]
        parts.append(f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    points = " ".join("{:.1f},{:.1f}".format(*place(mark.x, mark.y)) for mark in front(marks))
    parts.append(f'<polyline class="front" points="{points}"/>')
    parts += [_mark(mark, *place(mark.x, mark.y)) for mark in marks]
    label = escape(f"{y_label} over {axis.label}")
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def front(marks: Sequence[Mark]) -> list[Mark]:
    """The marks that no other beats in both cost and quality, by rising cost."""
    best, kept = -math.inf, []
    for mark in sorted(marks, key=lambda one: (one.x, -one.y)):
        if mark.y > best:
            best = mark.y
            kept.append(mark)
    return kept


def _frame(axis: Axis, place: object, low: float, high: float, bottom: float, top: float, y_label: str) -> str:
    assert callable(place)
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{base}" y2="{base}"/>']
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{base}"/>')
    for value, text in axis.ticks:
        if low <= math.log10(value) <= high:
            x = place(value, bottom)[0]
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
            parts.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{escape(text)}</text>')
    for step in range(5):
        value = bottom + (top - bottom) * step / 4
        y = place(10**low, value)[1]
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.3f}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(axis.label)}</text>')
    parts.append(f'<text x="{_LEFT + 6}" y="{_TOP + 10}">{escape(y_label)}</text>')
    return "".join(parts)


def _mark(mark: Mark, x: float, y: float) -> str:
    colour = COLOURS.get(mark.family, OTHER)
    tip = escape(mark.tip, quote=True)
    ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="9"/>' if mark.chosen else ""
    return (
        f'{ring}<circle class="mark" tabindex="0" cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}" data-tip="{tip}">'
        f"<title>{tip}</title></circle>"
    )


def confusion_grid(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """Gold labels down, predicted across; darker is more of the row."""
    size = len(labels)
    cell = max(4.0, min(28.0, 560 / size))
    parts = []
    for row, line in enumerate(counts):
        total = max(1, sum(line))
        for column, count in enumerate(line):
            if not count:
                continue
            colour = "#0072b2" if row == column else "#d55e00"
            tip = escape(f"{labels[row]} called {labels[column]}: {count}", quote=True)
            parts.append(
                f'<rect x="{column * cell:.1f}" y="{row * cell:.1f}" width="{cell:.1f}" height="{cell:.1f}" fill="{colour}" '
                f'fill-opacity="{0.15 + 0.85 * count / total:.2f}" data-tip="{tip}"><title>{tip}</title></rect>'
            )
    side = size * cell
    return (
        f'<svg viewBox="0 0 {side:.0f} {side:.0f}" style="max-width:{side:.0f}px" role="img" '
        f'aria-label="confusion matrix, gold down, predicted across">'
        f'<rect class="axis" width="{side:.0f}" height="{side:.0f}" fill="none"/>{"".join(parts)}</svg>'
    )
