"""One self-contained page for a result: no network, no script but its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from pocketlm.pocket.format import write_atomically
from pocketlm.report.svg import COLOURS, OTHER, Axis, Mark, confusion_grid, scatter
from pocketlm.units import format_duration, format_latency, format_size

Data = Mapping[str, Any]

_SIZE_TICKS = [(s * 10**e, format_size(s * 10**e)) for e in range(3, 9) for s in (1, 3)]
_TIME_TICKS = [(s * 10.0**e, format_latency(s * 10.0**e)) for e in range(-2, 3) for s in (1, 3)]
MOST_CONFUSED = 12
GRID_LABELS = 120


def write_report(result: Data, path: Path, *, replace: bool) -> Path:
    """Write the page whole or not at all. Raises OutputError where it exists and `replace` is false."""
    write_atomically(path, render(result).encode(), replace=replace)
    return path


def render(result: Data) -> str:
    """The page as text."""
    page = resources.files("pocketlm.report")
    css, script = (page / "page.css").read_text("utf-8"), (page / "page.js").read_text("utf-8")
    chosen = result.get("chosen")
    sections = [
        _head(result), _tiles(result), _plots(result), _candidates(result), _passes(chosen), _int8(chosen),
        _labels("Per class", chosen, "per_class"), _labels("Per slot", chosen, "per_slot"), _confusion(chosen),
        _lost(chosen), _use(result), _data(result), _environment(result),
    ]  # fmt: skip
    title = escape(f"PocketLM: {Path(result['pocket'] or result['report']).name}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{css}</style></head>'
        f'<body class="{escape(result["status"])}"><main>{"".join(sections)}</main>'
        f'<div id="tip" role="status"></div><script>{script}</script></body></html>\n'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], marked: int = -1, wide: Sequence[int] = ()) -> str:
    """A sortable table in a box of its own. A cell is text, or (shown text, value to sort by).

    marked: the row in bold. wide: columns of running text.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = []
    for place, row in enumerate(rows):
        cells = []
        for column, cell in enumerate(row):
            shown, value = cell if isinstance(cell, tuple) else (cell, None)
            kind = ' class="text" dir="auto"' if column in wide else ""
            sort = "" if value is None else f' data-value="{escape(str(value), quote=True)}"'
            cells.append(f"<td{kind}{sort}>{escape(str(shown))}</td>")
        body.append(f'<tr{" class=chosen" if place == marked else ""}>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table></div>'
    )


def _head(result: Data) -> str:
    words = {"met": "The budget is met", "best": "The best trade-off", "missed": "The budget is missed"}
    chips = "".join(
        f'<li class="{"ok" if limit["holds"] else "bad"}">{escape(limit["text"])}</li>'
        for limit in result["verdict"]["limits"]
    )
    return (
        f"<h1>{words[result['status']]}</h1>"
        f'<p class="verdict">{escape(result["verdict"]["text"])}</p><ul class="chips">{chips}</ul>'
    )


def _tiles(result: Data) -> str:
    chosen = result.get("chosen")
    if not chosen:
        return ""
    taken, metric = chosen["measurement"], result["main_metric"]
    figure = chosen["test"]["metrics"][metric]
    tiles = [
        (format_size(taken["size_bytes"]), "whole file"),
        (format_latency(taken["latency_p50_ms"]), f"p50, one thread (p95 {format_latency(taken['latency_p95_ms'])})"),
        (format_size(taken["memory_bytes"]), "peak memory of the process"),
        (f"{figure['value']:.4f}", f"{metric} on test, 95 %: {figure['low']:.4f} to {figure['high']:.4f}"),
    ]
    teacher = result.get("teacher")
    if teacher and teacher["quality"]["test"].get(metric):
        tiles.append((f"{figure['value'] / teacher['quality']['test'][metric]:.1%}", "of the teacher's, on test"))
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{escape(a)}</b><span>{escape(b)}</span></div>' for a, b in tiles) + "</div>"


def _plots(result: Data) -> str:
    metric, budget = result["main_metric"], result["budget"]
    shown = [one for one in result["candidates"] if one["status"] == "measured"]
    teacher = result.get("teacher")
    floor = next((one["limit"] for one in result["verdict"]["limits"] if one["name"] == metric), None)
    plots = []
    for key, axis in (
        ("size_bytes", Axis("size of the file", _SIZE_TICKS, budget["max_size"])),
        ("latency_p50_ms", Axis("p50 latency", _TIME_TICKS, budget["max_latency"])),
    ):
        marks = [
            Mark(one[key], one["quality"][metric], one["family"], _tip(one, metric), one["chosen"]) for one in shown
        ]
        if teacher and teacher.get(key):
            tip = f"teacher {teacher['name']}: {metric} {teacher['quality']['dev'][metric]:.4f}"
            marks.append(Mark(teacher[key], teacher["quality"]["dev"][metric], "teacher", tip))
        plots.append(f"<div>{scatter(marks, axis, f'{metric} on dev', floor)}</div>")
    families = dict.fromkeys([one["family"] for one in shown] + (["teacher"] if teacher else []))
    legend = "".join(f'<span><i style="background:{COLOURS.get(f, OTHER)}"></i>{escape(f)}</span>' for f in families)
    return f'<h2>What was tried</h2><div class="plots">{"".join(plots)}</div><div class="legend">{legend}</div>'


def _tip(one: Data, metric: str) -> str:
    return (
        f"{one['name']}: {metric} {one['quality'][metric]:.4f} on dev, {format_size(one['size_bytes'])}, "
        f"p50 {format_latency(one['latency_p50_ms'])}, {format_size(one['memory_bytes'])} RAM"
    )


def _candidates(result: Data) -> str:
    metric, rows, marked = result["main_metric"], [], -1
    for place, one in enumerate(result["candidates"]):
        if one["chosen"]:
            marked = place
        if one["status"] != "measured":
            rows.append([one["name"], *[("", "")] * 5, one["why"]])
            continue
        rows.append(
            [
                one["name"],
                (f"{one['quality'][metric]:.4f}", one["quality"][metric]),
                (format_size(one["size_bytes"]), one["size_bytes"]),
                (format_latency(one["latency_p50_ms"]), one["latency_p50_ms"]),
                (format_size(one["memory_bytes"]), one["memory_bytes"]),
                (format_duration(one["seconds"]), one["seconds"]),
                "chosen" if one["chosen"] else one["why"],
            ]
        )
    return table(["candidate", f"{metric} (dev)", "size", "p50", "memory", "training", "verdict"], rows, marked, (6,))


def _passes(chosen: Data | None) -> str:
    if not chosen or not chosen.get("passes"):
        return ""
    most = max(one["size_bytes_after"] for one in chosen["passes"]) or 1
    bars = []
    for one in chosen["passes"]:
        share = max(1, round(100 * one["size_bytes_after"] / most))
        quality = "" if one["quality_after"] is None else f", dev {one['quality_after']:.4f}"
        bars.append(
            f'<p><span class="bar" style="width:{share * 0.5}%"></span> {escape(one["name"])}: '
            f"{format_size(one['size_bytes_after'])} of weights{quality}</p>"
        )
    rows = []
    for one in chosen["passes"]:
        before, after = one["quality_before"], one["quality_after"]
        change = "" if after is None else f"{after:.4f}" if before is None else f"{before:.4f} → {after:.4f}"
        settings = ", ".join(f"{key}={value}" for key, value in one["settings"].items())
        size = f"{format_size(one['size_bytes_before'])} → {format_size(one['size_bytes_after'])}"
        weights = f"{one['parameters_before']:,} → {one['parameters_after']:,}"
        rows.append([one["name"], size, weights, change, format_duration(one["seconds"]), settings])
    heads = ["pass", "weights, bytes", "weights, number", "quality on dev", "time", "settings"]
    return f"<h2>What each pass cost and bought</h2>{''.join(bars)}{table(heads, rows, wide=(5,))}"


def _int8(chosen: Data | None) -> str:
    verdict = (chosen or {}).get("int8")
    if not verdict:
        return ""
    return f"<h2>int8</h2><p>{escape(verdict['verdict'])}: {escape(verdict['why'])}.</p>"


def _labels(title: str, chosen: Data | None, key: str) -> str:
    rows = (chosen or {}).get("test", {}).get(key)
    if not rows:
        return ""
    cells = [
        [one["label"], *((f"{one[name]:.3f}", one[name]) for name in ("precision", "recall", "f1")), one["support"]]
        for one in rows
    ]
    return f"<h2>{title}, on test</h2>{table([key.removeprefix('per_'), 'precision', 'recall', 'F1', 'rows'], cells)}"


def _confusion(chosen: Data | None) -> str:
    found = (chosen or {}).get("test", {}).get("confusion")
    if not found:
        return ""
    labels, counts = found["labels"], found["counts"]
    wrong = sorted(
        ((count, labels[row], labels[column]) for row, line in enumerate(counts) for column, count in enumerate(line) if row != column and count),
        key=lambda one: -one[0],
    )  # fmt: skip
    grid = f'<div class="scroll">{confusion_grid(counts, labels)}</div>' if len(labels) <= GRID_LABELS else ""
    rows = [[gold, said, count] for count, gold, said in wrong[:MOST_CONFUSED]]
    most = table(["gold", "predicted", "rows"], rows, wide=(1,)) if rows else "<p>Nothing was confused.</p>"
    return f'<h2>Confusion</h2><p class="dim">Gold down, predicted across; tap a cell.</p>{grid}{most}'


def _lost(chosen: Data | None) -> str:
    rows = (chosen or {}).get("lost_examples")
    if not rows:
        return ""
    cells = [[one["text"], one["gold"], one["student"]] for one in rows]
    title = "<h2>Lost against the teacher</h2><p>Test texts that the teacher gets right and this model does not.</p>"
    return title + table(["text", "gold", "predicted"], cells, wide=(0, 1, 2))


def _use(result: Data) -> str:
    if not result["pocket"]:
        return ""
    name = Path(result["pocket"]).name
    code = (
        f'pip install pocketlm\npocketlm run {name} "some text"\npocketlm run {name} < texts.jsonl > answers.jsonl\n'
        f"pocketlm bench {name}\n\n# in Python\nimport pocketlm\nmodel = pocketlm.load({name!r})\n"
        'model.predict("some text")'
    )
    return f"<h2>Run it</h2><pre>{escape(code)}</pre>"


def _data(result: Data) -> str:
    about = result["data"]
    rows = [[name, f"{one['rows']:,}", one["sha256"][:16]] for name, one in about["splits"].items()]
    notes = "".join(f"<p>{escape(note)}.</p>" for note in [about["columns"], *about["notes"]])
    return f"<h2>Data: {escape(about['source'])}</h2>{table(['split', 'rows', 'SHA-256'], rows)}{notes}"


def _environment(result: Data) -> str:
    about = result["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    teacher = result.get("teacher")
    notes = "" if not teacher else f"<p>Teacher {escape(teacher['name'])}: {escape('; '.join(teacher['notes']))}.</p>"
    return (
        f"<h2>How the figures were taken</h2>{notes}"
        "<p>Dev chose between the candidates; test was read once, for the chosen one. Size is the whole file. Latency is one "
        "text at a time on one thread over real texts, and memory the peak of the process, in a fresh process each.</p>"
        f'<p class="dim">{escape(str(about.get("cpu")))}, {about.get("cores")} cores, {escape(str(about.get("system")))}, '
        f"Python {escape(str(about.get('python')))}; {escape(versions)}; seed {result['seed']}; "
        f"{format_duration(result.get('seconds', 0))} in all.</p>"
    )
