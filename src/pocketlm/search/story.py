"""What a study did, as a report tells it: its trials on a time line, and which knobs decided."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from pocketlm.pocket.work import digest
from pocketlm.search.judge import Outcome

# Fewer measured trials tell nothing of what decided; of a family's knobs, trials of that family.
FEWEST = 8
# A study in which nothing ran for so many seconds was stopped, and gone on with later.
PAUSE = 60.0
# The family that recipes of someone's own are told under.
GIVEN = "given"
# One of them: what became of it, its figure on dev, and its seconds.
Given = tuple[Outcome, float | None, float]


def story(
    trials: Sequence[FrozenTrial], family: str | None, chosen: str | None = None,
    given: Sequence[Given] = (),
) -> dict[str, Any]:  # fmt: skip
    """{"trials": [...], "importance": {...}, ...} of a study's trials, each recipe once.

    family: whose knobs are weighed, beside the kind of student and its bytes among all ("decided"). chosen: the key of
    the recipe that was. given: recipes of someone's own, which were tried before. bytes_error: by which share files
    differed from the bytes expected of them, median and worst.
    """
    known = {digest(outcome.recipe.to_json()) for outcome, *_ in given}
    told = _once([one for one in trials if "status" in one.user_attrs and one.datetime_start is not None])
    told = [one for one in told if one.user_attrs.get("key") not in known]
    before = sum(seconds for *_, seconds in given)
    begins = [before + begin for begin in _on_one_line(told)]
    own = _given(given, chosen)
    return {
        "trials": own + [_trial(one, begin, chosen) for one, begin in zip(told, begins, strict=True)],
        "importance": {} if family is None else importance(told, family),
        "decided": importance_of_kinds(told),
        "weighed_from": FEWEST,
        "bytes_error": _bytes_error(told),
    }


def _once(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Of the trials of one recipe the one that took longest: the others remembered it."""
    kept: dict[str, FrozenTrial] = {}
    for one in trials:
        key = one.user_attrs.get("key", str(one.number))
        if key not in kept or _seconds(one) > _seconds(kept[key]):
            kept[key] = one
    return sorted(kept.values(), key=lambda one: one.number)


def _seconds(trial: FrozenTrial) -> float:
    """What it took to try; from being asked for to being told, where that was not said: others came between."""
    if "seconds" in trial.user_attrs:
        return min(float(trial.user_attrs["seconds"]), _between(trial))
    return _between(trial)


def _between(trial: FrozenTrial) -> float:
    return trial.duration.total_seconds() if trial.duration is not None else 0.0


def _on_one_line(trials: Sequence[FrozenTrial]) -> list[float]:
    """Seconds from the first trial's beginning to each one's, without the time in which nothing ran."""
    begins: list[float] = []
    first: datetime.datetime | None = None
    left_out, end = 0.0, 0.0
    for one in trials:
        assert one.datetime_start is not None
        first = first or one.datetime_start
        begin = (one.datetime_start - first).total_seconds() - left_out
        if begin - end > PAUSE:
            left_out += begin - end
            begin = end
        begins.append(max(0.0, begin))
        end = max(end, begins[-1] + _seconds(one))
    return begins


def _trial(one: FrozenTrial, begin: float, chosen: str | None) -> dict[str, Any]:
    about = one.user_attrs
    family = about.get("family", "")
    told: dict[str, Any] = {
        "number": one.number, "name": about.get("recipe", ""), "family": family, "status": about["status"],
        "why": about.get("why", ""), "start": "start" in about, "key": about.get("key", ""),
        "chosen": chosen is not None and about.get("key") == chosen, "begin": begin, "seconds": _seconds(one),
        "expected_bytes": about.get("bytes", 0),
        "knobs": {name.partition("/")[2]: value for name, value in one.params.items() if "/" in name},
    }  # fmt: skip
    if about["status"] == "measured":
        quality, size, latency, memory = one.values
        told["figures"] = {
            "quality": quality, "size_bytes": size, "latency_p50_ms": latency, "memory_bytes": memory,
            **({"device": about["device"]} if about.get("device") else {}),
        }  # fmt: skip
    return told


def _given(given: Sequence[Given], chosen: str | None) -> list[dict[str, Any]]:
    """Recipes of someone's own as trials, one after the other."""
    found, begin = [], 0.0
    for outcome, quality, seconds in given:
        key = digest(outcome.recipe.to_json())
        told: dict[str, Any] = {
            "number": -1, "name": outcome.recipe.name, "family": GIVEN, "status": outcome.status, "why": outcome.why,
            "start": False, "key": key, "chosen": key == chosen, "begin": begin, "seconds": seconds,
            "expected_bytes": 0, "knobs": {},
        }  # fmt: skip
        if outcome.trial is not None:
            costs = outcome.trial.measurement
            told["figures"] = {
                "quality": quality, "size_bytes": costs.size_bytes, "latency_p50_ms": costs.latency_p50_ms,
                "memory_bytes": costs.memory_bytes, **({"device": costs.device} if costs.device else {}),
            }  # fmt: skip
        found.append(told)
        begin += seconds
    return found


def importance(trials: Sequence[FrozenTrial], family: str) -> dict[str, float]:
    """{knob: share} of what decides about the quality of a family's students, the most first.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255): how far a knob's values in the better trials are from those in
    all. Nothing of fewer than FEWEST measured trials, or where all are equally good.
    """
    own = [one for one in _measured(trials) if one.user_attrs.get("family") == family]
    weighed = []
    for one in own:
        params = {name: value for name, value in one.params.items() if name.startswith(f"{family}/")}
        weighed.append((params, {name: one.distributions[name] for name in params}, one.values[0]))
    return {name.partition("/")[2]: share for name, share in _weighed(weighed).items()}


def importance_of_kinds(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """{"family" or "size": share} of what decides about quality among all students; nothing of one family alone."""
    own = [one for one in _measured(trials) if one.user_attrs.get("bytes", 0) > 0]
    families = sorted({str(one.user_attrs.get("family", "")) for one in own})
    if len(families) < 2:
        return {}
    sizes = [float(one.user_attrs["bytes"]) for one in own]
    spaces = {
        "family": CategoricalDistribution(families),
        "size": FloatDistribution(min(sizes), max(sizes), log=True),
    }
    return _weighed([
        ({"family": str(one.user_attrs.get("family", "")), "size": size}, spaces, one.values[0])
        for one, size in zip(own, sizes, strict=True)
    ])  # fmt: skip


def _measured(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [one for one in trials if one.user_attrs["status"] == "measured"]


def _weighed(trials: Sequence[tuple[dict[str, Any], dict[str, BaseDistribution], float]]) -> dict[str, float]:
    """The shares of parameters in what decides about a figure, the most first; nothing of too few or equal ones."""
    if len(trials) < FEWEST or len({value for *_, value in trials}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    for params, distributions, value in trials:
        study.add_trial(create_trial(params=params, distributions=distributions, value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))


def _bytes_error(trials: Sequence[FrozenTrial]) -> dict[str, float] | None:
    off = [abs(one.values[1] / one.user_attrs["bytes"] - 1) for one in _measured(trials) if one.user_attrs.get("bytes")]
    return {"median": float(np.median(off)), "worst": max(off)} if off else None
