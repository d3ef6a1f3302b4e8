"""What to expect of each family of students for a job, from studies of jobs like it; and how good such advice is.

A case is a study that was searched: a job with a budget, and the best that each family reached within it. What a family
loses against the best of a case says more than the figure itself, which depends on the data: what is expected of it is
the mean of these losses, the nearer the case (`search.warm.apart`), the heavier.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from pocketlm.search.warm import apart

EVIDENCE = "evidence.json"
# Cases farther away than this say nothing; losses up to so much are as good as none, and so are the first so many.
FAR, GOOD, TOP = 8.0, 0.01, 3


@dataclass(frozen=True)
class Case:
    """A study. data: what it was about; studies of the same data are no evidence for each other.

    job: as `search.warm.described` has it. families: the best quality on dev of each within the budget. teacher: its
    quality on dev, None without one.
    """

    name: str
    data: str
    job: Mapping[str, Any]
    families: Mapping[str, float]
    teacher: float | None = None

    @property
    def best(self) -> float:
        """The best quality of any family."""
        return max(self.families.values())

    def loss(self, family: str) -> float:
        """How far a family stays below the best."""
        return self.best - self.families[family]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """The case that `to_json` described."""
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "job": dict(self.job), "families": dict(self.families)}


@dataclass(frozen=True)
class Expectation:
    """What a family is expected to lose against the best, from so many cases. low, high: the least and most of them.

    kept: share of the teacher's quality that it had, from and to, where there were teachers.
    """

    loss: float
    low: float
    high: float
    cases: int
    kept: tuple[float, float] | None = None


def known_cases() -> list[Case]:
    """The studies that come with the package; benchmarks/evidence.py wrote them."""
    path = resources.files("pocketlm.search").joinpath(EVIDENCE)
    if not path.is_file():
        return []
    return [Case.from_json(one) for one in json.loads(path.read_text("utf-8"))["cases"]]


def expected(cases: Sequence[Case], job: Mapping[str, Any]) -> dict[str, Expectation]:
    """What to expect of each family that cases like the job tell of."""
    near = [(case, distance) for case in cases if (distance := apart(case.job, job)) <= FAR]
    found = {}
    for family in dict.fromkeys(family for case, _ in near for family in case.families):
        own = [(case, math.exp(-distance)) for case, distance in near if family in case.families]
        losses = [case.loss(family) for case, _ in own]
        weights = [weight for _, weight in own]
        mean = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
        kept = [case.families[family] / case.teacher for case, _ in own if case.teacher]
        found[family] = Expectation(mean, min(losses), max(losses), len(own), (min(kept), max(kept)) if kept else None)
    return found


def advised(expectations: Mapping[str, Expectation], able: Sequence[str]) -> str | None:
    """The family to take, of those that can keep to the budget; None where nothing is known of any of them."""
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
        """Within GOOD of the search's best, or among the first TOP families."""
        return self.family is not None and (self.loss <= GOOD or self.rank <= TOP)


def scored(cases: Sequence[Case]) -> list[Verdict]:
    """What the advice for each case would have been, from the cases of other data alone."""
    found = []
    for case in cases:
        others = [one for one in cases if one.data != case.data]
        ranked = sorted(case.families, key=lambda family: -case.families[family])
        family = advised(expected(others, case.job), ranked[::-1])
        if family is None:
            found.append(Verdict(case.name, None, math.inf, 0))
        else:
            found.append(Verdict(case.name, family, case.loss(family), 1 + ranked.index(family)))
    return found
