"""The body of the page, one function a section; an empty one where the result has nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pocketlm.report import tables
from pocketlm.report.confusion import MOST_LABELLED, Confusion, matrix
from pocketlm.report.figures import (
    ESTIMATE,
    duration,
    figure,
    latency,
    lower_is_better,
    metric_name,
    part,
    percent,
    plain,
    quality,
    rows,
    size,
)
from pocketlm.report.markup import Markup, data, element
from pocketlm.report.plots import passes_figure, planes
from pocketlm.report.sources import sources_tables

# Lost examples shown at once; the rest unfold.
_SHOWN_LOST = 10
_WITHOUT_LABELS = ("similarity", "retrieval", "generation")
# What a task's labels are called.
_NOUNS = {"understanding": "intent", "tagging": "type of span", "word-tagging": "tag"}

HOW_TAKEN = (
    "Dev chose: every candidate was trained on train, exported, and measured on dev. The plots and the table of "
    "candidates show dev.",
    "Test was read once, for the chosen Pocket, and the verdict is about those figures; intervals are 95 % percentile "
    "bootstraps over the rows of test.",
)
HOW_COSTS_ARE_TAKEN = (
    "Size is the whole file, tokenizer and manifest included.",
    "Latency is one text at a time on one thread in a fresh process, over real texts, from text to answer; p50 and "
    "p95 are over calls, after a warm-up.",
    "Memory is the peak resident set of that process, Python and the runtime included.",
)

REFIT = (
    "The figures on dev are those of the student that had not seen dev; "
    "the student in the file was trained {} on train and dev rows."
)


def _section(name: str, heading: str, *parts: object) -> Markup:
    return element("section", element("h2", heading, id=name), *parts)


def _metric(result: Mapping[str, Any]) -> str:
    return str(result.get("main_metric", ""))


def candidates(result: Mapping[str, Any]) -> Markup:
    """Candidates on two planes and in a table."""
    made = tables.candidates_table(result, _metric(result), metric_name(_metric(result)))
    if not made:
        return _section("candidates", "Candidates", element("p", "No candidate was tried.", class_="muted"))
    return _section("candidates", "Candidates", planes(result), made)


def passes(result: Mapping[str, Any]) -> Markup:
    """What each pass of the chosen Pocket cost and bought."""
    found = rows(part(result, "chosen"), "passes")
    if not found:
        return Markup("")
    made = tables.passes_table(found, metric_name(_metric(result)))
    refit = part(part(result, "chosen"), "refit")
    how = "further" if refit and refit.get("further") else "in the same way"
    note = element("p", REFIT.format(how), class_="muted") if refit else None
    return _section("passes", "What each pass cost and bought", note, passes_figure(result, found), made)


def int8(result: Mapping[str, Any]) -> Markup:
    """The int8 gate's verdict."""
    if not part(result, "chosen"):
        return Markup("")
    verdict = part(part(result, "chosen"), "int8")
    if not verdict and result.get("task") == "generation":
        return Markup("")  # its weights are codes, and no products were weighed against each other
    if not verdict:
        text = "The gate did not run: the chosen model has no graph whose matrix products could be int8."
        return _section("int8", "int8 gate", element("p", text))
    shown = {"integer_matmuls": "integer matrix products", "fused": "of them fused", "unfused": "not fused"}
    figures = {label: plain(verdict[key]) for key, label in shown.items() if verdict.get(key) is not None}
    for key, label in (("quality", "dev, int8"), ("float_quality", "dev, float")):
        if figure(verdict, key) is not None:
            figures[f"{metric_name(_metric(result))} on {label}"] = quality(_metric(result), verdict[key])
    if figure(verdict, "ratio") is not None:
        figures["int8's time over float's"] = f"{verdict['ratio']:.2f}×"
    known = {*shown, "quality", "float_quality", "ratio", "verdict", "why"}
    figures.update({key.replace("_", " "): plain(value) for key, value in verdict.items() if key not in known})
    line = element("p", element("strong", data(verdict.get("verdict", ""))), ": ", data(verdict.get("why") or ""))
    return _section("int8", "int8 gate", line, tables.facts(figures))


def labels(result: Mapping[str, Any]) -> Markup:
    """Every metric, and how it was taken where there is a choice; per class, and per slot where the task has slots."""
    test = part(part(result, "chosen"), "test")
    classes, slots = rows(test, "per_class"), rows(test, "per_slot")
    noun = _NOUNS.get(str(result.get("task")), "class")
    made = [
        tables.labels_table(f"Per {noun}, on test", noun, classes),
        tables.labels_table("Per slot, on test", "slot", slots),
    ]
    signatures = {f"{metric_name(key)} is counted": one for key, one in part(test, "signatures").items()}
    if not any(made) and not signatures and result.get("task") not in _WITHOUT_LABELS:
        return Markup("")
    others = {metric_name(key): _with_interval(key, one) for key, one in part(test, "metrics").items()} | signatures
    others |= _over_teacher(result)
    sure = {metric_name(key): _with_interval(key, one) for key, one in part(test, "sureness").items()}
    made += [element("h3", "How sure it is"), tables.facts(sure)] if sure else []
    return _section("labels", "Quality on test", tables.facts(others), *made)


def _with_interval(metric: str, one: object) -> str:
    shown = quality(metric, figure(one, "value"))
    low, high = figure(one, "low"), figure(one, "high")
    if low is None or high is None:
        return shown
    if lower_is_better(metric):
        return f"{shown} ({low:.4g} to {high:.4g})"
    return f"{shown} ({100 * low:.1f} to {100 * high:.1f})"


def _over_teacher(result: Mapping[str, Any]) -> dict[str, str]:
    """How far figures are from the teacher's on the same texts, where that was taken in pairs."""
    systems = part(part(part(result, "chosen"), "against_teacher"), "systems")
    found = {}
    for key, one in part(systems, "student").items():
        if figure(one, "difference") is not None:
            shown = f"{one['difference']:+.4g} ({one['low']:+.4g} to {one['high']:+.4g})"
            found[f"{metric_name(key)}, student less teacher"] = shown
    return found


def confusion(result: Mapping[str, Any]) -> Markup:
    """The confusion matrix and the most confused pairs."""
    found = Confusion.of(part(part(part(result, "chosen"), "test"), "confusion"))
    if found is None:
        return Markup("")
    pairs = tables.pairs_table(found) or element("p", "No row of test was confused.")
    grid = element("div", matrix(found), class_="box matrix-box", tabindex="0", role="region", aria_label="Matrix")
    note = "Rows are gold, columns predicted; blue is right, orange wrong; more ink is a larger share of the row."
    if len(found.labels) > MOST_LABELLED:
        note += " Point at a cell, or tap it, for its labels."
    drawn = element("figure", grid, element("figcaption", note, class_="muted"), class_="tipped")
    return _section("confusion", "Confusions on test", element("div", drawn, pairs, class_="pair"))


def lost(result: Mapping[str, Any]) -> Markup:
    """Examples of test the teacher had right and the student wrong."""
    found = [one for one in rows(part(result, "chosen"), "lost_examples") if isinstance(one, Mapping)]
    if not found:
        return Markup("")
    items = [_lost(one) for one in found]
    shown = [element("ul", *items[:_SHOWN_LOST], class_="lost")]
    if len(items) > _SHOWN_LOST:
        summary = element("summary", f"{len(items) - _SHOWN_LOST} more")
        shown.append(element("details", summary, element("ul", *items[_SHOWN_LOST:], class_="lost")))
    return _section("lost", "Lost against the teacher", *shown)


def _lost(one: Mapping[str, Any]) -> Markup:
    said = [
        element("div", element("dt", key), element("dd", data(plain(one.get(key)))), class_=key)
        for key in ("gold", "teacher", "student")
        if key in one
    ]
    texts = [element("p", line, dir="auto") for line in str(one.get("text", "")).split("\n")]
    return element("li", *texts, element("dl", *said))


def about_data(result: Mapping[str, Any]) -> Markup:
    """Splits, hashes, columns, notes, and the teacher."""
    found, teacher = part(result, "data"), part(result, "teacher")
    columns = found.get("columns")
    parts: list[object] = [tables.splits_table(part(found, "splits"))]
    if columns:
        parts.append(element("p", "Columns: ", data(plain(columns))))
    parts += sources_tables(found)
    notes = [element("li", data(note)) for note in rows(found, "notes")]
    parts.append(element("ul", *notes) if notes else None)
    if teacher:
        parts += [element("h3", "Teacher"), tables.facts(_teacher_facts(teacher))]
        remarks = [element("li", data(note)) for note in rows(teacher, "notes")]
        parts.append(element("ul", *remarks) if remarks else None)
    shown = [one for one in parts if one]
    return _section("data", "Data", *shown) if shown else Markup("")


def _teacher_facts(teacher: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {"name": teacher.get("name", "")}
    for key, label, write in (
        ("size_bytes", "size", size),
        ("latency_p50_ms", "p50", latency),
        ("seconds", "training took", duration),
    ):
        if figure(teacher, key) is not None:
            known[label] = write(teacher[key])
    for split, metrics in part(teacher, "quality").items():
        if isinstance(metrics, Mapping) and metrics:
            known[f"on {split}"] = ", ".join(f"{metric_name(key)} {quality(key, one)}" for key, one in metrics.items())
    return known


def environment(result: Mapping[str, Any], how_taken: Sequence[str] = (*HOW_TAKEN, *HOW_COSTS_ARE_TAKEN)) -> Markup:
    """How the figures were taken, on what, with which seed and time."""
    known: dict[str, Any] = {}
    for key, value in part(result, "environment").items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {plain(one)}" for name, one in value.items())
        known[str(key).replace("_", " ")] = value
    there = part(part(result, "chosen"), "estimated").get("device")
    if there:
        own = (
            f"Latency and memory marked {ESTIMATE.strip()} are estimates for {there}, from what was measured here and "
        )
        how_taken = (*how_taken, own + "the machine's own rates.")
    agreement = figure(result, "chosen", "agreement")
    if agreement is not None:
        known["exported model agrees with training's"] = f"on {percent(agreement)} of dev"
    known["seed"] = result.get("seed")
    if figure(result, "effort") not in (None, 1):
        known["effort"] = f"{result['effort']:g} of the usual epochs"
    if figure(result, "seconds") is not None:
        known["the whole run took"] = duration(result["seconds"])
    shown = {key: value for key, value in known.items() if value is not None}
    how = element("ul", *(element("li", line) for line in how_taken))
    return _section("how", "How the figures were taken", how, tables.facts(shown))
