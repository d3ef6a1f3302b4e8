"""Gradual pruning: prune a little, heal, prune more (Zhu & Gupta 2017, arXiv:1710.01878).

After step t of n the sparsity is s (1 − (1 − t/n)³): most goes early, while there is much that does not matter. For
N:M, as many of every M neighbours go a step as lead evenly from M to N.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from pocketlm.compress.context import Context
from pocketlm.compress.journal import Journal, broken
from pocketlm.compress.masks import Few, read_pattern
from pocketlm.compress.passes import PASSES
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import Model, settle
from pocketlm.tables import pass_from_json


def scheduled(sparsity: Any, step: int, steps: int) -> Any:
    """The sparsity after `step` of `steps`; of a mapping, each of its values'."""
    if isinstance(sparsity, Mapping):
        return {name: scheduled(one, step, steps) for name, one in sparsity.items()}
    return sparsity if step == steps else sparsity * (1 - (1 - step / steps) ** 3)


@dataclass(frozen=True)
class GradualPrune:
    """Prune in steps, with a pass that heals after each.

    prune: the pass that prunes, with the settings it ends at, such as {pass: alps, sparsity: 0.7}. heal: the pass that
    heals, such as {pass: distill}; it is run after every step, the last too. steps: how many times.
    """

    name: ClassVar[str] = "gradual-prune"
    kind: ClassVar[str] = "prune"
    follows: ClassVar[bool] = True
    prune: Mapping[str, Any] = field(default_factory=lambda: {"pass": "alps"})
    heal: Mapping[str, Any] = field(default_factory=lambda: {"pass": "distill"})
    steps: int = 4

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps is a whole number from 1, got {self.steps}")
        pruning, healing = pass_from_json(self.prune, PASSES), pass_from_json(self.heal, PASSES)
        if pruning.kind != "prune" or not hasattr(pruning, "sparsity"):
            raise ValueError(f"prune is a pass with a sparsity, such as alps; got {pruning.name!r}")
        if not getattr(healing, "heals", False):
            raise ValueError(f"heal is a pass that heals, such as distill; got {healing.name!r}")

    def stages(self) -> list[Any]:
        """The pruning pass of each step."""
        last = pass_from_json(self.prune, PASSES)
        pattern = read_pattern(last.pattern)
        if not isinstance(pattern, Few):
            rates = [scheduled(last.sparsity, step, self.steps) for step in range(1, self.steps + 1)]
            return [replace(last, sparsity=rate) for rate in rates]
        spare = pattern.of - pattern.keep
        kept = [pattern.of - -(-spare * step // self.steps) for step in range(1, self.steps + 1)]
        return [
            replace(last, sparsity=1 - keep / pattern.of, pattern={"keep": keep, "of": pattern.of})
            for place, keep in enumerate(kept)
            if keep not in kept[:place]
        ]

    def __call__(self, model: Model, context: Context) -> Model:
        """The model, pruned and healed."""
        heal, stages = pass_from_json(self.heal, PASSES), self.stages()
        for number, prune in enumerate(stages, 1):
            pruned, healed = Journal(), Journal()
            model = settle(prune(model, replace(context, journal=pruned)))
            model = settle(heal(model, replace(context, journal=healed)))
            lost = broken(model, pruned.promises)
            if lost:
                raise RecipeError(
                    f"pass {self.name}: {heal.name} filled zeros of {lost[0].layer} again; "
                    "heal with a pass that keeps them, such as distill"
                )
            context.journal.note(f"step {number} of {len(stages)}: sparsity {prune.sparsity}, healed by {heal.name}")
            for text in (*pruned.notes, *healed.notes):
                context.journal.note(text)
            if number == len(stages):
                context.journal.layers.update(pruned.layers)
                context.journal.promises.extend(pruned.promises)
        return model
