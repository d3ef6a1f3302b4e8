"""What runs the recipes of one job, and remembers what became of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pocketlm.outputs import texts_of
from pocketlm.pocket.work import Step, WorkFolder
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.run import Prefixes
from pocketlm.runtime.load import load
from pocketlm.search.asked import Asked
from pocketlm.search.trial import Trial, run_trial
from pocketlm.train.context import FitContext
from pocketlm.train.loop import Pace


@dataclass(frozen=True)
class Runner:
    """What trains, exports and measures a recipe in a context, or remembers that it did.

    depends: all that what becomes of a recipe depends on. head: what the manifest says beside the model. asked: what
    floors ask on dev, which is asked of a Pocket that is remembered, too. allowed: milliseconds on this machine.
    """

    context: FitContext
    work: WorkFolder
    depends: dict[str, Any]
    head: dict[str, Any]
    prefixes: Prefixes
    asked: Asked
    allowed: float | None = None

    def step(self, recipe: Recipe) -> Step:
        """Where what becomes of a recipe is kept."""
        return self.work.step("student", {**self.depends, "recipe": recipe.to_json()})

    def remembers(self, recipe: Recipe) -> bool:
        """Whether a recipe was measured before."""
        return self.step(recipe).result is not None

    def __call__(self, recipe: Recipe, pace: Pace | None = None) -> Trial:
        """The recipe measured now or remembered, with what floors ask. Raises Paused as `run_recipe` does."""
        step = self.step(recipe)
        return self.with_floors(run_trial(recipe, self.context, step, self.head, self.prefixes, pace, self.allowed))

    def with_floors(self, trial: Trial) -> Trial:
        """The trial with what floors ask of its Pocket on dev."""
        if not self.asked.floors:
            return trial
        pocket = load(trial.pocket)
        said = pocket.predict(texts_of(self.asked.examples, pocket.outputs), batch_size=1)
        extra = {**trial.measurement.extra, **self.asked.figures(pocket, said, fitted=False)}
        return replace(trial, measurement=replace(trial.measurement, extra=extra))
