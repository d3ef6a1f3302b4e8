"""What each pass did to bytes, quality and time, as bars one under the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pocketlm.report.axes import Axis, falling_axis, share_axis
from pocketlm.report.figures import latency, lower_is_better, metric_name, quality, size
from pocketlm.report.markup import Markup, element

ROW, HEAD, FOOT = 50, 26, 4
BYTES_END, QUALITY_BEGIN, QUALITY_END = 165, 240, 385
TIME_BEGIN, TIME_END = 470, 590
# Without and with times.
NARROW, WIDE = 440, 660


@dataclass(frozen=True)
class Stage:
    """The student before and after a pass; None where a figure was not taken. whole: the finished file, no pass.

    latency: milliseconds of a text after the pass.
    """

    name: str
    bytes_before: float | None
    bytes_after: float | None
    quality_before: float | None
    quality_after: float | None
    whole: bool = False
    latency: float | None = None


def waterfall(stages: Sequence[Stage], metric: str, teacher: float | None = None) -> Markup:
    """The stages as inline SVG: bytes from zero, quality, and where they were taken times from zero, side by side.

    teacher: its quality, a line.
    """
    height = HEAD + ROW * len(stages) + FOOT
    most = max((size for stage in stages for size in (stage.bytes_before, stage.bytes_after) if size), default=1.0)
    across = Axis(0.0, most, 0.0, BYTES_END)
    taken = [q for stage in stages for q in (stage.quality_before, stage.quality_after, teacher) if q is not None]
    axis = falling_axis if lower_is_better(metric) else share_axis
    shares = axis(taken or [0.0, 1.0], QUALITY_BEGIN, QUALITY_END)
    parts = [
        element("text", "bytes stored", class_="axis", x=0, y=12),
        element("text", f"{metric_name(metric)} on dev", class_="axis", x=QUALITY_BEGIN, y=12),
    ]
    if teacher is not None:
        x = shares.at(teacher)
        parts.append(element("line", class_="teacher-line", x1=x, x2=x, y1=HEAD - 6, y2=height))
    timed = any(stage.latency is not None for stage in stages if not stage.whole)
    times = [stage.latency for stage in stages if stage.latency is not None]
    longest = Axis(0.0, max(times, default=1.0), TIME_BEGIN, TIME_END)
    if timed:
        parts.append(element("text", "p50 of a text", class_="axis", x=TIME_BEGIN, y=12))
    for place, stage in enumerate(stages):
        top = HEAD + ROW * place
        parts += [_time_bar(stage, longest, top)] if timed else []
        parts += [_name(stage, top), _bytes_bar(stage, across, top), _quality_bar(stage, shares, top, metric)]
    text = "; ".join(
        f"{stage.name}: {size(stage.bytes_after)}, {quality(metric, stage.quality_after)}" for stage in stages
    )
    return element(
        "svg", *parts, class_=f"plot waterfall{' timed' if timed else ''}",
        viewBox=f"0 0 {WIDE if timed else NARROW} {height}", role="img",
        aria_label=f"Bytes, {metric_name(metric)} and time after each pass. {text}",
    )  # fmt: skip


def _name(stage: Stage, top: float) -> Markup:
    return element("text", stage.name, class_="stage", x=0, y=top + 16)


def _kind(bought: float) -> str:
    """The colour of a change, by what it bought."""
    return "same" if not bought else "gain" if bought > 0 else "loss"


def _bytes_bar(stage: Stage, across: Axis, top: float) -> Markup:
    if stage.bytes_after is None:
        return Markup("")
    before, after = stage.bytes_before or 0.0, stage.bytes_after
    begin, end = (0.0, after) if stage.whole else sorted((before, after))
    kind = "whole" if stage.whole else "made" if not before else _kind(before - after)
    x, until = across.at(begin), across.at(end)
    width = max(1.5, until - x)
    return element(
        "g",
        element("rect", class_=f"bar {kind}", x=x, y=top + 22, width=width, height=13, rx=1.5),
        element("text", size(after), class_="value", x=x + width + 4, y=top + 32.5),
    )


def _time_bar(stage: Stage, axis: Axis, top: float) -> Markup:
    if stage.latency is None:
        return Markup("")
    until = axis.at(stage.latency)
    return element(
        "g",
        element("rect", class_=f"bar {'whole' if stage.whole else 'made'}", x=TIME_BEGIN, y=top + 22,
                width=max(1.5, until - TIME_BEGIN), height=13, rx=1.5),
        element("text", latency(stage.latency), class_="value", x=until + 4, y=top + 32.5),
    )  # fmt: skip


def _quality_bar(stage: Stage, shares: Axis, top: float, metric: str) -> Markup:
    if stage.quality_after is None:
        return element("text", "not taken", class_="value", x=QUALITY_BEGIN, y=top + 32.5)
    after = shares.at(stage.quality_after)
    before = after if stage.quality_before is None else shares.at(stage.quality_before)
    kind = "whole" if stage.whole else _kind(after - before)
    begin, width = min(before, after), abs(after - before)
    return element(
        "g",
        element("line", class_="grid", x1=QUALITY_BEGIN, x2=QUALITY_END, y1=top + 28.5, y2=top + 28.5),
        element("rect", class_=f"bar {kind}", x=begin, y=top + 22, width=width, height=13) if width else None,
        element("circle", class_="dot", cx=after, cy=top + 28.5, r=5),
        element("text", quality(metric, stage.quality_after, 1), class_="value", x=QUALITY_END + 8, y=top + 32.5),
    )
