"""Smart-home commands in languages that were hardly or never trained on: cross_lingual.py --out FILE

Each target is learnt three times by the same `fit`: from 50 of its rows alone, from these beside the rows of other
languages, and from other languages alone (zero-shot). The data comes from the PyPI package home-assistant-intents;
targets have at least 15 intents, of which a few have too few templates for any to be in test. The 50 rows are all that
is used of a target beside its test rows: those that choose are split off from them. Test rows are read once a fit.

    python benchmarks/cross_lingual.py --max-size 1MB --out benchmarks/results/cross_lingual.json
    python benchmarks/cross_lingual.py --teacher FOLDER --unlabelled --targets hu,vi --out FILE

Interrupted, the same command goes on where it stopped. --unlabelled gives the teacher the texts of the target's other
training rows without their labels.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

from low_resource import keep

import pocketlm
from pocketlm.data.smart_home import smart_home
from pocketlm.errors import BudgetMissed
from pocketlm.measure.machine import describe

SOURCES = "en,de,es,fr,nl"
# Ten languages of six families and five scripts.
TARGETS = "sv,da,pt,ro,pl,sl,hu,el,hi,vi"
SHOTS = 50
METRICS = ("frame_accuracy", "intent_accuracy", "slot_f1")


def main() -> None:
    given = arguments()
    path = Path(given.out)
    done = json.loads(path.read_text("utf-8")) if path.is_file() else {"about": about(given), "rows": []}
    if done["about"]["settings"] != settings_of(given):
        raise SystemExit(f"{path} holds figures of other settings; name another file")
    known = {(row["target"], row["seed"], row["arm"]) for row in done["rows"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(given.seeds):
        for target in given.targets.split(","):
            for arm, settings in arms(target, given).items():
                if (target, seed, arm) not in known:
                    done["rows"].append(
                        {"target": target, "seed": seed, "arm": arm, **run(target, seed, settings, given)}
                    )
                    done["gains"] = gains(done["rows"])
                    keep(done, path)
    for name, value in done.get("gains", {}).items():
        print(f"{name}: {value}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument("--sources", default=SOURCES, help='codes, or "auto"')
    parser.add_argument("--teacher")
    parser.add_argument("--unlabelled", action="store_true")
    parser.add_argument("--max-size", default="1MB")
    parser.add_argument("--variants", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", default="cross-lingual-work")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def arms(target: str, given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Settings of each fit, by name: the peer first."""
    named = [code for code in given.sources.split(",") if code != target]
    also = ("auto",) if named == ["auto"] else tuple(f"smart-home:{code}" for code in named)
    return {
        f"{SHOTS} rows alone": {"shots": SHOTS},
        f"{SHOTS} rows and others": {"shots": SHOTS, "also": also},
        "zero-shot": {"shots": 0, "also": also},
    }


def run(target: str, seed: int, settings: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Test figures of one fit with their intervals, and what it was made of."""
    folder = Path(given.work)
    folder.mkdir(parents=True, exist_ok=True)
    more = {"variants": given.variants} if given.variants is not None else {}
    if given.unlabelled:
        texts = folder / f"{target}.txt"
        texts.write_text("\n".join(str(row["text"]) for row in smart_home(target).splits["train"]) + "\n", "utf-8")
        more["unlabelled"] = str(texts)
    name = f"{target}-{seed}-{settings['shots']}-{'mixed' if settings.get('also') else 'alone'}"
    try:
        done = pocketlm.fit(
            f"smart-home:{target}", teacher=given.teacher, max_size=given.max_size, seed=seed, force=True,
            output=str(folder / f"{name}.pocket"), **settings, **more,
        )  # fmt: skip
    except BudgetMissed as missed:
        done = missed.result
    data, chosen, teacher = done.data["data"], done.data["chosen"], done.data["teacher"]
    return {
        "chosen": chosen["name"], "metrics": {metric: chosen["test"]["metrics"][metric] for metric in METRICS},
        "n": chosen["test"]["n"], "also": data.get("also"), "teacher": teacher and teacher["quality"],
        "notes": data["notes"], "seconds": round(done.data["seconds"], 1),
    }  # fmt: skip


def gains(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Frame accuracy of each arm, the mean over targets and seeds that all arms have, and the gain over the peer."""
    by_arm: dict[str, dict[tuple[str, int], float]] = {}
    for row in rows:
        value = row["metrics"]["frame_accuracy"]["value"]
        by_arm.setdefault(row["arm"], {})[row["target"], row["seed"]] = value
    shared = set.intersection(*(set(own) for own in by_arm.values()))
    if not shared:
        return {}
    means = {arm: sum(own[key] for key in shared) / len(shared) for arm, own in by_arm.items()}
    alone, mixed = means.get(f"{SHOTS} rows alone"), means.get(f"{SHOTS} rows and others")
    found: dict[str, Any] = {arm: round(mean, 4) for arm, mean in means.items()}
    if alone is not None and mixed is not None:
        found["gain"] = round(mixed - alone, 4)
    return {**found, "targets": len(shared)}


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """What all figures of a file have in common."""
    names = ("sources", "unlabelled", "max_size", "variants")
    teacher = given.teacher and Path(given.teacher).name
    return {"teacher": teacher, **{name: getattr(given, name) for name in names}}


def about(given: argparse.Namespace) -> dict[str, Any]:
    """When, where and with what."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": describe(),
        "pocketlm": pocketlm.__version__, "settings": settings_of(given),
    }  # fmt: skip


if __name__ == "__main__":
    main()
