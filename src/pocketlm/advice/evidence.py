"""What to expect of each family of students for a job, from studies of jobs like it; and how good such advice is.

A case is a study that was searched: a job with a budget, the families that `advise` thought able before, what rules of
thumb of each came to, and what all recipes reached. What a family loses against the best of a case says more than
the figure itself, which depends on the data: what is expected of it is the mean of these losses, the nearer the case
(`search.warm.apart`), the heavier.
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
# Cases farther away than this say nothing; losses up to so much are as good as none, and so are the first so many.
FAR, GOOD, TOP = 8.0, 0.01, 3
# Models whose bits differ by at most so many tell of each other.
LIKE_BITS = 0.8
# Families that advice counts as another: a proposal of a teacher's own parts stands for a transformer by rule of thumb.
KINDS = {"allocated": "transformer"}
# Families by these, where no study tells of them: of vectors, with a teacher that is heard (of whose knowledge some of
# its layers keep the most where bytes and time allow, Turc et al. 2019, arXiv:1908.08962), and without.
USUAL = {"vectors": ("transformer", "bag"), "taught": ("transformer", "bag", "linear"), "alone": ("linear", "bag")}
VECTORS = ("similarity", "retrieval")


@dataclass(frozen=True)
class Tried:
    """What became of a family's rules of thumb, the best of them. quality: on dev. met: whether the budget was kept to.

    size, time: what was measured over what was expected of it alone; None where it was not measured.
    """

    quality: float
    met: bool
    size: float | None = None
    time: float | None = None


@dataclass(frozen=True)
class Case:
    """A study. data: what it was about; studies of the same data are no evidence for each other.

    job: as `search.warm.described` has it. able: families that advice had to choose from. tried: what became of each of
    them. reached: qualities on dev of all recipes that kept to the budget, the best first. teacher: its quality on dev,
    None without one.
    """

    name: str
    data: str
    job: Mapping[str, Any]
    able: tuple[str, ...]
    tried: Mapping[str, Tried]
    reached: tuple[float, ...]
    teacher: float | None = None

    @classmethod
    def of(cls, name: str, data: str, able: Sequence[str], result: Mapping[str, Any]) -> Case:
        """The case that the result of a fit tells of.

        Of a family's rules of thumb, all of which the advised command tries, it is the best that counts; what was not
        measured, or failed, did not keep to the budget.
        """
        search, main = result["search"], result["main_metric"]
        measured = [one for one in search["trials"] if one["status"] == "measured"]
        reached = sorted((one["figures"]["quality"] for one in measured if one["why"] == MEETS), reverse=True)
        checked = result.get("forecast", {}).get("checked", ())
        times = {one["key"]: one["measured_ms"] / one["alone_ms"] for one in checked}
        tried = dict.fromkeys(able, Tried(0.0, False))
        starts = [{**one, "family": KINDS.get(one["family"], one["family"])} for one in measured if one["start"]]
        starts = [one for one in starts if one["family"] in tried]
        for one in sorted(starts, key=lambda one: (one["why"] == MEETS, one["figures"]["quality"])):
            figures = one["figures"]
            tried[one["family"]] = Tried(
                figures["quality"], one["why"] == MEETS, figures["size_bytes"] / one["expected_bytes"],
                times.get(one["key"]),
            )  # fmt: skip
        teacher = result["teacher"]
        known = None if teacher is None else teacher["quality"]["dev"][main]
        return cls(name, data, dict(search["job"]), tuple(able), tried, tuple(reached), known)

    def loss(self, family: str) -> float:
        """How far a family's rule of thumb stays below the best; all of it where it did not keep to the budget."""
        one, best = self.tried[family], max(self.reached, default=0.0)
        return best - (one.quality if one.met else 0.0)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Case:
        """The case that `to_json` described."""
        tried = {family: Tried(**one) for family, one in value["tried"].items()}
        return cls(**{**value, "able": tuple(value["able"]), "tried": tried, "reached": tuple(value["reached"])})

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Compressed:
    """A pretrained model that `compress` brought to a size. kind: "encoder" or "decoder". bits: a weight, in the file.

    metric, before, after: its figure on test.
    """

    model: str
    kind: str
    bits: float
    metric: str
    before: float
    after: float
    how: str

    @property
    def ratio(self) -> float:
        """What became of the figure."""
        return self.after / self.before


@dataclass(frozen=True)
class Expectation:
    """What a family is expected to lose against the best, where each miss of the budget counts whole.

    low, high: the least and most that those lost which kept to it; None where none did. met, cases: so many, of so
    many. size, time: what was measured over what was expected, from and to. kept: share of the teacher's quality that
    the best rule of thumb had, from and to, where there were teachers; of whatever epochs students got there.
    """

    loss: float
    low: float | None
    high: float | None
    met: int
    cases: int
    size: tuple[float, float] | None = None
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


def expected(cases: Sequence[Case], job: Mapping[str, Any]) -> dict[str, Expectation]:
    """What to expect of each family that cases like the job tell of.

    Those of other tasks tell nothing, nor do those without a teacher of a job with one: a transformer that begins with
    a teacher's layers may be the best of all, and one that begins with nothing the worst.
    """
    near = [(case, distance) for case in cases if (distance := apart(case.job, job)) <= FAR]
    return _told([(case, math.exp(-distance)) for case, distance in near])


def of_any_job(cases: Sequence[Case]) -> dict[str, Expectation]:
    """What all cases tell of each family, whatever they are about: how wide expectations are where none is alike."""
    return _told([(case, 1.0) for case in cases])


def _told(weighed: Sequence[tuple[Case, float]]) -> dict[str, Expectation]:
    """What cases tell of each family. weighed: with how much each counts."""
    found = {}
    for family in dict.fromkeys(family for case, _ in weighed for family in case.tried):
        own = [(case, weight) for case, weight in weighed if family in case.tried]
        losses, weights = [case.loss(family) for case, _ in own], [weight for _, weight in own]
        mean = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
        met = [case for case, _ in own if case.tried[family].met]
        low, high = _ends(case.loss(family) for case in met) or (None, None)
        found[family] = Expectation(
            mean, low, high, len(met), len(own), _ends(case.tried[family].size for case, _ in own),
            _ends(case.tried[family].time for case, _ in own),
            _ends(case.tried[family].quality / case.teacher for case in met if case.teacher),
        )  # fmt: skip
    return found


def _ends(values: Iterable[float | None]) -> tuple[float, float] | None:
    found = [one for one in values if one is not None]
    return (min(found), max(found)) if found else None


def advised(expectations: Mapping[str, Expectation], able: Sequence[str]) -> str | None:
    """The family to take, of those that are expected to keep to the budget; None where nothing is known of them."""
    known = [family for family in able if family in expectations]
    return min(known, key=lambda family: (expectations[family].loss, able.index(family))) if known else None


def by_rule_of_thumb(job: Mapping[str, Any], able: Sequence[str]) -> str | None:
    """The family to take where nothing is known, of those that are expected to keep to the budget; None of none."""
    kind = "vectors" if job.get("task") in VECTORS else "taught" if job.get("taught") else "alone"
    return next((one for one in USUAL[kind] if one in able), None) or next(iter(able), None)


@dataclass(frozen=True)
class Verdict:
    """Whether advice for a case was good. family: advised. loss: against the search's best. rank: from 1, of so many.

    met: whether the budget was kept to. able: kinds of students that there were to choose from; chance: how often one
    drawn blindly among them would have been good advice.
    """

    case: str
    family: str | None
    met: bool
    loss: float
    rank: int
    recipes: int
    able: int
    chance: float

    @property
    def close(self) -> bool:
        """Within GOOD of the search's best."""
        return self.met and self.loss <= GOOD

    @property
    def good(self) -> bool:
        """Within GOOD of the search's best, or among its first TOP recipes."""
        return _is_good(self.met, self.loss, self.rank)


def scored(cases: Sequence[Case]) -> list[Verdict]:
    """What the advice for each case would have been, from the cases of other data alone."""
    found = []
    for case in cases:
        others = [one for one in cases if one.data != case.data]
        family = advised(expected(others, case.job), case.able) or by_rule_of_thumb(case.job, case.able)
        able = [_is_good(*_standing(case, one)) for one in case.able]
        chance = sum(able) / len(able) if able else 0.0
        met, loss, rank = _standing(case, family)
        found.append(Verdict(case.name, family, met, loss, rank, len(case.reached), len(case.able), chance))
    return found


def _standing(case: Case, family: str | None) -> tuple[bool, float, int]:
    """Whether a family kept to the budget, what it lost to the search's best, and its rank."""
    loss = max(case.reached, default=0.0) if family is None else case.loss(family)
    quality = max(case.reached, default=0.0) - loss
    return family is not None and case.tried[family].met, loss, 1 + sum(other > quality for other in case.reached)


def _is_good(met: bool, loss: float, rank: int) -> bool:
    return met and (loss <= GOOD or rank <= TOP)
