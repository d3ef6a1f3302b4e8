"""What earlier studies of similar jobs teach a new one: which jobs are alike, and what was best there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from pocketlm.budget import Budget
from pocketlm.search.facts import Facts
from pocketlm.search.judge import MEETS

# What has to be the same, and amounts of which the ratio counts: as many powers of e as they differ by.
SAME = ("task", "tagging", "vectors", "asking", "single", "taught", "frozen")
AMOUNTS = ("texts", "labels", "words", "max_size", "max_latency", "effort")
# Jobs farther apart than this are not alike; of so many of the nearest, as many trials are asked for.
FAR, STUDIES, TRIALS = 6.0, 2, 2


def described(facts: Facts, budget: Budget, task: str) -> dict[str, Any]:
    """What of a job says which others are like it."""
    kept = {name: getattr(facts, name) for name in (*SAME, *AMOUNTS) if hasattr(facts, name)}
    return {**kept, "task": task, "max_size": budget.max_size, "max_latency": budget.max_latency}


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How unlike two jobs are: infinitely where something of SAME differs, 0 where nothing of note does."""
    if any(one.get(name) != other.get(name) for name in SAME):
        return math.inf
    total = 0.0
    for name in AMOUNTS:
        own, theirs = one.get(name), other.get(name)
        if own and theirs:
            total += abs(math.log(own / theirs))
        elif bool(own) != bool(theirs):
            total += 1.0
    return total


def nearest(others: Mapping[str, Mapping[str, Any]], job: Mapping[str, Any]) -> list[str]:
    """Names of the studies whose jobs are most like this one, the most alike first."""
    found = sorted((apart(job, about), name) for name, about in others.items())
    return [name for distance, name in found if distance <= FAR][:STUDIES]


def best_params(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Parameters of the best measured trials that kept to their budget, each recipe once."""
    kept: dict[str, FrozenTrial] = {}
    for one in trials:
        about = one.user_attrs
        if about.get("status") == "measured" and about.get("why") == MEETS and one.params:
            kept.setdefault(about.get("key", str(one.number)), one)
    best = sorted(kept.values(), key=lambda one: (-one.values[0], one.values[1]))
    return [dict(one.params) for one in best[:TRIALS]]
