"""Pretraining in equal time, from nothing and from a base: python benchmarks/pretrain.py --data FOLDER --models FOLDER

    python benchmarks/pretrain.py --data data --models models --minutes 30 --threads 1 --out results/pretrain.json

FOLDER of --data holds swahili-text/train.txt, valid.txt and test.txt. FOLDER of --models holds smollm2-135m (a causal
model of English) and me5-small (multilingual-e5-small, an encoder), as Hugging Face folders. Every run has the same
wall time, vocabulary learning and composing included, and the same number of threads. Of each kind the run that reads
dev best is chosen on each side, from nothing and from a base; test is read once, by all runs, when all are trained.
Causal models are compared in bits a byte with each other and with what only counts bytes, encoders by
pseudo-likelihood with each other. Interrupted, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pocketlm.cli.show import Bars
from pocketlm.data.documents import documents, stretches
from pocketlm.measure.byte_models import lzma_bits, ngram_bits
from pocketlm.measure.machine import describe
from pocketlm.model.pretrained import load_model
from pocketlm.pretraining import Pretraining, bits_a_byte, pretrain
from pocketlm.progress import Progress

CAUSAL, MASKED = "smollm2-135m", "me5-small"
# Name: settings; "base" is a folder of --models.
RUNS: dict[str, dict[str, Any]] = {
    "causal, from nothing": {"kind": "causal"},
    "causal, from nothing, wider": {"kind": "causal", "width": 256, "blocks": 4},
    "SmolLM2, 3 blocks, transferred": {"base": CAUSAL, "blocks": 3},
    "SmolLM2, 6 blocks, transferred": {"base": CAUSAL, "blocks": 6},
    "SmolLM2, transferred": {"base": CAUSAL},
    "SmolLM2, transferred, adapter": {"base": CAUSAL, "adapter": 16},
    "SmolLM2, own words, adapter": {"base": CAUSAL, "vocabulary": "keep", "adapter": 16},
    "masked, from nothing": {"kind": "masked"},
    "masked, from nothing, wider": {"kind": "masked", "width": 256, "blocks": 4},
    "e5, transferred": {"base": MASKED},
    "e5, 6 blocks, transferred": {"base": MASKED, "blocks": 6},
    "e5, transferred, adapter": {"base": MASKED, "adapter": 16},
}


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    chosen = given.only.split(";") if given.only else list(RUNS)
    with Bars() as bars:
        reports = {name: run(name, given, bars) for name in chosen}
        bars.stage("reading test once")
        result = judged(reports, given)
    path = Path(given.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for name, row in result["runs"].items():
        print(f"{name}: dev {row['dev']['value']:.3f}, test {row['test']['value']:.3f}, {row['parameters']:,} weights")
    print(json.dumps({"counting": result["counting"], "verdicts": result["verdicts"]}, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with swahili-text")
    parser.add_argument("--models", required=True, help="folder with smollm2-135m and me5-small")
    parser.add_argument("--minutes", type=float, default=30.0, help="wall time of every run")
    parser.add_argument("--threads", type=int, default=1, help="of training")
    parser.add_argument("--pieces", type=int, default=4_000, help="of every new vocabulary")
    parser.add_argument("--only", help="names of runs, joined by ;")
    parser.add_argument("--work", default="pretrain.work", help="folder of finished and unfinished runs")
    parser.add_argument("--out", default="results/pretrain.json")
    return parser.parse_args()


def run(name: str, given: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """The report of one run, or of the same one before."""
    progress.stage(f"--- {name}")
    settings = dict(RUNS[name])
    if base := settings.get("base"):
        settings["base"] = str(Path(given.models) / base)
    if settings.get("vocabulary") != "keep":
        settings["pieces"] = given.pieces
    text = Path(given.data) / "swahili-text"
    output = Path(given.work) / name.replace(", ", "-").replace(" ", "-")
    wish = Pretraining(
        str(text / "train.txt"), str(output), dev=str(text / "valid.txt"), force=True,
        time_limit=f"{60 * given.minutes:.0f}s", **settings,
    )  # fmt: skip
    busy = os.getloadavg()[0]
    report = pretrain(wish, progress)
    # above the threads, something else ran too and the minutes held less
    return {**report, "load": [round(busy, 1), round(os.getloadavg()[0], 1)]}


def judged(reports: Mapping[str, Mapping[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """All runs with their figures on test, and of each kind who won."""
    text = Path(given.data) / "swahili-text"
    test = [part for one in documents(str(text / "test.txt")) for part in stretches(one)]
    rows = {
        name: {
            "kind": report["kind"], "metric": report["metric"], "dev": report["dev"]["model"],
            "test": bits_a_byte(load_model(report["output"]), test),
            "from": Path(report["base"]).name if report["base"] else "nothing",
            **{key: report[key] for key in ("parameters", "pieces", "epochs", "seconds", "plan", "notes", "load")},
        }
        for name, report in reports.items()
    }  # fmt: skip
    read, said = ((text / f"{name}.txt").read_bytes() for name in ("train", "test"))
    return {
        "date": datetime.date.today().isoformat(), "minutes": given.minutes, "threads": given.threads,
        "environment": describe(), "runs": rows, "verdicts": verdicts(rows),
        "counting": {"byte n-grams": ngram_bits(read, said), "lzma": lzma_bits(read, said)},
    }  # fmt: skip


def verdicts(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each kind the best from nothing and the best from a base, both chosen on dev, and their test figures.

    sure: whether the intervals on test do not touch.
    """
    found = {}
    for kind in ("causal", "masked"):
        sides = {
            side: {name: row for name, row in rows.items() if row["kind"] == kind and (row["from"] == "nothing") == new}
            for side, new in (("nothing", True), ("base", False))
        }
        if not all(sides.values()):
            continue
        best = {side: min(own, key=lambda name: own[name]["dev"]["value"]) for side, own in sides.items()}
        test = {side: rows[name]["test"] for side, name in best.items()}
        found[kind] = {
            **best, "test": test, "gain": test["nothing"]["value"] - test["base"]["value"],
            "sure": test["base"]["high"] < test["nothing"]["low"] or test["nothing"]["high"] < test["base"]["low"],
        }  # fmt: skip
    return found


if __name__ == "__main__":
    main()
