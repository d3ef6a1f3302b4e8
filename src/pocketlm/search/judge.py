"""What became of candidates, and which of them is chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pocketlm.budget import Budget, Limit, Verdict
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.trial import Trial

# Without a budget: the smallest Pocket within this share of the best quality is the best trade-off.
TRADE_OFF = 0.01
# Said of what keeps to every limit.
MEETS = "meets the budget"
# By so much do milliseconds and memory of one file differ from run to run.
NOISE = (0.05, 0.01)
# The final file also states its test figures: candidates leave this room.
TEST_FIGURES_BYTES = 1_200


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate. verdict: against the budget, on dev. trusted: by a rule of thumb, or given."""

    recipe: Recipe
    status: Literal["measured", "skipped", "failed", "paused"]
    why: str
    trial: Trial | None = None
    verdict: Verdict | None = None
    trusted: bool = False

    @property
    def met(self) -> bool:
        """Whether it was measured and meets the budget."""
        return self.verdict is not None and self.verdict.met

    @property
    def over(self) -> float:
        """By which share of a limit it misses the one that it misses most, or below 0 is within the one it nears.

        That of milliseconds and memory in tenths, rounded up: they differ from run to run, and a search asks by this.
        """
        limits = () if self.verdict is None else self.verdict.limits
        over = (math.ceil(10 * one.over) / 10 if one.name in ("latency", "memory") else one.over for one in limits)
        return max(over, default=0.0)


@dataclass(frozen=True)
class Judge:
    """How candidates are held against the budget and each other.

    metric: the task's main metric. teacher: its figures on dev, or None. dev_rows: how many rows dev has; counts: how
    many of them tell what a floor is about, by its name. machine: the budget with the limits of the machine that
    Pockets will run on, where that is another one: it decides what is met, not what is best. taught: whether students
    hear a teacher, which they are to be like.
    """

    budget: Budget
    metric: str
    teacher: Mapping[str, float] | None
    dev_rows: int
    counts: Mapping[str, int] = field(default_factory=dict)
    machine: Budget | None = None
    taught: bool = False

    @property
    def allowed(self) -> Budget:
        """All limits that have to be kept."""
        return self.machine or self.budget

    def verdict(self, trial: Trial) -> Verdict:
        """Against the budget, with room for the test figures that the final file will state."""
        roomy = replace(trial.measurement, size_bytes=trial.measurement.size_bytes + TEST_FIGURES_BYTES)
        verdict = self.allowed.check(roomy, self.metric, self.teacher)
        return Verdict(tuple(self._with_room(limit) for limit in verdict.limits))

    def _with_room(self, limit: Limit) -> Limit:
        """A limit on quality held with a margin, since it was taken on some rows of dev."""
        if limit.name in ("size", "latency", "memory"):
            return limit
        # half an error, as a share of the floor: what just holds here may not on test
        error = self._error(limit.limit, self.counts.get(limit.name, self.dev_rows))
        return replace(limit, over=limit.over + 0.5 * error / max(limit.limit, 0.01))

    def _error(self, share: float, rows: int) -> float:
        """The standard error of a share of so many rows."""
        share = min(max(share, 0.01), 0.999)  # a correlation can be below 0
        return float((share * (1 - share) / max(1, rows)) ** 0.5)

    def quality(self, outcome: Outcome) -> float:
        """The main metric on dev."""
        assert outcome.trial is not None
        return outcome.trial.measurement.quality[self.metric]

    def front(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The Pareto front of quality, bytes, milliseconds and memory: no other is better in one and as good in all.

        What takes a little less time or memory than one of better quality or fewer bytes is not on it: these differ
        from run to run by NOISE.
        """
        points = [(one, self._point(one)) for one in outcomes if one.trial is not None]
        kept: list[tuple[Outcome, tuple[float, ...]]] = []
        # what could keep another away comes first, and only what is kept does
        for one, own in sorted(points, key=lambda point: point[1], reverse=True):
            if not any(_dominates(other, own) for _, other in kept):
                kept.append((one, own))
        on_it = {id(one) for one, _ in kept}
        return [one for one, _ in points if id(one) in on_it]

    def _point(self, outcome: Outcome) -> tuple[float, ...]:
        assert outcome.trial is not None
        taken = outcome.trial.measurement
        return self.quality(outcome), -taken.size_bytes, -taken.latency_p50_ms, -taken.memory_bytes

    def choose(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The best outcome, or the nearest miss; None where nothing was measured.

        With a limit on size, latency or memory: the best quality that meets it. Of those within a standard error of it
        the one whose quality and likeness to the teacher's answers are the most together: two figures on the same rows
        tell more than one. Without a teacher the best rule of thumb or recipe that was
        given, within half an error, since of many that are tried on few rows one seems better by chance. Of equal ones
        the smallest. With a floor on quality alone: the smallest file that reaches it. Without any limit: the smallest
        file within TRADE_OFF of the best.
        """
        measured = [one for one in outcomes if one.trial is not None]
        if not measured:
            return None
        met = [one for one in measured if one.met]
        if not met:
            return min(measured, key=lambda one: (one.verdict.distance if one.verdict else 0.0, -self.quality(one)))
        if self.budget.free:
            if self.budget.min_quality is None:
                floor = max(self.quality(one) for one in met) * (1 - TRADE_OFF)
                met = [one for one in met if self.quality(one) >= floor]
            return min(met, key=_size)
        best = max(self.quality(one) for one in met)
        least = best - (1 if self.taught else 0.5) * self._error(best, self.dev_rows)
        near = [one for one in met if self.quality(one) >= least]
        near = near if self.taught else [one for one in near if one.trusted] or met
        return max(near, key=lambda one: (round(self._worth(one), 4), -_size(one)))

    def passed_over(self, chosen: Outcome, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The best on dev of those that meet the budget, where another was chosen though its quality is lower.

        None where there is none, or the budget leaves the smallest to be chosen.
        """
        if self.budget.free or not chosen.met or not (self.taught or chosen.trusted):
            return None
        best = max((one for one in outcomes if one.met), key=lambda one: (self.quality(one), -_size(one)))
        return best if round(self.quality(best), 4) > round(self.quality(chosen), 4) else None

    def _worth(self, outcome: Outcome) -> float:
        """Its quality, and with a teacher that students hear their likeness to it, too."""
        return self.quality(outcome) + (_fidelity(outcome) if self.taught else 0.0)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether a point (quality, bytes, milliseconds and memory below 0) is better in one figure, and as good in all.

    Noise counts for nothing beside quality or bytes alone, so that no two dominate each other.
    """
    noise = (0.0, 0.0, *(NOISE if one[:2] != other[:2] else (0.0, 0.0)))
    return one != other and all(own >= (1 + far) * theirs for own, theirs, far in zip(one, other, noise, strict=True))


def _fidelity(outcome: Outcome) -> float:
    """Share of dev texts that it answers as the teacher does; 0 where that was not taken."""
    assert outcome.trial is not None
    return outcome.trial.measurement.extra.get("fidelity", 0.0)


def _size(outcome: Outcome) -> int:
    assert outcome.trial is not None
    return outcome.trial.measurement.size_bytes
