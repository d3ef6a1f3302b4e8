"""A smaller language model made of a larger one: the best of a few cuts, healed by distillation round by round."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.distill import Distill
from pocketlm.errors import NoEffect, RecipeError
from pocketlm.model.pretrained import Model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

logger = logging.getLogger(__name__)

# Rounds of healing, each over all windows once, while dev gets better by at least this share.
ROUNDS, LEAST_GAIN = 4, 0.002
# Steps of a round at least, rows a step, and rows that judge a round at most.
LEAST_STEPS, BATCH, MOST_JUDGED = 50, 8, 48
# The peak rate falls with the width, from that of a small model.
RATE, RATE_WIDTH = 1e-3, 0.15
# Weight of the text itself beside the teacher's shares of every token.
LABELS = 0.3


@dataclass(frozen=True)
class Cut:
    """A model cut out of a larger one. loss: what the judge said. others: names of other cuts, and theirs."""

    model: Model
    recipe: Recipe
    loss: float
    others: dict[str, float | str] = field(default_factory=dict)


def best_cut(teacher: Model, among: Sequence[Recipe], judge: Callable[[Model], float], context: Context) -> Cut:
    """The cut of the teacher that the judge says loses least. Time ends the trying, not before one is made.

    Raises RecipeError where none can be made.
    """
    best: Cut | None = None
    said: dict[str, float | str] = {}
    for recipe in among:
        if best is not None and context.deadline.passed:
            said[recipe.name] = "not tried: time was up"
            continue
        context.progress.stage(f"cutting: {recipe.name}")
        try:
            model = compress(teacher, recipe, context)
        except (RecipeError, NoEffect) as error:
            said[recipe.name] = str(error)
            continue
        said[recipe.name] = loss = judge(model)
        logger.info("%s: %.4f", recipe.name, loss)
        if best is None or loss < best.loss:
            best = Cut(model, recipe, loss)
    if best is None:
        raise RecipeError(f"nothing could be cut out of the teacher: {'; '.join(map(str, said.values()))}")
    return replace(best, others={name: one for name, one in said.items() if name != best.recipe.name})


def healed(model: Model, judge: Callable[[Model], float], context: Context) -> tuple[Model, list[str]]:
    """The model taught by the context's teacher on its calibration, and a line on each round.

    A round that the judge finds no better ends the healing, and so does the deadline.
    """
    loss, notes = judge(model), list[str]()
    for number in range(1, ROUNDS + 1):
        if context.deadline.passed:
            break
        calibration = context.calibrated("distill")
        recipe = Recipe([_lesson(model, calibration)], "healing")
        taught = compress(model, recipe, replace(context, allow_no_effect=True))
        after = judge(taught)
        said = "; ".join(map(str, taught.records[-1]["notes"]))
        notes.append(f"healing, round {number}: {said}; {after:.4f} bits a byte on a part of dev, {loss:.4f} before")
        if not after < loss:
            break
        model, done = taught, loss - after < LEAST_GAIN * loss
        loss = after
        if done:
            break
    return model, notes


def _lesson(model: Model, calibration: Calibration) -> Any:
    """One round over all rows but those that judge it."""
    rows = sum(len(batch["input_ids"]) for batch in calibration.batches)
    width = int(model.module.get_input_embeddings().weight.shape[1])
    apart = min(0.1, MOST_JUDGED / rows)
    steps = max(LEAST_STEPS, math.ceil(rows * (1 - apart) / BATCH))
    return Distill(
        steps=steps, rate=min(RATE, RATE_WIDTH / width), batch=BATCH, labels=LABELS, held_out=apart,
    )  # fmt: skip
