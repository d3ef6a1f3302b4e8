"""A recipe that brings a model to a size, or to a time: one budget for all methods, checked on the model it makes.

Errors of layers do not add up, and passes that feed errors back do better than the survey's bound. So a choice is
applied, the rise of the loss measured after every pass, and the predictions of each kind are scaled by what was seen
before it is chosen again. The budget follows what the model really has, of bytes as a folder or of measured time (see
`recipe.currency`). All this is done on a part of the calibration, as sizes and the order of losses need less of it than
weights do; the last choice is made with all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pocketlm.compress.allocate import Allocation, allocate_few, least_bytes
from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.rise import Reference, reference_of
from pocketlm.compress.survey import survey
from pocketlm.errors import BudgetError
from pocketlm.model.pretrained import Model
from pocketlm.recipe.choice import KIND_OF, recipe_of
from pocketlm.recipe.compress import compress
from pocketlm.recipe.currency import Bytes, Currency
from pocketlm.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

# What a pass with error feedback usually leaves of the loss predicted without, until it is measured.
PRIOR = {"grid": 0.5, "entropy-coded": 0.6, "prune": 0.5, "width": 0.7}
ROUNDS, TRIES = 3, 8
# What another choice must promise over one that fits, as a share of its predicted loss, to be tried.
GAIN = 0.02
# Calibration tokens that choices are tried on before one is made with all.
TRIED_ON = 8192


@dataclass(frozen=True)
class Try:
    """One choice, applied. predicted, measured: rise of the loss by kind. cost: what the target is counted in.

    budget: of matrices, that it was made for. model: what it made, while it may yet be the best.
    """

    recipe: Recipe
    allocation: Allocation
    predicted: Mapping[str, float]
    measured: Mapping[str, float]
    cost: int
    budget: int
    model: Model | None = field(repr=False)

    @property
    def rise(self) -> float:
        """The measured rise of the loss: passes that lower it again count, too."""
        return max(0.0, sum(self.measured.values()))

    def to_json(self) -> dict[str, Any]:
        """Costs and losses as plain data."""
        return {"cost": self.cost, "predicted": dict(self.predicted), "measured": dict(self.measured)}


@dataclass(frozen=True)
class Plan:
    """The recipe chosen, the model it makes, and all that was tried. unit: of losses. currency: of the target."""

    best: Try
    tries: tuple[Try, ...]
    target: int
    unit: str
    currency: Currency = field(default_factory=Bytes)

    @property
    def recipe(self) -> Recipe:
        """That makes the model."""
        return self.best.recipe

    @property
    def model(self) -> Model:
        """What the recipe made."""
        assert self.best.model is not None  # of all tries only this one's is kept
        return self.best.model

    @property
    def text(self) -> str:
        """A line for people: size or time, predicted and measured loss."""
        predicted, said = sum(self.best.predicted.values()), self.currency.said
        return (
            f"{said(self.best.cost)} of {said(self.target)}; loss rises by {self.best.rise:.4g} {self.unit} on "
            f"calibration, {predicted:.4g} were predicted; {len(self.tries)} choices tried"
        )


def recipe_for(
    model: Model, calibration: Calibration, target: int, context: Context | None = None, **settings: Any
) -> Recipe:
    """The recipe whose saved folder is at most `target` bytes with the least loss found; settings as `plan_for`."""
    return plan_for(model, calibration, target, context, **settings).recipe


def plan_for(
    model: Model, calibration: Calibration, target: int, context: Context | None = None, *,
    currency: Currency | None = None, kinds: Sequence[str] | None = None, rounds: int = ROUNDS,
    cache: Path | None = None,
) -> Plan:  # fmt: skip
    """As `recipe_for`, with the model and what was tried.

    currency: of the target; bytes of the folder without. kinds: of options that compete, of "grid", "entropy-coded",
    "low-rank", "prune", "width" and "drop", those of the currency without; without "grid" weights are entropy-coded,
    which is smaller as a folder. rounds: choices that predictions are corrected by. cache: where surveys are kept.
    Raises BudgetError for a target out of reach, with the least size or time within it.
    """
    currency = currency or Bytes()
    kinds = currency.kinds if kinds is None else kinds
    context = replace(context or Context(), calibration=calibration, teacher=model, allow_no_effect=True)
    table = currency.table(survey(model, calibration, context, cache=cache))
    rest = currency.of(model) - (table.bytes - table.other_bytes)
    least = least_bytes(table, kinds) + rest
    if least > target:
        raise _out_of_reach(target, least, "about ", currency)
    reference = reference_of(model, calibration, fast=context.fast)
    search = _Search(target, rest, least_bytes(table, kinds), dict(PRIOR), currency)
    part, labels = calibration.part(TRIED_ON, context.labels)
    stages = [(context, rounds)]
    if part is not calibration:
        stages = [(replace(context, calibration=part, labels=labels), rounds), (context, 0)]
    for own, corrections in stages:
        search.begin()
        while len(search.tries) < TRIES and not search.done(corrections):
            allocation = search.first or allocate_few(table, search.budget, search.scales, kinds)
            if search.fitted(allocation):
                break
            recipe = recipe_of(allocation, model)
            passes, whole = ", ".join(one.name for one in recipe.steps), " with all calibration" * (own is context)
            context.progress.stage(f"{search.said}{whole}: {passes}")
            tried = _try(model, recipe, allocation, search, reference, own)
            logger.info("%s: %s", currency.said(tried.cost), tried.to_json())
            search.learn(tried, corrected=len(search.tries) < corrections)
    return Plan(search.chosen(), (*search.past, *search.tries), search.target, table.unit, currency)


@dataclass
class _Search:
    """Tries so far, and the budget of matrices for the next one. rest: cost of all else. least: of the matrices.

    tries: on the calibration that is used now. past: on a part of it, whose weights are not kept. first: what was best
    on that part, to be tried first.
    """

    target: int
    rest: int
    least: int
    scales: dict[str, float]
    currency: Currency
    tries: list[Try] = field(default_factory=list)
    past: list[Try] = field(default_factory=list)
    first: Allocation | None = None
    low: float = 0.0
    high: float = float("inf")
    budget: int = 0

    def __post_init__(self) -> None:
        self.budget = max(self.least, int(self.currency.aim * self.target) - self.rest)

    def begin(self) -> None:
        """Go on with other calibration, from the best choice so far. Raises BudgetError where none was small enough."""
        if self.tries:
            best = self.chosen()
            self.first, self.budget = best.allocation, best.budget
        self.past += [replace(one, model=None) for one in self.tries]
        self.tries, self.low, self.high = [], 0.0, float("inf")

    def fitting(self) -> list[Try]:
        """Tries that meet the target."""
        least, most = self.currency.least * self.target, self.currency.most(self.target)
        return [one for one in self.tries if least <= one.cost <= most]

    def fitted(self, allocation: Allocation) -> bool:
        """Whether this choice promises next to nothing over one that was tried and fits, as predictions now are."""
        promised = (1 + GAIN) * allocation.loss(self.scales)
        return any(one.allocation.loss(self.scales) <= promised for one in self.fitting())

    @property
    def said(self) -> str:
        """Which choice comes, and what the last one came to."""
        every = [*self.past, *self.tries]
        last = f" (the last one: {self.currency.said(every[-1].cost)}, loss +{every[-1].rise:.4g})" if every else ""
        return f"choice {len(every) + 1}{last}"

    def done(self, rounds: int) -> bool:
        """Whether the last try meets the target, with predictions that were corrected often enough or are right."""
        if not self.tries or self.tries[-1] not in self.fitting():
            return len(self.tries) > rounds and bool(self.fitting())
        last = self.tries[-1]
        predicted = sum(last.predicted.values())
        return len(self.tries) >= rounds or abs(last.rise - predicted) <= 0.1 * last.rise + 1e-6

    def learn(self, tried: Try, corrected: bool) -> None:
        """Take a try into account: scales while they are `corrected`, and the next budget."""
        self.tries.append(tried)
        self.first, best = None, self.best()
        self.tries = [one if one is best else replace(one, model=None) for one in self.tries]
        if corrected:
            for kind, value in tried.measured.items():
                if tried.allocation.losses.get(kind, 0.0) > 1e-9:
                    self.scales[kind] = min(20.0, max(0.05, value / tried.allocation.losses[kind]))
            self.low, self.high = 0.0, float("inf")
        most = self.currency.most(self.target)
        if tried.cost > most:
            self.high = min(self.high, self.budget)
        elif tried.cost < self.currency.least * self.target:
            self.low = max(self.low, self.budget)
        else:
            return
        wanted = self.budget + self.currency.aim * self.target - tried.cost
        if not self.low < wanted < self.high:
            wanted = (self.low + self.high) / 2 if self.high < float("inf") else wanted
        if len(self.tries) == TRIES - 1 and min(one.cost for one in self.tries) > most:
            wanted = self.least  # before the target is said to be out of reach
        self.budget = max(self.least, int(wanted))

    def best(self) -> Try | None:
        """Of those within the target the one that lost least, where they are near it; else the largest."""
        if found := self.fitting():
            return min(found, key=lambda one: one.rise)
        small = [one for one in self.tries if one.cost <= self.currency.most(self.target)]
        small = small or [one for one in self.tries if one.cost <= self.target]
        return max(small, key=lambda one: one.cost, default=None)

    def chosen(self) -> Try:
        """The best try. Raises BudgetError where none is small enough."""
        best = self.best()
        if best is None:
            raise _out_of_reach(self.target, min(one.cost for one in self.tries), "", self.currency)
        return best


def _out_of_reach(target: int, least: int, about: str, currency: Currency) -> BudgetError:
    included = ", tokenizer and config included," if currency.word == "size" else ""
    exact = f" ({least:,} bytes)" if currency.word == "size" else ""
    return BudgetError(
        f"target {currency.word} {currency.said(target)} is out of reach: the least that this model comes to{included} "
        f"is {about}{currency.said(least)}{exact}"
    )


def _try(
    model: Model, recipe: Recipe, allocation: Allocation, search: _Search, reference: Reference, context: Context
) -> Try:  # fmt: skip
    """Apply a recipe and measure the rise of the loss after every pass."""
    measured: dict[str, float] = {}

    def observe(step: Any, now: Model) -> None:
        kind, before = KIND_OF[step.name], sum(measured.values())
        measured[kind] = measured.get(kind, 0.0) + reference.rise(now) - before

    made = compress(model, recipe, context, observe)
    predicted = {kind: value * search.scales.get(kind, 1.0) for kind, value in allocation.losses.items()}
    return Try(recipe, allocation, predicted, measured, search.currency.of(made), search.budget, made)
