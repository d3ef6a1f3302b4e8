"""A study as it is opened: where it is kept, whose it is, and what it asks for before anything was tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState

from pocketlm.errors import RecipeError
from pocketlm.search.family import Candidate
from pocketlm.search.space import Space
from pocketlm.search.storage import Claim
from pocketlm.search.warm import best_params, nearest

# Quality, bytes, milliseconds, and bytes of memory.
DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize", "minimize")
# What a study writes down of its trials.
STUDY_VERSION = 10
NOTHING_TO_RESUME = "resume: no search was begun with this job, budget and settings; leave --resume out"


@dataclass(frozen=True)
class Plan:
    """trials: in all, with the rules of thumb; None for a few more than these. more: than were tried before.

    storage: where the study is kept, a URL as SQLAlchemy has them; None for memory. name: of the study there. sampler:
    "gp", or "random" to compare with, which knows no rules of thumb. job: what of it says which other jobs are alike,
    see `search.warm`. resume: the study has to be there already. work: the locked folder of the process that searches,
    where other processes can reach the storage; else None.
    """

    trials: int | None = None
    more: int | None = None
    storage: str | None = None
    name: str = "study"
    seed: int = 0
    sampler: Literal["gp", "random"] = "gp"
    job: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    work: Path | None = None


def opened(
    plan: Plan, space: Space, starts: Callable[[], Sequence[Candidate]], *, smallest_first: bool
) -> tuple[optuna.Study, Claim | None]:
    """The study as far as it came, and the claim to it where others can reach it.

    starts: candidates by rules of thumb, asked for where the study is new. Raises RecipeError where a study that is to
    be there is not, or another process searches it.
    """
    study = optuna.create_study(
        storage=plan.storage, study_name=plan.name, directions=list(DIRECTIONS), load_if_exists=True
    )
    if plan.resume and not study.trials:
        raise RecipeError(NOTHING_TO_RESUME)
    claim = None if plan.work is None else Claim(study, plan.work)
    try:
        if plan.trials != 0:  # else recipes that someone gave are tried, and nothing is searched
            _begin(study, plan, space, starts, smallest_first)
    except BaseException:
        if claim is not None:
            claim.release()
        raise
    return study, claim


def _begin(
    study: optuna.Study, plan: Plan, space: Space, starts: Callable[[], Sequence[Candidate]], smallest_first: bool
) -> None:
    """Ask for what comes first, and again for what was running when an earlier process ended."""
    if "families" not in study.user_attrs:
        study.set_user_attr("families", list(space.knobs))
    space.asks_of(study.user_attrs["families"])
    if "begun" not in study.user_attrs and plan.sampler == "gp":
        study.set_user_attr("job", plan.job)
        rules = starts()
        rules = sorted(rules, key=lambda one: one.expected_bytes) if smallest_first else rules
        first = [space.params(start) for start in rules]
        for params in first:
            _enqueue(study, params, {"start": True})
        _warm(study, plan, space, first)
        # last: a study that was stopped before has not asked for all of them
        study.set_user_attr("begun", True)
    for dead in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # it keeps its number, so that what comes after it comes after it again; what was drawn of it is kept, too
        study._storage.set_trial_state_values(dead._trial_id, TrialState.WAITING)


def _warm(study: optuna.Study, plan: Plan, space: Space, asked: list[dict[str, Any]]) -> None:
    """Ask for what was best in the studies of the most similar jobs in the same storage, beside what was asked."""
    if plan.storage is None or not space.knobs:
        return
    others = {
        one.study_name: one.user_attrs.get("job")
        for one in optuna.get_all_study_summaries(plan.storage, include_best_trial=False)
        if one.study_name != plan.name
    }
    near = nearest({name: job for name, job in others.items() if job}, plan.job)
    for name in near:
        trials = optuna.load_study(study_name=name, storage=plan.storage).get_trials(deepcopy=False)
        for params in best_params(trials):
            own = space.adopted(params)
            if own is not None and own not in asked:
                asked.append(own)
                _enqueue(study, own, {"from": name})


def _enqueue(study: optuna.Study, params: dict[str, Any], about: Mapping[str, Any]) -> None:
    """Ask for these settings next, unless the study did so before it was stopped."""
    study.enqueue_trial(params, {"asked": params, **about}, skip_if_exists=True)
