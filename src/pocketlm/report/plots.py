"""The figures of a result as plots: candidates on two planes, and passes as a waterfall."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pocketlm.report.figures import (
    figure,
    latency,
    lower_is_better,
    metric_name,
    part,
    quality,
    recipe_summary,
    rows,
    size,
    step_name,
)
from pocketlm.report.markup import Markup, element, join
from pocketlm.report.scatter import Mark, Scatter, legend, scatter
from pocketlm.report.tables import row_id
from pocketlm.report.waterfall import Stage, waterfall


def families(result: Mapping[str, Any]) -> list[str]:
    """The candidates' families, in the order they were tried; a family's place is its colour and shape."""
    return list(dict.fromkeys(str(one.get("family", "")) for one in rows(result, "candidates")))


def quality_floor(result: Mapping[str, Any]) -> float | None:
    """The least main metric on dev that the budget allows (the most where lower is better), or None.

    A share of the teacher's quality is held against the teacher's figure on dev, as the choice was.
    """
    metric, text = str(result.get("main_metric", "")), str(part(result, "budget").get("min_quality") or "")
    share = re.fullmatch(r"([0-9.e-]+) of the teacher's", text)
    floor = re.fullmatch(r"(\w+)[<>]=([0-9.e-]+)", text)
    if share:
        teacher = figure(result, "teacher", "quality", "dev", metric)
        kept = 1 / float(share[1]) if lower_is_better(metric) else float(share[1])
        return kept * (1.0 if teacher is None else teacher)
    return float(floor[2]) if floor and floor[1] in ("quality", metric) else None


def planes(result: Mapping[str, Any]) -> Markup:
    """Size–quality and latency–quality, with one legend."""
    metric = str(result.get("main_metric", ""))
    name, floor = f"{metric_name(metric)} on dev", quality_floor(result)
    there = next((str(one["device"]) for one in rows(result, "candidates") if one.get("device")), "")
    time = f"p50, estimated for {there} (log scale)" if there else "p50, one text on one thread (log scale)"
    shown: list[tuple[str, str, str, Callable[[float], str], str]] = [
        ("Size and quality", "size_bytes", "whole file (log scale)", size, "max_size"),
        ("Latency and quality", "latency_p50_ms", time, latency, "max_latency"),
    ]
    drawn = []
    for heading, key, axis, write, limit in shown:
        marks = _marks(result, key)
        plot = Scatter(heading, axis, name, write, marks, figure(result, "budget", limit), floor, metric)
        drawn.append(element("figure", element("figcaption", heading), scatter(plot), class_="tipped"))
    missed = any(not mark.met for _, key, *_ in shown for mark in _marks(result, key) if mark.family is not None)
    key = legend(families(result), teacher=bool(part(result, "teacher")), missed=missed)
    return join((key, element("div", *drawn, class_="pair")))


def _marks(result: Mapping[str, Any], key: str) -> tuple[Mark, ...]:
    """Measured candidates and the teacher, where both figures are known."""
    metric, kinds, found = str(result.get("main_metric", "")), families(result), []
    for place, one in enumerate(rows(result, "candidates")):
        cost, reached = figure(one, key), figure(one, "quality", metric)
        if cost and cost > 0 and reached is not None:
            kind = kinds.index(str(one.get("family", "")))
            shown = _details(one, reached, metric)
            met, chosen = bool(one.get("met")), bool(one.get("chosen"))
            name = str(one.get("name", ""))
            found.append(Mark(name, cost, reached, kind, shown, met, chosen, row_id(place)))
    teacher = part(result, "teacher")
    cost, reached = figure(teacher, key), figure(teacher, "quality", "dev", metric)
    if cost and cost > 0 and reached is not None:
        found.append(Mark(str(teacher.get("name", "")), cost, reached, None, _details(teacher, reached, metric)))
    return tuple(found)


def _details(one: Mapping[str, Any], reached: float, metric: str) -> tuple[str, ...]:
    """The lines a person sees on asking: size and p50, quality, recipe."""
    estimated = f" (estimated for {one['device']})" if one.get("device") else ""
    figures = f"{size(one.get('size_bytes'))}, p50 {latency(one.get('latency_p50_ms'))}{estimated}"
    lines = [figures, f"{metric_name(metric)} {quality(metric, reached)} on dev"]
    recipe = rows(one, "recipe")
    return tuple([*lines, recipe_summary(recipe)] if recipe else lines)


def _of_times(result: Mapping[str, Any], passes: Sequence[Mapping[str, Any]]) -> str:
    """Where times after passes were taken, or why they are not there."""
    if any(figure(one, "latency_ms") is not None for one in passes):
        there = part(result, "forecast").get("for")
        return f" Times were measured here, not on {there}." if there else ""
    if not rows(part(result, "search"), "trials"):
        return ""
    return " Times after passes are taken of a student that was trained again on train and dev, which this was not."


def passes_figure(result: Mapping[str, Any], passes: Sequence[Mapping[str, Any]]) -> Markup:
    """The waterfall of the chosen Pocket's passes, ending with the finished file."""
    metric, chosen = str(result.get("main_metric", "")), part(result, "chosen")
    stages = [
        Stage(
            f"{place}. {step_name(one)}",
            figure(one, "size_bytes_before"),
            figure(one, "size_bytes_after"),
            figure(one, "quality_before"),
            figure(one, "quality_after"),
            latency=figure(one, "latency_ms"),
        )
        for place, one in enumerate(passes, 1)
    ]
    whole, reached = figure(chosen, "measurement", "size_bytes"), figure(chosen, "dev", metric)
    if whole is not None:
        p50 = figure(chosen, "measurement", "latency_p50_ms")
        stages.append(Stage("the finished file, as measured", None, whole, None, reached, True, p50))
    teacher = figure(result, "teacher", "quality", "dev", metric)
    note = " Dotted: the teacher." if teacher is not None else ""
    caption = (
        f"Green bought (fewer bytes, more quality), orange cost.{note} Bytes are of the weights as they would be "
        f"stored after the pass; the file adds its own frame.{_of_times(result, passes)}"
    )
    drawn = waterfall(stages, metric, teacher)
    return element("figure", drawn, element("figcaption", caption, class_="muted"), class_="wide")
