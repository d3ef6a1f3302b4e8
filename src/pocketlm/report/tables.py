"""Tables: each scrolls in its own box, sorts by a click on a heading, and says what its figures are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pocketlm.report.confusion import Confusion
from pocketlm.report.figures import (
    ABSENT,
    ESTIMATE,
    count,
    duration,
    figure,
    latency,
    number,
    part,
    percent,
    plain,
    quality,
    recipe_summary,
    rows,
    size,
    step_text,
)
from pocketlm.report.markup import Markup, data, element, escape, join, label


@dataclass(frozen=True)
class Cell:
    """What a cell shows and, where that is a figure, the figure it sorts by. heading: it names its row."""

    shown: object
    sort: float | None = None
    numeric: bool = False
    heading: bool = False
    class_: str | None = None


def figure_cell(shown: object, sort: object) -> Cell:
    """A cell aligned and sorted as a figure."""
    return Cell(shown, number(sort), numeric=True)


def table(
    caption: str, headings: Sequence[str], body: Iterable[Sequence[Cell]], *, sortable: bool = True, tall: bool = False,
    ids: Sequence[str] = (),
) -> Markup:  # fmt: skip
    """A table in a box of its own. tall: the box is bounded in height too. ids: of its rows. Nothing of no row."""
    lines = [list(line) for line in body]
    if not lines:
        return Markup("")
    numeric = [cell.numeric for cell in lines[0]]
    head = [_heading(text, is_figure, sortable) for text, is_figure in zip(headings, numeric, strict=True)]
    made = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *(element("tr", *map(_cell, line), id=own) for line, own in zip_longest(lines, ids))),
        class_="sortable" if sortable else None,
    )
    return element("div", made, class_="box tall" if tall else "box", tabindex="0", role="region", aria_label=caption)


def _heading(text: str, numeric: bool, sortable: bool) -> Markup:
    inside = element("button", text, type="button") if sortable else escape(text)
    return element("th", inside, scope="col", class_="num" if numeric else None)


def _cell(cell: Cell) -> Markup:
    classes = " ".join(filter(None, ("num" if cell.numeric else None, cell.class_)))
    sort = None if cell.sort is None else repr(cell.sort)
    if cell.heading:
        return element("th", cell.shown, scope="row", class_=classes or None)
    return element("td", cell.shown, class_=classes or None, data_sort=sort)


def candidates_table(result: Mapping[str, Any], metric: str, metric_title: str) -> Markup:
    """Every candidate and the teacher, with status and why; what is estimated for another machine bears a sign."""
    lines = [_candidate(one, metric) for one in rows(result, "candidates")]
    teacher = part(result, "teacher")
    if teacher and lines:
        shown = {**teacher, "quality": part(part(teacher, "quality"), "dev"), "family": "teacher", "status": "teacher"}
        lines.append(_candidate(shown, metric))
    headings = ("candidate", "status", f"{metric_title}, dev", "size", "p50", "p95", "memory", "took", "why")
    ids = [row_id(place) for place in range(len(lines))]
    return table("Candidates, in the order they were tried", headings, lines, ids=ids)


def row_id(place: int) -> str:
    """The id of a candidate's row in their table, by its place."""
    return f"candidate-{place}"


def rows_of_trials(result: Mapping[str, Any]) -> dict[str, str]:
    """The id of each recipe's row in their table, by the key that trials of a search know it by."""
    return {str(one["key"]): row_id(place) for place, one in enumerate(rows(result, "candidates")) if "key" in one}


def _candidate(one: Mapping[str, Any], metric: str) -> list[Cell]:
    tag = "chosen" if one.get("chosen") else "front" if one.get("front") else one.get("status", "")
    recipe = rows(one, "recipe")
    name = with_recipe(str(one.get("name", "")), recipe) if recipe else data(one.get("name", ""))
    family = element("span", data(one.get("family", "")), class_="family")
    reached = figure(one, "quality", metric)
    about = ESTIMATE if one.get("device") else ""
    return [
        Cell(join((name, family)), heading=True),
        Cell(element("span", tag, class_=f"tag {'chosen' if one.get('chosen') else 'plain'}")),
        figure_cell(quality(metric, reached), reached),
        figure_cell(size(one.get("size_bytes")), one.get("size_bytes")),
        figure_cell(about + latency(one.get("latency_p50_ms")), one.get("latency_p50_ms")),
        figure_cell(about + latency(one.get("latency_p95_ms")), one.get("latency_p95_ms")),
        figure_cell(about + size(one.get("memory_bytes")), one.get("memory_bytes")),
        figure_cell(duration(one.get("seconds")), one.get("seconds")),
        Cell(data(one.get("why") or ""), class_="why"),
    ]


def with_recipe(name: str, recipe: Sequence[Mapping[str, Any]]) -> Markup:
    """The name, which unfolds to the steps of its recipe, and these to a file that `fit --recipe` takes."""
    steps = element("ol", *(element("li", data(step_text(step))) for step in recipe))
    return element("details", element("summary", data(name)), steps, _as_file(recipe), title=recipe_summary(recipe))


def _as_file(recipe: Sequence[Mapping[str, Any]]) -> Markup:
    """The recipe as YAML; nothing of steps that say no pass."""
    import yaml

    if not all("pass" in step for step in recipe):
        return Markup("")
    text = yaml.safe_dump([dict(step) for step in recipe], sort_keys=False, allow_unicode=True)
    return element("details", element("summary", "as YAML, for --recipe"), element("pre", element("code", text)))


def passes_table(passes: Sequence[Mapping[str, Any]], metric_title: str) -> Markup:
    """Seconds, parameters, bytes and quality of each pass, with its settings and notes."""
    lines = [
        [
            figure_cell(place, place),
            Cell(data(one.get("name", "")), heading=True),
            figure_cell(duration(one.get("seconds")), one.get("seconds")),
            figure_cell(count(one.get("parameters_after")), one.get("parameters_after")),
            figure_cell(size(one.get("size_bytes_after")), one.get("size_bytes_after")),
            figure_cell(percent(one.get("quality_after")), one.get("quality_after")),
            figure_cell(_change(one.get("quality_before"), one.get("quality_after")), _difference(one)),
            Cell(data(_settings(one)), class_="why"),
        ]
        for place, one in enumerate(passes, 1)
    ]
    headings = ("#", "pass", "took", "parameters", "bytes", f"{metric_title}, dev", "change", "settings and notes")
    return table("What each pass cost and bought", headings, lines)


def _difference(one: Mapping[str, Any]) -> float | None:
    before, after = number(one.get("quality_before")), number(one.get("quality_after"))
    return None if before is None or after is None else after - before


def _change(before: object, after: object) -> str:
    """A difference such as "+0.31 points"; a dash where one is absent."""
    change = _difference({"quality_before": before, "quality_after": after})
    return ABSENT if change is None else f"{100 * change:+.2f} points".replace("-", "−")


def _settings(one: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{key} {plain(value)}" for key, value in part(one, "settings").items())
    return ". ".join(filter(None, [settings, *map(str, rows(one, "notes"))]))


def labels_table(caption: str, noun: str, lines: Sequence[Mapping[str, Any]]) -> Markup:
    """Support, precision, recall and F1 of each label."""
    body = [
        [
            Cell(label(one.get("label", "")), heading=True),
            figure_cell(count(one.get("support")), one.get("support")),
            *(figure_cell(_bar(one.get(key)), one.get(key)) for key in ("precision", "recall", "f1")),
        ]
        for one in lines
    ]
    return table(caption, (noun, "support", "precision", "recall", "F1"), body, tall=len(body) > 16)


def _bar(value: object) -> Markup:
    share = number(value)
    width = 0.0 if share is None else 100 * min(max(share, 0.0), 1.0)
    bar = element("i", element("i", style=f"width:{width:.1f}%"), class_="share", aria_hidden="true")
    return element("span", percent(share, 1), bar, class_="with-share")


def pairs_table(confusion: Confusion, most: int = 15) -> Markup:
    """The most confused pairs of labels."""
    body = [
        [
            Cell(label(gold), heading=True),
            Cell(label(taken), class_="label"),
            figure_cell(n, n),
            figure_cell(percent(share, 1), share),
        ]
        for gold, taken, n, share in confusion.pairs()[:most]
    ]
    return table("Most confused pairs", ("gold", "taken for", "rows", "share of gold"), body)


def splits_table(splits: Mapping[str, Any]) -> Markup:
    """Rows and hash of each split."""
    body = [
        [
            Cell(data(name), heading=True),
            figure_cell(count(figure(one, "rows")), figure(one, "rows")),
            Cell(element("code", data(one.get("sha256") or ABSENT)), class_="hash"),
        ]
        for name, one in splits.items()
        if isinstance(one, Mapping)
    ]
    return table("Splits", ("split", "rows", "SHA-256"), body, sortable=False)


def facts(values: Mapping[str, Any]) -> Markup:
    """Names and values as a description list."""
    pairs = [element("div", element("dt", key), element("dd", data(plain(one)))) for key, one in values.items()]
    return element("dl", *pairs, class_="facts") if pairs else Markup("")
