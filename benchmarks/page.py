"""The figures of a run as the Markdown page docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

from pocketlm.units import format_latency, format_size

MARKS = ("<!-- figures: written by benchmarks/run.py -->", "<!-- figures end -->")
HOME_BARS = {"intent_accuracy": 0.98, "slot_f1": 0.97}


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    lines = [
        "# Benchmarks",
        "",
        "Latency is one text at a time on one thread in a fresh process, from text to answer, all systems in turn, the "
        "median of three rounds. Students and teachers learn from the training rows, a tenth of which is dev; the "
        "chosen student then learns from dev too. The other peers learn from training and dev rows. No "
        "choice within a run sees test rows; each system reads them once in it. What was seen of them in earlier runs "
        "stands in the [journal](log.md).",
        "",
    ]
    if "banking77" in found:
        lines += _banking77(found["banking77"])
    if "runtime" in found:
        lines += _runtime(found["runtime"])
    if "smart_home" in found:
        lines += _smart_home(found["smart_home"])
    return "\n".join(lines).rstrip() + "\n"


def _taken(part: dict[str, Any]) -> str:
    taken = part["taken"]
    about = taken["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"Written by `{taken['command']}` on {taken['date']}; {about['cpu']}, {about['cores']} cores; "
        f"Python {about['python']}; {versions}; seed 0."
    )


def summary(found: dict[str, Any]) -> str:
    """Accuracy, size and latency of every system on Banking77, for the README."""
    rows = [row for row in found["banking77"]["rows"] if "accuracy" in row]
    lines = ["| Banking77, 77 intents, one thread | accuracy | whole size | p50 |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row['name']} | {row['accuracy']:.1%} | {format_size(row['size_bytes'])} | "
        f"{format_latency(row['latency_p50_ms'])} |"
        for row in rows
    ]
    return "\n".join(lines)


def between_marks(text: str, new: str) -> str:
    """`text` with what stands between its two marks replaced by `new`. Raises ValueError where they are missing."""
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n{new}\n{MARKS[1]}{after}"


def _banking77(bank: dict[str, Any]) -> list[str]:
    teacher = bank["teacher"]["quality"]["test"]["accuracy"]
    same = bank["agreement"]
    return [
        f"## Banking77: {bank['test_rows']:,} test rows, 77 intents",
        "",
        _taken(bank),
        "",
        f"Casanueva et al. 2020, CC BY 4.0, published by PolyAI as task-specific-datasets. The teacher, "
        f"MiniLM-L6 fine-tuned, in torch, is right on {teacher:.2%} of test and took "
        f"{bank['teacher']['seconds']:.0f} s to fine-tune.",
        "",
        "| system | accuracy [95 %] | of teacher | bar | size | p50 | p95 | memory | p, teacher | p, TF-IDF |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *[_row(row, teacher) for row in bank["rows"]],
        "",
        "p: McNemar's exact test against that system on the same rows; small where the two differ by more than chance.",
        "",
        *[f"- {row['name']}: {row['chosen']}, {row['seconds']:.0f} s" for row in bank["rows"] if "chosen" in row],
        "",
        f"The teacher's exported float32 graph prefers torch's label on {same['float']:.2%} of the test rows (bar "
        f"99.90 %: {_reached(same['float'] >= 0.999)}); as an int8 graph by the same passes it differs by "
        f"{same['int8_points']:+.2f} points of accuracy (bar 0.3: {_reached(abs(same['int8_points']) <= 0.3)}).",
        "",
    ]


def _runtime(taken: dict[str, Any]) -> list[str]:
    lines = [
        "## The runtime itself",
        "",
        _taken(taken),
        "",
        f"`import pocketlm` takes {taken['import_ms']:.0f} ms, with all that loading a Pocket imports "
        f"{taken['load_import_ms']:.0f} ms (bar 150: {_reached(taken['load_import_ms'] < 150)}). What `predict` adds "
        "to the Pocket's tokenizer and onnxruntime call (bar 20 %), for the graphs that were tried on Banking77:",
        "",
        "| student | predict | tokenizer and graph alone | more |",
        "| --- | --- | --- | --- |",
    ]
    for one in taken["graphs"]:
        more = one["predict_ms"] / one["bare_ms"] - 1
        lines.append(
            f"| {one['name']} | {one['predict_ms'] * 1e3:.0f} µs | {one['bare_ms'] * 1e3:.0f} µs | "
            f"{more:.0%}: {_reached(more < 0.2)} |"
        )
    return [*lines, ""]


def _row(row: dict[str, Any], teacher: float) -> str:
    if "not_run" in row:
        return f"| {row['name']} | not run: {row['not_run']} |" + " |" * 8
    share = row["accuracy"] / teacher
    cells = [
        row["name"],
        f"{row['accuracy']:.2%} [{row['low']:.1%}, {row['high']:.1%}]",
        f"{share:.2%}",
        f"{row['bar']:.1%}: {_reached(share >= row['bar'] and row['status'] == 'met')}" if "bar" in row else "",
        format_size(row["size_bytes"]),
        format_latency(row["latency_p50_ms"]),
        format_latency(row["latency_p95_ms"]),
        format_size(row["memory_bytes"]),
        _p(row.get("p_teacher")),
        _p(row.get("p_tfidf")),
    ]
    return f"| {' | '.join(cells)} |"


def _smart_home(home: dict[str, Any]) -> list[str]:
    taken = home["measurement"]
    lines = [
        "## Smart home, English, at most 1 MB and 1 ms; test templates never seen",
        "",
        _taken(home),
        "",
        "Sentences sampled from the templates of the package home-assistant-intents (CC BY 4.0).",
        "",
        "| metric | teacher | Pocket | of teacher | bar |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in ("intent_accuracy", "slot_f1", "frame_accuracy"):
        own, given = home["student"][name], home["teacher"][name]
        bar = HOME_BARS.get(name)
        said = "" if bar is None else f"{bar:.0%}: {_reached(own / given >= bar)}"
        lines.append(f"| {name} | {given:.2%} | {own:.2%} | {own / given:.2%} | {said} |")
    return [
        *lines,
        "",
        f"{home['chosen']}: {taken['size_bytes']:,} bytes, p50 {format_latency(taken['latency_p50_ms'])}, "
        f"{home['seconds']:.0f} s in all.",
    ]


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _reached(held: bool) -> str:
    return "reached" if held else "missed"
