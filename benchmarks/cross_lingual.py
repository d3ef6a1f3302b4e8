"""Smart-home commands in languages that were hardly or never trained on: cross_lingual.py --out FILE

By the same `fit`: a Pocket a target, of 50 of its rows alone; one Pocket for all targets, of 50 rows of each beside the
rows of other languages; and one of these others alone (zero-shot). The data comes from the PyPI package
home-assistant-intents; targets have at least 15 intents, of which a few have too few templates for any to be in test.
The 50 rows are all that is used of a target beside its test rows: those that choose are split off from them. Test rows
are read once by each Pocket.

    python benchmarks/cross_lingual.py --max-size 2MB --out benchmarks/results/cross_lingual.json
    python benchmarks/cross_lingual.py --teacher FOLDER --unlabelled --targets hu,vi --out FILE

Interrupted, the same command goes on where it stopped. --unlabelled gives the texts of the targets' other training
rows without their labels.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from low_resource import keep

import pocketlm
from pocketlm.data.mixing import some_rows
from pocketlm.data.smart_home import smart_home
from pocketlm.errors import BudgetMissed
from pocketlm.job import Result
from pocketlm.measure.machine import describe
from pocketlm.measure.quality import evaluate
from pocketlm.tasks.prepare import read_labelled

SOURCES = "en,de,es"
# Ten languages of six families and five scripts.
TARGETS = "sv,da,pt,ro,pl,sl,hu,el,hi,vi"
SHOTS = 50
ALONE, MIXED, ZERO = f"{SHOTS} rows alone", f"{SHOTS} rows and others", "zero-shot"
METRICS = ("frame_accuracy", "intent_accuracy", "slot_f1")


def main() -> None:
    given = arguments()
    path = Path(given.out)
    done = json.loads(path.read_text("utf-8")) if path.is_file() else {"about": about(given), "fits": {}, "rows": []}
    if done["about"]["settings"] != settings_of(given):
        raise SystemExit(f"{path} holds figures of other settings; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    targets = given.targets.split(",")
    for seed in range(given.seeds):
        for arm in given.arms:
            for own in [[one] for one in targets] if arm == ALONE else [targets]:
                name = f"{arm}, {','.join(own)}, seed {seed}"
                if name in done["fits"]:
                    continue
                made = Path(given.work) / name.replace(" ", "-").replace(",", "_")
                result = fitted(made, own, seed, arm, given)
                done["fits"][name] = told(result)
                for target in own:
                    metrics = judged(made, target)
                    done["rows"].append({"target": target, "seed": seed, "arm": arm, **metrics})
                    print(f"{name}: {target} {metrics['metrics']['frame_accuracy']['value']:.4f}", flush=True)
                done["gains"] = gains(done["rows"])
                keep(done, path)
    for name, value in done.get("gains", {}).items():
        print(f"{name}: {value}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument("--sources", default=SOURCES)
    parser.add_argument("--teacher")
    parser.add_argument("--unlabelled", action="store_true")
    parser.add_argument("--max-size", default="2MB")
    parser.add_argument("--variants", type=int)
    parser.add_argument("--time-limit", help="of each fit, as fit has it")
    parser.add_argument("--arms", nargs="+", choices=(ALONE, MIXED, ZERO), default=(ALONE, MIXED, ZERO))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--work", default="cross-lingual-work")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def fitted(made: Path, targets: Sequence[str], seed: int, arm: str, given: argparse.Namespace) -> Result:
    """The Pocket of the targets' few rows, or of none of theirs, and beside them of others' where the arm has these."""
    made.mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    texts: list[str] = []
    for target in targets:
        own = smart_home(target, seed=seed).splits
        splits["train"] += some_rows(own["train"], SHOTS, lambda row: row["intent"], seed)
        splits["test"] += own["test"]
        splits[f"test-{target}"] = list(own["test"])
        texts += [" ".join(str(row["text"]).split()) for row in own["train"]]
    for split, rows in splits.items():
        (made / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (made / "texts.txt").write_text("".join(text + "\n" for text in texts), "utf-8")
    more: dict[str, Any] = {"unlabelled": str(made / "texts.txt")} if given.unlabelled else {}
    more |= {"variants": given.variants} if given.variants is not None else {}
    if arm != ALONE:
        more["also"] = tuple(f"smart-home:{code}" for code in given.sources.split(",") if code not in targets)
    rows = {"shots": 0} if arm == ZERO else {"test": str(made / "test.jsonl")}
    try:
        return pocketlm.fit(
            str(made / ("test.jsonl" if arm == ZERO else "train.jsonl")), teacher=given.teacher, seed=seed, force=True,
            max_size=given.max_size, time_limit=given.time_limit, output=str(made / "student.pocket"),
            keep_best=True, **rows, **more,
        )  # fmt: skip
    except BudgetMissed as missed:
        return missed.result


def told(result: Result) -> dict[str, Any]:
    """What a Pocket is and was made of."""
    assert result.pocket is not None, "the nearest is kept"
    data, chosen, teacher = result.data["data"], result.data["chosen"], result.data["teacher"]
    return {
        "chosen": chosen["name"], "bytes": result.pocket.stat().st_size, "also": data.get("also"),
        "notes": data["notes"], "teacher": teacher and teacher["quality"], "seconds": round(result.data["seconds"], 1),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def judged(made: Path, target: str) -> dict[str, Any]:
    """Figures of a folder's Pocket on a target's test rows, with their intervals."""
    model = pocketlm.load(made / "student.pocket")
    scores = evaluate(model, read_labelled(str(made / f"test-{target}.jsonl"), model.task, None, None, ("slots", None)))
    about = scores.to_json()["metrics"]
    return {"n": scores.n, "metrics": {metric: about[metric] for metric in METRICS}}


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
    alone, mixed = means.get(ALONE), means.get(MIXED)
    found: dict[str, Any] = {arm: round(mean, 4) for arm, mean in means.items()}
    if alone is not None and mixed is not None:
        found["gain"] = round(mixed - alone, 4)
    return {**found, "targets": len(shared)}


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """What all figures of a file have in common."""
    names = ("sources", "unlabelled", "max_size", "variants", "time_limit", "targets")
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
