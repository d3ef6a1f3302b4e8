"""How the search went: the importance of knobs, trials across their knobs, and when each was tried."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pocketlm.report.axes import Axis
from pocketlm.report.figures import duration, figure, metric_name, part, percent, quality, rows
from pocketlm.report.markup import Markup, data, element
from pocketlm.report.parallel import coordinates
from pocketlm.report.scatter import FAMILY_COLOURS
from pocketlm.report.tables import facts, rows_of_trials

WIDTH, LEFT, RIGHT, ROW, HEAD = 940, 8, 60, 16, 26
KIND = "kind of student"
# Lines of the time line at most: later trials share their line with others.
MOST_LINES = 40


def section(result: Mapping[str, Any]) -> Markup:
    """The study, where there was one of more than a trial or two."""
    told = part(result, "search")
    trials = [one for one in rows(told, "trials") if isinstance(one, Mapping)]
    if len(trials) < 2:
        return Markup("")
    metric, recipes = str(result.get("main_metric", "")), rows_of_trials(result)
    parts: list[Markup] = [element("h2", "The search", id="search"), _counts(trials)]
    family = next((one["family"] for one in trials if one.get("chosen")), "")
    own = [one for one in trials if one["family"] == family and "figures" in one]
    weights, decided = part(told, "importance"), part(told, "decided")
    if decided:
        decisive = {KIND: decided.get("family"), "expected bytes": decided.get("size")}
        parts += [element("h3", "What decided among all students"), _bars(decisive)]
    if weights:
        parts += [element("h3", f"What decided among {family} students"), _bars(weights)]
    elif len(own) < int(told.get("weighed_from", 0)) and any(one["knobs"] for one in own):
        said = f"Which knobs decide is told from {told['weighed_from']} measured {family} students on (--add-trials)"
        parts.append(element("p", f"{said}; there are {len(own)}.", class_="muted"))
    knobs = [*weights, *(name for one in own[:1] for name in one["knobs"] if name not in weights)]
    shown, kind = own, family
    if len(own) < 2:  # across its knobs there is nothing to see
        shown, knobs, kind = [_of_its_kind(one) for one in trials if "figures" in one], [KIND], ""
    if len(shown) > 1:
        estimated = bool(part(result, "forecast").get("for"))
        drawn = element("div", coordinates(shown, knobs, metric, estimated, recipes), class_="box wide-plot")
        note = f"The measured {kind} students;" if kind else "The measured students of all kinds;"
        note += " the stronger a line, the better on dev. Orange: the chosen one."
        note += " A click on a line unfolds its recipe." * bool(recipes)
        parts.append(element("figure", element("figcaption", note, class_="muted"), drawn, class_="tipped"))
    note = "Each bar is a trial; a figure beside it is the best on dev until then. Hollow: left, refused, or failed."
    note += " A click on one unfolds its recipe." * bool(recipes)
    drawn = element("div", _timeline(trials, metric, recipes), class_="box wide-plot")
    parts += [
        element("h3", "When what was tried"),
        element("figure", element("figcaption", note, class_="muted"), drawn, class_="tipped"),
    ]
    parts += _forecast(part(result, "forecast"), part(told, "bytes_error"))
    return element("section", *parts)


def _of_its_kind(trial: Mapping[str, Any]) -> Mapping[str, Any]:
    """A trial with its kind of student as its only knob."""
    return {**trial, "knobs": {KIND: trial["family"]}}


def _counts(trials: Sequence[Mapping[str, Any]]) -> Markup:
    """How many trials there were, and what became of them."""
    kinds = [str(one.get("status", "")) for one in trials]
    said = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    starts = sum(bool(one.get("start")) for one in trials)
    spent = duration(max(one["begin"] + one["seconds"] for one in trials))
    return element("p", f"{len(trials)} recipes in {spent}: {said}; {starts} of them by rules of thumb.")


def _bars(weights: Mapping[str, Any]) -> Markup:
    """The importance of each knob, as bars in a list."""
    lines = []
    for name, share in weights.items():
        width = 100 * max(0.0, min(1.0, figure(weights, name) or 0.0))
        bar = element("span", element("i", style=f"width:{width:.0f}%"), class_="share")
        lines.append(element("div", element("dt", data(name)), element("dd", bar, percent(share, 0))))
    return element("dl", *lines, class_="weights")


def _timeline(trials: Sequence[Mapping[str, Any]], metric: str, recipes: Mapping[str, str]) -> Markup:
    """Trials as bars along the time of the study, with each new best figure. recipes: as `coordinates` has them."""
    end = max(one["begin"] + one["seconds"] for one in trials) or 1.0
    axis = Axis(0.0, end, LEFT, WIDTH - RIGHT)
    lines = min(MOST_LINES, len(trials))
    height = HEAD + ROW * lines + 24
    families = list(dict.fromkeys(str(one["family"]) for one in trials))
    parts = [_ticks(axis, height)]
    best: float | None = None
    for place, one in enumerate(trials):
        y = HEAD + ROW * (place * lines // len(trials))
        reached = figure(one, "figures", "quality")
        better = reached is not None and (best is None or reached > best)
        best = reached if better else best
        family, row = families.index(str(one["family"])), recipes.get(str(one.get("key", "")))
        parts.append(_bar(one, axis, y, family, reached if better else None, metric, row))
    return element(
        "svg", *parts, class_="plot timeline", viewBox=f"0 0 {WIDTH} {height}", role="group",
        aria_label=f"{len(trials)} trials over {duration(end)}",
    )  # fmt: skip


def _ticks(axis: Axis, height: float) -> Markup:
    parts = []
    for tick in axis.ticks(8):
        x = axis.at(tick)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=HEAD - 6, y2=height - 20))
        parts.append(element("text", duration(tick), class_="tick", x=x, y=height - 6, text_anchor="middle"))
    return element("g", *parts, aria_hidden="true")


def _bar(
    one: Mapping[str, Any], axis: Axis, y: float, family: int, record: float | None, metric: str, row: str | None
) -> Markup:
    measured = "figures" in one
    x = axis.at(one["begin"])
    width = max(2.0, axis.at(one["begin"] + one["seconds"]) - x)
    colour = f"family-{family % FAMILY_COLOURS}"
    reached = figure(one, "figures", "quality")
    why = f"{metric_name(metric)} {quality(metric, reached)} on dev" if measured else str(one.get("why", ""))
    tip = [str(one["name"]) or f"trial {one['number']}", f"{one['status']} in {duration(one['seconds'])}", why]
    return element(
        "g",
        element(
            "rect", class_=f"mark {colour}{'' if measured else ' missed'}", x=x, y=y, width=width, height=ROW - 5, rx=2
        ),
        element("text", quality(metric, record, 1), class_="value", x=x + width + 4, y=y + ROW - 6)
        if record is not None else None,
        class_="point", tabindex="0", role="img", aria_label=". ".join(tip),
        data_tip=json.dumps(tip, ensure_ascii=False),
        data_row=row,
    )  # fmt: skip


def _forecast(told: Mapping[str, Any], size: Mapping[str, Any]) -> list[Markup]:
    """How far expected bytes and latencies were off."""
    known = {}
    if size:
        known["expected bytes are off by"] = _off(figure(size, "median"), figure(size, "worst"))
    if told:
        known["machine"] = told.get("device", "")
        if told.get("for"):
            known["estimated for"] = told["for"]
        known["students compared in time"] = str(len(rows(told, "checked")))
        if (median := figure(told, "median_error")) is not None:
            known["expected latency is off by"] = _off(median, figure(told, "worst_error"))
        if (median := figure(told, "memory", "median")) is not None:
            known["measured memory, in times the least expected"] = (
                f"{median:.2f} (median), from {figure(told, 'memory', 'lowest'):.2f}"
            )
    return [element("h3", "Expected and measured"), facts(known)] if known else []


def _off(median: float | None, worst: float | None) -> str:
    return f"{percent(median, 0)} (median), {percent(worst, 0)} at worst"
