"""The search and chance on surrogates of real jobs: search_simulated.py --data FOLDER --fronts FILE --out FILE

    python benchmarks/search_simulated.py --data data --fronts benchmarks/results/search_front.json \\
        --out benchmarks/results/search_simulated.json

FOLDER holds the data sets of search_front.py, whose results --fronts are. Three seeds tell little of a search, and more
take days: here a Gaussian process of all recipes that were measured on a data set answers in the place of training,
with as much noise as it found in them (Eggensperger et al. 2015, Efficient benchmarking of hyperparameter optimizers
via surrogates). Of each case and budget: the search's hypervolume over chance's, both with as many recipes, of medians
over --seeds; and with how many recipes at most chance comes to what the search has (the first of TIMES that is enough).
Nothing is left after a third of its training here, the proposal of a teacher's parts is left out, and a surrogate is as
good as what it was fitted to: the same cases that the bar is held against. It is to develop a search by, not to prove
one.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import json
import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import search_front
from low_resource import keep
from search_front import SAMPLERS, Point, cases, hypervolume, points, ratio

import pocketlm
from pocketlm.advice import data as advising
from pocketlm.budget import Budget, Measurement
from pocketlm.measure.machine import describe
from pocketlm.pocket.work import digest
from pocketlm.progress import Deadline, Silent
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.attempt import Attempt, Gate
from pocketlm.search.facts import Facts
from pocketlm.search.family import Candidate
from pocketlm.search.judge import Judge
from pocketlm.search.opened import Plan
from pocketlm.search.space import Space
from pocketlm.search.study import Exploration
from pocketlm.search.trial import Trial
from pocketlm.units import parse_size

# What is told of chance: its recipes, in times of the search's.
TIMES = (1, 1.5, 2, 3, 4, 6, 8)
# Noises of different worlds: the same recipe comes to the same figure for all seeds of one of them.
WORLDS = 4


class Surrogate:
    """Quality and bytes of any recipe of a data set, by a Gaussian process of those that were measured."""

    def __init__(self, measured: Sequence[dict[str, Any]]) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        once = list({one["key"]: one for one in measured}.values())
        self.families = sorted({one["family"] for one in once})
        self.names = sorted({name for one in once for name in one["knobs"] if name != "size"})
        known = [[_number(one["knobs"].get(name)) for name in self.names] for one in once]
        self.usual = np.nanmedian(np.array(known), axis=0)
        places = np.array([self._place(one["family"], one["knobs"], one["expected_bytes"]) for one in once])
        self.mean, self.spread = places.mean(0), places.std(0) + 1e-9
        quality = np.array([one["figures"]["quality"] for one in once])
        larger = np.log([one["figures"]["size_bytes"] / one["expected_bytes"] for one in once])
        near = Matern(np.full(places.shape[1], 2.0), nu=2.5, length_scale_bounds=(0.2, 50))
        kernel = ConstantKernel(1.0) * near + WhiteKernel(0.05, (1e-3, 0.5))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a setting that decides nothing has no length
            self.quality, self.larger = (
                GaussianProcessRegressor(kernel, normalize_y=True).fit((places - self.mean) / self.spread, figures)
                for figures in (quality, larger)
            )
        self.noise = float(math.sqrt(self.quality.kernel_.k2.noise_level) * quality.std())

    def _place(self, family: str, knobs: dict[str, Any], size: float) -> list[float]:
        values = [_number(knobs.get(name)) for name in self.names]
        values = [usual if math.isnan(one) else one for one, usual in zip(values, self.usual, strict=True)]
        return [math.log2(size), *values, *(float(family == one) for one in self.families)]

    def of(self, candidate: Candidate, world: int) -> tuple[float, int]:
        """Quality and bytes of a candidate, the same ones whenever it is asked for in a world."""
        place = np.array([self._place(candidate.family, candidate.values, candidate.expected_bytes)])
        place = (place - self.mean) / self.spread
        key = hashlib.sha256(f"{digest(candidate.recipe.to_json())} {world}".encode()).digest()
        noise = np.random.default_rng(int.from_bytes(key[:8], "little")).normal() * self.noise
        size = candidate.expected_bytes * math.exp(self.larger.predict(place)[0])
        return float(self.quality.predict(place)[0] + noise), int(size)


def _number(value: Any) -> float:
    """A setting as a number: doublings of one above 0; NaN of none."""
    value = math.nan if value is None else float(value)
    return math.log2(value) if value > 0 else value


class Watched(Space):
    """A space that remembers its candidates by their recipes."""

    def __init__(self, facts: Facts, budget: Budget) -> None:
        self.made: dict[str, Candidate] = {}
        super().__init__(facts, budget)

    def candidate(self, *given: Any, **more: Any) -> Candidate | None:
        """As any space makes it."""
        found = super().candidate(*given, **more)
        if found is not None:
            self.made[digest(found.recipe.to_json())] = found
        return found


@dataclasses.dataclass
class Guessing:
    """A crew that asks a surrogate in the place of training. rows: of dev, whose share a quality is."""

    surrogate: Surrogate
    space: Watched
    rows: int
    world: int
    width: int = 1
    at_once: bool = False

    def begin(self, recipe: Recipe, gate: Gate | None) -> Callable[[], Attempt]:
        """What the surrogate says is there at once."""
        quality, size = self.surrogate.of(self.space.made[digest(recipe.to_json())], self.world)
        quality = round(min(1.0, max(0.0, quality)) * self.rows) / self.rows
        measured = Measurement({"quality": quality}, size, 0.1, 0.1, 10_000_000)
        return lambda: Attempt("measured", "", Trial(recipe, Path(), measured, {"seconds": 1.0}))

    def remembers(self, recipe: Recipe) -> bool:
        """Nothing was measured before."""
        return False


def searched(
    surrogate: Surrogate, facts: Facts, rows: int, size: str, who: str, seed: int, trials: int
) -> list[Point]:  # fmt: skip
    """What a search, or chance, found with so many recipes. who: a key of SAMPLERS."""
    budget = Budget(max_size=parse_size(size))
    space = Watched(facts, budget)
    crew = Guessing(surrogate, space, rows, seed % WORLDS)
    judge = Judge(budget, "quality", None, rows, taught=facts.taught)
    made = Exploration(
        space, lambda: space.starts, crew, lambda _: "", judge, Plan(trials, seed=seed, sampler=SAMPLERS[who])
    )
    outcomes = made.outcomes_of(Silent(), Deadline.after(None))
    found = [one.trial.measurement for one in outcomes if one.trial is not None]
    return [(one.quality["quality"], -math.log(one.size_bytes), 0.0) for one in found]


def facts_of(settings: dict[str, Any], effort: float) -> tuple[Facts, int]:
    """The facts of a job, and the rows of its dev."""
    seen: list[Facts] = []

    class Looked(Space):
        def __init__(self, facts: Facts, *given: Any) -> None:
            seen.append(facts)
            super().__init__(facts, *given)

    plain = advising.Space
    advising.Space = Looked  # type: ignore[misc]
    try:
        unread = {name: value for name, value in settings.items() if name != "test"}
        pocketlm.advise(**unread, max_size=search_front.BUDGETS[0])
    finally:
        advising.Space = plain  # type: ignore[misc]
    prepared = search_front.prepared(settings)
    return dataclasses.replace(seen[0], allocator=None, effort=effort), len(prepared.dev)


def simulated(
    surrogate: Surrogate, facts: Facts, rows: int, size: str, worst: Point, given: argparse.Namespace, trials: int
) -> dict[str, Any]:  # fmt: skip
    """Hypervolumes of the search and of chance with some times its recipes, a seed each."""
    found: dict[str, Any] = {"search": [], "random": {}}
    for seed in range(given.seeds):
        found["search"].append(hypervolume(searched(surrogate, facts, rows, size, "search", seed, trials), worst))
    for times in TIMES:
        asked = round(times * trials)
        found["random"][str(asked)] = [
            hypervolume(searched(surrogate, facts, rows, size, "random", seed, asked), worst)
            for seed in range(given.seeds)
        ]
        if statistics.median(found["random"][str(asked)]) >= statistics.median(found["search"]):
            break
    return found


def worst_of(runs: dict[str, Any]) -> Point:
    """What counts for nothing: below all that was measured of a case."""
    every = [one for run in runs.values() for one in points(run["trials"], timed=False)]
    return min(one[0] for one in every) - 1e-6, min(one[1] for one in every) - 0.1, -0.1


def over_random(one: dict[str, Any]) -> float:
    """The search's volume to that of chance with as many recipes, of medians."""
    return ratio(statistics.median(one["search"]), statistics.median(next(iter(one["random"].values()))))


def worth(one: dict[str, Any]) -> str:
    """With how many recipes at most chance has what the search has."""
    aim = statistics.median(one["search"])
    enough = [count for count, found in one["random"].items() if statistics.median(found) >= aim]
    return enough[0] if enough else f"more than {list(one['random'])[-1]}"


def table(done: dict[str, Any]) -> str:
    """A line a case and budget."""
    lines = ["case | budget | over random | with so many recipes at most chance is as good", "--- | " * 3 + "---"]
    for key, one in done.items():
        case, size = key.rsplit(" ", 1)
        lines.append(f"{case} | {size} | {over_random(one):.2f} | {worth(one)}")
    return "\n".join(lines)


def summed_up(done: dict[str, Any]) -> str:
    """All cases in a line."""
    ratios = [over_random(one) for one in done.values()]
    mean = statistics.geometric_mean(ratios) if min(ratios, default=0.0) > 0 else 0.0
    return f"geometric mean over random: {mean:.2f}; least {min(ratios, default=0.0):.2f}"


def main() -> None:
    """Every case of the fronts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fronts", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    fronts = json.loads(given.fronts.read_text("utf-8"))
    done: dict[str, Any] = {
        "trials": fronts["trials"], "seeds": given.seeds, "machine": describe(),
        "date": datetime.date.today().isoformat(), "cases": {},
    }  # fmt: skip
    for case, settings in cases(given.data).items():
        own = {
            key.rsplit(" ", 1)[1]: one
            for key, one in fronts["cases"].items()
            if key.rsplit(" ", 1)[0] == case and any(points(run["trials"], timed=False) for run in one["runs"].values())
        }
        if not own:
            continue
        measured = [
            trial
            for one in own.values()
            for run in one["runs"].values()
            for trial in run["trials"]
            if "figures" in trial and trial["family"] != "allocated"
        ]
        surrogate = Surrogate(measured)
        facts, rows = facts_of(settings, next(iter(own.values()))["effort"])
        for size, one in own.items():
            worst = worst_of(one["runs"])
            found = simulated(surrogate, facts, rows, size, worst, given, fronts["trials"])
            done["cases"][f"{case} {size}"] = found
            print(f"{case} {size}: {over_random(found):.2f} of chance", flush=True)
    keep(done, given.out)
    print(f"{table(done['cases'])}\n{summed_up(done['cases'])}")


if __name__ == "__main__":
    main()
