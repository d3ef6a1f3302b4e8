"""What to expect of each family of students for a job, from studies of jobs like it; and how good such advice is.

A case is a study that was searched: a job with a budget, what the rule of thumb of each family came to, and what all
recipes reached. What a family loses against the best of a case says more than the figure itself, which depends on the
data: what is expected of it is the mean of these losses, the nearer the case (`search.warm.apart`), the heavier.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from pocketlm.search.judge import MEETS
from pocketlm.search.warm import apart

EVIDENCE = "evidence.json"
# Whether students hear a teacher, and which, changes what they reach, but less than another task does: so far apart.
OTHERWISE, TEACHERS = 3.0, ("taught", "frozen")
# Cases farther away than this say nothing; losses up to so much are as good as none, and so are the first so many.
FAR, GOOD, TOP = 8.0, 0.01, 3
# Models whose bits differ by at most so many tell of each other.
LIKE_BITS = 0.8


@dataclass(frozen=True)
class Tried:
    """What became of a family's rule of thumb. quality: on dev. met: whether the budget was kept to.

    size, time: what was measured over what was expected; time is None where no latency was.
    """

    quality: float
    met: bool
    size: float
    time: float | None = None


@dataclass(frozen=True)
class Case:
    """A study. data: what it was about; studies of the same data are no evidence for each other.

    job: as `search.warm.described` has it. tried: by family. reached: qualities on dev of all recipes that kept to the
    budget, the best first. teacher: its quality on dev, None without one.
    """

    name: str
    data: str
    job: Mapping[str, Any]
    tried: Mapping[str, Tried]
    reached: tuple[float, ...]
    teacher: float | None = None

    @classmethod
    def of(cls, name: str, data: str, result: Mapping[str, Any]) -> Case | None:
        """The case that the result of a fit tells of, None where nothing kept to its budget.

        Of a family's rules of thumb it is the largest that counts, as is advised.
        """
        search, main = result["search"], result["main_metric"]
        measured = [one for one in search["trials"] if one["status"] == "measured"]
        reached = sorted((one["figures"]["quality"] for one in measured if one["why"] == MEETS), reverse=True)
        if not reached:
            return None
        times = {
            one["name"]: one["measured_ms"] / one["expected_ms"]
            for one in result.get("forecast", {}).get("checked", ())
        }
        tried = {}
        for one in sorted((one for one in measured if one["start"]), key=lambda one: one["figures"]["size_bytes"]):
            figures = one["figures"]
            tried[one["family"]] = Tried(
                figures["quality"], one["why"] == MEETS, figures["size_bytes"] / one["expected_bytes"],
                times.get(one["name"]),
            )  # fmt: skip
        teacher = result["teacher"]
        known = None if teacher is None else teacher["quality"]["dev"][main]
        return cls(name, data, dict(search["job"]), tried, tuple(reached), known)

    def loss(self, family: str) -> float:
        """How far a family's rule of thumb stays below the best; all of it where it did not keep to the budget."""
        one = self.tried[family]
        return self.reached[0] - (one.quality if one.met else 0.0)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """The case that `to_json` described."""
        tried = {family: Tried(**one) for family, one in value["tried"].items()}
        return cls(**{**value, "tried": tried, "reached": tuple(value["reached"])})

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Compressed:
    """A pretrained model that was compressed. bits: a weight, in the file. kept: of its quality on test, 1 for all.

    kind: "encoder" or "decoder". how: for people, with the metric.
    """

    model: str
    kind: str
    bits: float
    kept: float
    how: str


@dataclass(frozen=True)
class Expectation:
    """What a family is expected to lose against the best, from so many cases. low, high: the least and most of them.

    size, time: what was measured over what was expected, from and to. kept: share of the teacher's quality that it had,
    from and to, where there were teachers.
    """

    loss: float
    low: float
    high: float
    cases: int
    size: tuple[float, float]
    time: tuple[float, float] | None = None
    kept: tuple[float, float] | None = None


@cache
def _packaged() -> Mapping[str, Any]:
    path = resources.files("pocketlm.advice").joinpath(EVIDENCE)
    found: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def known_cases() -> list[Case]:
    """The studies that come with the package; benchmarks/advice.py wrote them."""
    return [Case.from_json(one) for one in _packaged()["cases"]]


def known_models() -> list[Compressed]:
    """The compressed models that come with the package."""
    return [Compressed(**one) for one in _packaged()["models"]]


def unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How unlike two jobs are, whether or not they have teachers."""
    differ = sum(1.0 for name in TEACHERS if one.get(name) != other.get(name))
    alike = {**one, **{name: other.get(name) for name in TEACHERS}}
    return apart(alike, other) + OTHERWISE * differ


def expected(cases: Sequence[Case], job: Mapping[str, Any]) -> dict[str, Expectation]:
    """What to expect of each family that cases like the job tell of."""
    near = [(case, distance) for case in cases if (distance := unlike(case.job, job)) <= FAR]
    found = {}
    for family in dict.fromkeys(family for case, _ in near for family in case.tried):
        own = [(case, math.exp(-distance)) for case, distance in near if family in case.tried]
        losses, weights = [case.loss(family) for case, _ in own], [weight for _, weight in own]
        mean = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
        kept = [case.tried[family].quality / case.teacher for case, _ in own if case.teacher]
        sizes = [case.tried[family].size for case, _ in own]
        times = [time for case, _ in own if (time := case.tried[family].time) is not None]
        found[family] = Expectation(
            mean, min(losses), max(losses), len(own), (min(sizes), max(sizes)), _ends(times), _ends(kept)
        )
    return found


def _ends(values: Iterable[float]) -> tuple[float, float] | None:
    found = list(values)
    return (min(found), max(found)) if found else None


def advised(expectations: Mapping[str, Expectation], able: Sequence[str]) -> str | None:
    """The family to take, of those that are expected to keep to the budget; None where nothing is known of them."""
    known = [family for family in able if family in expectations]
    return min(known, key=lambda family: (expectations[family].loss, able.index(family))) if known else None


@dataclass(frozen=True)
class Verdict:
    """Whether advice for a case was good. family: advised. loss: against the search's best. rank: from 1."""

    case: str
    family: str | None
    loss: float
    rank: int

    @property
    def good(self) -> bool:
        """Within GOOD of the search's best, or among its first TOP recipes."""
        return self.family is not None and (self.loss <= GOOD or self.rank <= TOP)


def scored(cases: Sequence[Case]) -> list[Verdict]:
    """What the advice for each case would have been, from the cases of other data alone."""
    found = []
    for case in cases:
        others = [one for one in cases if one.data != case.data]
        family = advised(expected(others, case.job), list(case.tried))
        if family is None:
            found.append(Verdict(case.name, None, math.inf, 0))
            continue
        quality = case.reached[0] - case.loss(family)
        rank = 1 + sum(other > quality for other in case.reached)
        found.append(Verdict(case.name, family, case.loss(family), rank))
    return found
