"""The search: recipes asked of Optuna, trained a little, and wholly where they promise much, and measured.

Rules of thumb come first; what they were measured to reach tells where the front may gain most, and there the search
looks on (see `search.moves`). A third of its training shows of most students whether they are worth the rest, as in
successive halving (Li et al. 2020, arXiv:1810.05934); those that are left then can be gone on with. The study is
written down trial by trial: whoever opens it again goes on where it was.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from pocketlm.errors import RecipeError
from pocketlm.pocket.work import digest
from pocketlm.progress import Deadline, Progress
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.attempt import Attempt, Crew, Gate
from pocketlm.search.family import Candidate
from pocketlm.search.judge import MEETS, Judge, Outcome
from pocketlm.search.moves import Known, promising
from pocketlm.search.opened import Plan, opened
from pocketlm.search.space import Space
from pocketlm.search.story import story
from pocketlm.units import format_latency, format_size

logger = logging.getLogger(__name__)
optuna.logging.set_verbosity(optuna.logging.WARNING)
optuna.logging.disable_default_handler()

# Recipes that are tried around the rules of thumb where nobody says how many, and texts that all of them together may
# read an epoch: of more texts each takes minutes, and fewer are tried, or none. For each of them dev has so many rows
# at least: of many that few rows judge one seems better by chance.
AROUND, AROUND_TEXTS, AROUND_DEV = 6, 50_000, 40
# What a trial is marked with that is a move from what is known.
MOVED = "moved"
# Why what is larger is not tried where only a floor was asked for.
SMALLER = "a smaller one reaches the quality"
# So many times the trials that are wanted may be asked for: some have no room, and some were tried before.
ASKED = 20


@dataclass(frozen=True)
class _Asked:
    """A trial that was asked for and not told yet. wait: for what becomes of it; None where another is the same."""

    trial: optuna.Trial
    candidate: Candidate
    wait: Callable[[], Attempt] | None


class Exploration:
    """A study of one job.

    crew: tries recipes, and remembers those it tried. hopeless: why a student would miss a limit by far, before it is
    trained, or "". starts: candidates by rules of thumb, asked for where the study is new. own: recipes that
    compete.

    So many recipes are asked for ahead as the crew tries at once, and what becomes of them is told in the order in
    which they were asked for: which recipes a study asks for depends on its seed and on that number, not on who is
    ready first.
    """

    def __init__(
        self, space: Space, starts: Callable[[], Sequence[Candidate]], crew: Crew,
        hopeless: Callable[[Candidate], str], judge: Judge, plan: Plan, own: Sequence[Recipe] = (),
    ) -> None:  # fmt: skip
        self.space, self.crew, self.hopeless, self.judge, self.plan = space, crew, hopeless, judge, plan
        self.own = own
        # what students reached after a part of their training: (bytes expected, figure on dev)
        self.rungs: list[tuple[int, float]] = []
        self.outcomes: dict[str, Outcome] = {}
        # students that were left after a part of their training, by their recipe: as they were asked for, what they
        # were expected to take, and what they had reached
        self.left: dict[str, tuple[dict[str, Any], int, float]] = {}
        self.pending: deque[_Asked] = deque()
        self.study, self.claim = opened(plan, space, starts, smallest_first=judge.budget.floor_alone)
        begun = [one.user_attrs["asked"] for one in self.study.get_trials(deepcopy=False) if "start" in one.user_attrs]
        self.starts = [one for params in _distinct(begun) if (one := space.asked(params))]
        # what was measured before, is not remembered here, and was not made again in time
        self.forgotten: dict[str, Recipe] = {}
        # how long recipes of someone's own took, by their keys
        self.own_seconds: dict[str, float] = {}
        # what was known to be good before this study
        self.trusted = {_key(one) for one in (*(start.recipe for start in self.starts), *own)}

    def _recall(self, deadline: Deadline) -> None:
        """Note what earlier runs came to, in their order.

        What was measured in another work folder is made again, as many at once as the crew tries, until time is up.
        """
        notes: deque[Callable[[], None]] = deque()
        begun: set[str] = set()
        for done in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)):
            candidate, about = self.space.asked(done.params), done.user_attrs
            if "rung" in about:
                self.rungs.append((about["bytes"], about["rung"]))
            if candidate is None or "status" not in about:
                continue
            recipe, key = candidate.recipe, _key(candidate.recipe)
            if about["status"] != "measured":
                notes.append(partial(self._note, Outcome(recipe, about["status"], about["why"])))
                if about["status"] == "paused" and "rung" in about:
                    self.left[key] = done.params, about["bytes"], about["rung"]
            elif self._untried(key) and key not in begun:  # else asked for again, and remembered
                if deadline.passed and begun and not self.crew.remembers(recipe):  # one is made in any case
                    self.forgotten[key] = recipe
                    continue
                begun.add(key)
                notes.append(partial(self._recalled, recipe, self.crew.begin(recipe, None)))
            while len(notes) >= self.crew.width:
                notes.popleft()()
        for note in notes:
            note()

    def _recalled(self, recipe: Recipe, wait: Callable[[], Attempt]) -> None:
        self._note(self._judged(recipe, wait()))

    def _untried(self, key: str) -> bool:
        """Whether nothing became of a recipe yet, or it was left after a part of its training."""
        return key not in self.outcomes or self.outcomes[key].status == "paused"

    def _promising(self) -> dict[str, Any] | None:
        """The settings of the first student that was left and is promising by now."""
        running = {_key(one.candidate.recipe) for one in self.pending}
        for key, (params, size, reached) in self.left.items():
            if self._untried(key) and key not in running and self._gate(size).promising(reached):
                return params
        return None

    @cached_property
    def wanted(self) -> int:
        """Trials in all, as when the search began; where nothing has room in the budget, only what someone gave."""
        if self.plan.trials == 0 or not self.space.knobs:
            return len(self.own)
        if self.plan.more is not None:
            return self._added(self.plan.more)
        most = AROUND_TEXTS // max(1, self.space.facts.texts), self.judge.dev_rows // AROUND_DEV
        # what was best before is a guess of its own, and chance, which knows no rules, asks for something
        before = sum("from" in one.user_attrs for one in self.study.get_trials(deepcopy=False))
        around = max(min(AROUND, *most), before, 0 if self.starts or self.own else 1)
        return len(self.starts) + len(self.own) + around if self.plan.trials is None else self.plan.trials

    @property
    def unsearched(self) -> str:
        """Why no recipe but rules of thumb and given ones was asked for, where nobody said how many; else ""."""
        said = self.plan.trials is not None or self.plan.more is not None
        given = len(self.starts) + len(self.own)
        if said or not self.starts or max(self.wanted, self._dealt_with) > given:
            return ""
        texts, rows = self.space.facts.texts, self.judge.dev_rows
        why = f"each reads {texts:,} texts" if texts > AROUND_TEXTS else f"{rows} dev rows tell little between them"
        tried = "only rules of thumb and given recipes" if self.own else "only rules of thumb"
        return f"{tried} were tried ({why}): --trials {len(self.starts) + 2 * AROUND} searches around them"

    def _added(self, more: int) -> int:
        """Trials in all with so many more than before; what the same command wanted, where it was stopped."""
        known = self.study.user_attrs.get("adding", {})
        if known.get("more") != more or known["wanted"] <= self._dealt_with:
            known = {"more": more, "wanted": self._dealt_with + more}
            self.study.set_user_attr("adding", known)
        return int(known["wanted"])

    def outcomes_of(self, progress: Progress, deadline: Deadline) -> list[Outcome]:
        """The outcome of every recipe, once. A study that others can reach is then left to them.

        Raises RecipeError where a recipe is tried alone, and cannot be made for what it says.
        """
        try:
            return self._searched(progress, deadline)
        finally:
            if self.claim is not None:
                self.claim.release()

    def _searched(self, progress: Progress, deadline: Deadline) -> list[Outcome]:
        for recipe in self.own:
            alone = self.plan.trials == 0  # it is tried whatever the time, and nothing in its place
            if alone or not deadline.passed:
                progress.stage(f"the recipe {recipe.name}")
                began = time.monotonic()
                found = self.crew.begin(recipe, None)()
                if alone and found.refused:
                    raise RecipeError(f"recipe {recipe.name}: cannot be made here: {found.why}")
                self._note(self._judged(recipe, found))
                self.own_seconds[_key(recipe)] = time.monotonic() - began
        self._recall(deadline)
        wanted, asked = self.wanted, 0
        while True:
            again = self._promising()
            more = again is not None or self._dealt_with + len(self.pending) < wanted
            over = deadline.passed and any(one.trial for one in self.outcomes.values())
            if more and not over and asked < ASKED * max(1, wanted) and len(self.pending) < self.crew.width:
                asked += 1
                if again is not None:
                    self._ask_for(again)
                elif move := self._moved():
                    self._ask_for(move, MOVED)
                self._ask(progress)
            elif self.pending and (self.crew.at_once or not over):
                self._tell(self.pending.popleft(), progress, wanted)
            else:
                return [*self.outcomes.values(), *self._not_reached()]

    @property
    def _dealt_with(self) -> int:
        """How many recipes count as tried: not those that are only larger than what is good enough."""
        return sum(one.why != SMALLER for one in self.outcomes.values())

    def _pointless(self, candidate: Candidate) -> str:
        """Why a candidate is not to be tried after all that was tried, or ""."""
        if self.judge.budget.floor_alone:
            met = [one.trial.measurement.size_bytes for one in self.outcomes.values() if one.met and one.trial]
            if met and candidate.expected_bytes >= min(met):
                return SMALLER
        return self.hopeless(candidate)

    def _not_reached(self) -> list[Outcome]:
        """Rules of thumb that were not tried, and what was not made again."""
        why = "so many trials were wanted" if self._dealt_with >= self.wanted else "time was up"
        late = [one for key, one in self.forgotten.items() if key not in self.outcomes]
        return [
            *(Outcome(one, "skipped", "time was up before it was made again") for one in late),
            *(
                Outcome(one.recipe, "skipped", why)
                for one in self.starts
                if _key(one.recipe) not in self.outcomes and _key(one.recipe) not in self.forgotten
            ),
        ]

    def _gate(self, size: int, always: bool = False) -> Gate:
        return Gate(size, tuple(self.rungs), always)

    def _moved(self) -> dict[str, Any] | None:
        """The settings of a move from what is known; None where the sampler asks."""
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if waiting or self.plan.sampler == "random":
            return None
        trials, begun = self.study.get_trials(deepcopy=False), [one.candidate for one in self.pending]
        seen = {*self.outcomes, *(_key(one.recipe) for one in begun)}
        random = np.random.default_rng((self.plan.seed, len(trials)))
        return promising(
            self.space, self._known(trials), begun, lambda recipe: _key(recipe) not in seen,
            self._pointless, random,
        )  # fmt: skip

    def _known(self, trials: Sequence[optuna.trial.FrozenTrial]) -> list[Known]:
        """What was measured; and what was left, as if the rest of its training brought as much as that of others."""
        over = [one for one in trials if one.state == TrialState.COMPLETE]
        measured = [one for one in over if one.user_attrs.get("status") == "measured"]
        found, rest = [], []
        for one in measured:
            family, key = one.user_attrs["family"], one.user_attrs["key"]
            if family in self.space.knobs and (told := self.outcomes.get(key)):
                found.append(Known(family, one.params, one.values[0], int(one.values[1]), told.over))
                reached = self.left[key][2] if key in self.left else one.user_attrs.get("rung")
                rest += [] if reached is None else [one.values[0] - reached]
        more = statistics.median(rest) if rest else 0.0
        for key, (params, size, reached) in self.left.items():
            if self.outcomes[key].status == "paused" and (made := self.space.asked(params)) is not None:
                found.append(Known(made.family, params, reached + more, size, whole=False))
        return found

    def _ask_for(self, params: dict[str, Any], why: str = "again") -> None:
        """Ask for these settings next, unless they are waiting to be asked for already."""
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if all(one.user_attrs.get("asked") != params for one in waiting):
            self.study.enqueue_trial(params, {"asked": params, why: True})

    def _ask(self, progress: Progress) -> None:
        """Ask for one trial, which is begun unless nothing is to be tried of it."""
        if self.claim is not None:
            self.claim.check()
        self.study.sampler = self._sampler()
        trial = self.study.ask()
        candidate = self.space.suggested(trial)
        if candidate is None:
            self._left(trial, "skipped", "there is no room for it")
            return
        key = _key(candidate.recipe)
        for name, value in (("key", key), ("family", candidate.family), ("recipe", candidate.recipe.name)):
            trial.set_user_attr(name, value)
        trial.set_user_attr("bytes", candidate.expected_bytes)
        if not self._untried(key):
            self._told(trial, self.outcomes[key])
            return
        if any(_key(one.candidate.recipe) == key for one in self.pending):
            self.pending.append(_Asked(trial, candidate, None))
            return
        if why := self._pointless(candidate):
            self._note(Outcome(candidate.recipe, "skipped", why))
            self._left(trial, "skipped", why)
            return
        if self.crew.width > 1:
            progress.stage(f"beginning {candidate.recipe.name}")
        # what chance asks for is trained whole, to compare with
        always = "start" in trial.user_attrs or self.plan.sampler == "random"
        gate: Gate | None = self._gate(candidate.expected_bytes, always)
        if gate is not None and key in self.left and gate.promising(self.left[key][2]):
            gate = None  # it was looked at before, and goes on
        self.pending.append(_Asked(trial, candidate, self.crew.begin(candidate.recipe, gate)))

    def _tell(self, asked: _Asked, progress: Progress, wanted: int) -> None:
        """Wait for what becomes of the trial that was asked for first, and tell the study."""
        recipe = asked.candidate.recipe
        if asked.wait is not None:
            progress.stage(f"trial {len(self.outcomes) + 1}/{wanted}: {recipe.name}")
            found = asked.wait()
            if found.rung is not None:
                if _key(recipe) not in self.left:  # else it was noted before
                    self.rungs.append((asked.candidate.expected_bytes, found.rung))
                asked.trial.set_user_attr("rung", found.rung)
                if found.status == "paused":
                    self.left[_key(recipe)] = asked.trial.params, asked.candidate.expected_bytes, found.rung
            self._note(self._judged(recipe, found))
        self._told(asked.trial, self.outcomes[_key(recipe)])
        self._show(progress)

    def _judged(self, recipe: Recipe, found: Attempt) -> Outcome:
        if found.trial is None:
            return Outcome(recipe, found.status, found.why)
        verdict = self.judge.verdict(found.trial)
        missed = "; ".join(str(limit) for limit in verdict.limits if not limit.holds)
        return Outcome(recipe, "measured", missed or MEETS, found.trial, verdict, _key(recipe) in self.trusted)

    def _note(self, outcome: Outcome) -> None:
        self.outcomes[_key(outcome.recipe)] = outcome
        logger.info("%s: %s", outcome.recipe.name, outcome.why)

    def _told(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Tell the study what became of a trial."""
        if outcome.trial is None or outcome.verdict is None:
            self._left(trial, outcome.status, outcome.why)
            return
        measured = outcome.trial.measurement
        trial.set_user_attr("seconds", outcome.trial.details["seconds"])
        trial.set_user_attr("device", measured.device)
        trial.set_user_attr("status", outcome.status)
        trial.set_user_attr("why", outcome.why)
        for limit in outcome.verdict.limits:
            trial.set_constraint(limit.name, limit.over)
        values = (
            self.judge.quality(outcome), measured.size_bytes, measured.latency_p50_ms,
            measured.memory_bytes,
        )  # fmt: skip
        self.study.tell(trial, values)

    def _left(self, trial: optuna.Trial, status: str, why: str) -> None:
        trial.set_user_attr("status", status)
        trial.set_user_attr("why", why)
        self.study.tell(trial, state=TrialState.FAIL)

    def _sampler(self) -> optuna.samplers.BaseSampler:
        """Chance, where nothing tells more; one a trial: a study that goes on asks as one that never stopped."""
        told = sum("status" in one.user_attrs for one in self.study.get_trials(deepcopy=False))
        seed = self.plan.seed * 1_000_003 + told + len(self.pending)
        return optuna.samplers.RandomSampler(seed=seed)

    def story(self, chosen: Recipe | None) -> dict[str, Any]:
        """The study as a report tells it; see `search.story`. chosen: the recipe that was."""
        trials = self.study.get_trials(deepcopy=False)
        key = None if chosen is None else _key(chosen)
        own = (one.user_attrs.get("family") for one in trials if key and one.user_attrs.get("key") == key)
        about = {"sampler": self.plan.sampler, "seed": self.plan.seed, "job": dict(self.plan.job)}
        given = [
            (made, self.judge.quality(made), made.trial.details["seconds"])
            if made.trial
            else (made, None, self.own_seconds[_key(one)])
            for one in self.own
            if _key(one) in self.own_seconds and (made := self.outcomes[_key(one)])
        ]
        return {**about, **story(trials, next(own, None), key, given)}

    def _show(self, progress: Progress) -> None:
        best = self.judge.choose(list(self.outcomes.values()))
        if best is not None and best.trial is not None:
            measured = best.trial.measurement
            there = f" (estimated for {measured.device})" if measured.device else ""
            progress.best(
                f"{best.recipe.name}: {self.judge.metric} {self.judge.quality(best):.4f}, "
                f"{format_size(measured.size_bytes)}, {format_latency(measured.latency_p50_ms)}{there}"
            )


def _key(recipe: Recipe) -> str:
    return digest(recipe.to_json())


def _distinct(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each once, in the order in which they came."""
    return list({digest(one): one for one in found}.values())
