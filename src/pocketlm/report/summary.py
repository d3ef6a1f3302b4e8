"""The top of the page: the verdict in one sentence, the limits, and the chosen Pocket's key figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pocketlm.report.figures import (
    ABSENT,
    ESTIMATE,
    figure,
    interval,
    latency,
    limit_figure,
    lower_is_better,
    metric_name,
    number,
    part,
    percent,
    quality,
    rows,
    size,
)
from pocketlm.report.markup import Markup, data, element

_STATUS = {"met": "Budget met.", "missed": "Budget missed.", "best": "Best trade-off."}
_COSTS = ("size", "memory", "latency")


def title(result: Mapping[str, Any]) -> str:
    """What the page is about: the Pocket's file name, or the data it was to be made from."""
    pocket = result.get("pocket")
    return PurePath(str(pocket)).name if pocket else str(part(result, "data").get("source") or "PocketLM report")


def header(result: Mapping[str, Any]) -> Markup:
    """Title, verdict sentence and one chip a limit."""
    status = str(result.get("status", ""))
    about = [str(result.get("task") or ""), str(part(result, "data").get("source") or "")]
    return element(
        "header",
        element("p", "PocketLM report", class_="kicker"),
        element("h1", title(result), dir="auto"),
        element("p", data(" · ".join(filter(None, about))), class_="muted"),
        element("p", sentence(result), class_=f"verdict {status if status in ('met', 'best', 'missed') else 'best'}"),
        _chips(result),
    )


def sentence(result: Mapping[str, Any]) -> Markup:
    """The verdict against the budget: met, best trade-off, or missed and by how much."""
    chosen = part(result, "chosen")
    start = element("strong", _STATUS.get(str(result.get("status")), "Result."))
    if not chosen:
        why = part(result, "verdict").get("text") or "no candidate could be measured; the table below says why"
        return element("span", start, " ", data(why))
    name, figures = data(chosen.get("name", "")), _in_short(result, chosen)
    if result.get("status") == "missed":
        missed = " and ".join(_miss(one) for one in _limits(result) if not one.get("holds")) or "a limit"
        kept = "" if result.get("pocket") else " No file was written."
        return element("span", start, " The nearest, ", name, f", misses {missed}. It {figures}.{kept}")
    if result.get("status") == "best":
        why = " No limit was set: " if not _limits(result) else " "
        return element("span", start, why, name, f" {figures}.")
    return element("span", start, " ", name, f" {figures}.")


def _in_short(result: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    metric = str(result.get("main_metric", ""))
    test, dev = figure(chosen, "test", "metrics", metric, "value"), figure(chosen, "dev", metric)
    reached = f"{quality(metric, test, 1)} on test" if test is not None else f"{quality(metric, dev, 1)} on dev"
    there = part(chosen, "estimated")
    size_bytes = figure(chosen, "measurement", "size_bytes")
    p50 = figure(there or part(chosen, "measurement"), "latency_p50_ms")
    about = f"{ESTIMATE}{latency(p50)} on {there.get('device', '')} (estimated)" if there else latency(p50)
    answers = "" if p50 is None else f"answers in {about} and "
    return f"takes {size(size_bytes)}, {answers}reaches {metric_name(metric)} {reached}"


def _limits(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in rows(part(result, "verdict"), "limits") if isinstance(one, Mapping)]


def _relation(limit: Mapping[str, Any]) -> str:
    name = str(limit.get("name", ""))
    return "≤" if limit.get("most", name in _COSTS or lower_is_better(name)) else "≥"


def _estimate(limit: Mapping[str, Any]) -> str:
    return ESTIMATE if limit.get("device") else ""


def _miss(limit: Mapping[str, Any]) -> str:
    name = str(limit.get("name", ""))
    relation, about = _relation(limit), _estimate(limit)
    measured, wanted = (limit_figure(name, limit.get(key)) for key in ("measured", "limit"))
    shown = f"{about}{measured}, wanted {relation} {wanted}"
    over = number(limit.get("over"))
    by = "" if over is None else f" by {percent(over, 1)}"
    return f"{metric_name(name)}{by} ({shown})"


def _chips(result: Mapping[str, Any]) -> Markup:
    chips = [_chip(limit) for limit in _limits(result)] or [
        element("li", text, class_="chip") for text in _unjudged(result) or ["no limit was set: the less the better"]
    ]
    return element("ul", *chips, class_="chips", aria_label="Limits")


def _unjudged(result: Mapping[str, Any]) -> list[str]:
    """The limits that were set, where nothing was measured that could be held against them."""
    budget = part(result, "budget")
    set_limits = [
        f"{name} ≤ {limit_figure(name, budget[f'max_{name}'])}"
        for name in ("size", "latency", "memory")
        if figure(budget, f"max_{name}") is not None
    ]
    floor = budget.get("min_quality")
    floors = [str(one) for one in rows(budget, "floors")]
    return [*set_limits, *([f"quality: at least {floor}"] if floor else []), *floors]


def _chip(limit: Mapping[str, Any]) -> Markup:
    name, holds = str(limit.get("name", "")), bool(limit.get("holds"))
    return element(
        "li",
        element("span", "✓" if holds else "✗", aria_hidden="true"),
        " ",
        data(metric_name(name)),
        " ",
        element("b", _estimate(limit), limit_figure(name, limit.get("measured"))),
        f" {_relation(limit)} {limit_figure(name, limit.get('limit'))} ",
        element("span", "holds" if holds else "missed", class_="unseen"),
        class_=f"chip {'good' if holds else 'bad'}",
        title=str(limit.get("text") or "") or None,
    )


def tiles(result: Mapping[str, Any]) -> Markup:
    """Size, latency, memory, quality and the share of the teacher's, of the chosen Pocket."""
    chosen = part(result, "chosen")
    if not chosen:
        return Markup("")
    measured = part(chosen, "measurement")
    size_bytes, there = figure(measured, "size_bytes"), part(chosen, "estimated")
    made = [
        _tile("Whole file", size(size_bytes), "" if size_bytes is None else f"{size_bytes:,.0f} bytes"),
        *(_there(there) if there else _here(measured)),
        _quality_tile(result, chosen),
        _teacher_tile(result, chosen),
    ]
    return element("section", element("h2", "Key figures", id="key"), element("dl", *made, class_="tiles"))


def _here(measured: Mapping[str, Any]) -> list[Markup]:
    return [
        _tile("Latency p50", latency(measured.get("latency_p50_ms")), _spread(measured)),
        _tile("Latency p95", latency(measured.get("latency_p95_ms")), "one text, one thread"),
        _tile("Peak memory", size(measured.get("memory_bytes")), "fresh process, Python included"),
    ]


def _there(estimated: Mapping[str, Any]) -> list[Markup]:
    """Costs on another machine, each marked as the estimate it is."""
    note = f"estimated for {estimated.get('device', '')}"
    return [
        _tile("Latency p50", ESTIMATE + latency(estimated.get("latency_p50_ms")), note),
        _tile("Latency p95", ESTIMATE + latency(estimated.get("latency_p95_ms")), note),
        _tile("Peak memory", ESTIMATE + size(estimated.get("memory_bytes")), note),
    ]


def _tile(name: str, value: str, note: str = "") -> Markup:
    return element(
        "div", element("dt", name), element("dd", value), element("dd", note, class_="note") if note else None
    )


def _spread(measured: Mapping[str, Any]) -> str:
    """The range of p50 over blocks of calls, where the measurement has it."""
    extra = {**part(measured, "extra"), **measured}
    low, high = number(extra.get("latency_p50_low_ms")), number(extra.get("latency_p50_high_ms"))
    return "one text, one thread" if low is None or high is None else f"blocks: {latency(low)} to {latency(high)}"


def _quality_tile(result: Mapping[str, Any], chosen: Mapping[str, Any]) -> Markup:
    metric = str(result.get("main_metric", ""))
    found = part(part(part(chosen, "test"), "metrics"), metric)
    name = metric_name(metric)
    if number(found.get("value")) is None:
        return _tile(f"{name} on dev", quality(metric, figure(chosen, "dev", metric), 1), "test was not read")
    bounds, n = interval(found.get("low"), found.get("high"), metric), figure(chosen, "test", "n")
    note = ", ".join(filter(None, [bounds and f"95 %: {bounds}", "" if n is None else f"n = {n:,.0f}"]))
    return _tile(f"{name} on test", quality(metric, found.get("value"), 1), note)


def kept_share(result: Mapping[str, Any]) -> tuple[float, str] | None:
    """(student's main metric over the teacher's, the split it is on); None without a teacher's figure.

    Of a metric that is better the lower, the teacher's over the student's.
    """
    metric, chosen, teacher = str(result.get("main_metric", "")), part(result, "chosen"), part(result, "teacher")
    ours = {"test": figure(chosen, "test", "metrics", metric, "value"), "dev": figure(chosen, "dev", metric)}
    for split in ("test", "dev"):
        student, theirs = ours[split], figure(teacher, "quality", split, metric)
        if student and theirs and lower_is_better(metric):
            return theirs / student, split
        if student is not None and theirs:
            return student / theirs, split
    return None


def _teacher_tile(result: Mapping[str, Any], chosen: Mapping[str, Any]) -> Markup:
    share = kept_share(result)
    if share is None:
        return _tile("Kept of the teacher", ABSENT, "trained without a teacher" if not result.get("teacher") else "")
    metric = str(result.get("main_metric", ""))
    theirs = quality(metric, figure(result, "teacher", "quality", share[1], metric), 1)
    times = figure(result, "teacher", "size_bytes"), figure(chosen, "measurement", "size_bytes")
    smaller = f", {times[0] / times[1]:,.0f}× larger" if times[0] and times[1] else ""
    return _tile("Kept of the teacher", percent(share[0], 1), f"teacher: {theirs} on {share[1]}{smaller}")
