"""Searches of a made-up job: what a recipe reaches is a formula, and nothing is trained."""

from pathlib import Path

from pocketlm.budget import Budget, Measurement
from pocketlm.progress import Deadline, Silent
from pocketlm.search.attempt import Here
from pocketlm.search.facts import Facts
from pocketlm.search.judge import Judge
from pocketlm.search.space import Space
from pocketlm.search.study import Exploration
from pocketlm.search.trial import Trial
from pocketlm.train.loop import Paused

FACTS = Facts(10_000, 77, False, 2_500, 384, 6, 12, 1536, single=True, taught=True)
BUDGET = Budget.parse("3MB")
SPACE = Space(FACTS, BUDGET)
NEVER = Deadline()


class World:
    """A made-up job: what a recipe reaches is a smooth function of its settings."""

    def __init__(self, stop_after=None):
        self.ran, self.stop_after = [], stop_after

    def figure(self, recipe):
        student = recipe.steps[0]
        width, depth = getattr(student, "width", 0) or 64, getattr(student, "depth", 1)
        return 0.9 - 0.0004 * abs(width - 112) + 0.01 * depth - 0.05 * (recipe.steps[-1].bits == 4)

    def size(self, recipe):
        student = recipe.steps[0]
        rows = next((one.rows for one in recipe.steps if one.name == "prune-rows"), getattr(student, "pieces", 0))
        width = getattr(student, "rank", 0) or getattr(student, "width", 0) or FACTS.labels
        return 20_000 + rows * width * recipe.steps[-1].bits // 8

    def __call__(self, recipe, pace):
        if self.stop_after is not None and len(self.ran) >= self.stop_after:
            raise KeyboardInterrupt
        if pace is not None and not pace(2, 6, self.figure(recipe)):
            raise Paused(self.figure(recipe))
        self.ran.append(recipe.name)
        costs = {
            "latency_p50_ms": 0.1,
            "latency_p95_ms": 0.2,
            "memory_bytes": 40_000_000,
            "size_bytes": self.size(recipe),
        }
        return Trial(recipe, Path("x"), Measurement({"accuracy": self.figure(recipe)}, **costs), {"seconds": 1.0})


def explore(
    world, plan, budget=BUDGET, deadline=NEVER, hopeless=lambda one: "", space=SPACE, own=(), width=1, crew=None,
    dev_rows=100_000, known=lambda recipe: True,
):  # fmt: skip
    judge = Judge(budget, "accuracy", None, dev_rows)
    made = Exploration(space, lambda: space.starts, crew or Here(world, known, width), hopeless, judge, plan, own)
    return judge.choose(outcomes := made.outcomes_of(Silent(), deadline)), outcomes, made


def names(outcomes):
    return [one.recipe.name for one in outcomes]
