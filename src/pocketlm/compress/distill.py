"""Distillation: what compression changed learns to say what the model said before it was compressed.

Losses and papers: `compress.teaching`; on-policy: `compress.policy`. Pruned weights stay zero, codes stay as they are
and only their scales learn, and the result is what held-out rows found better, or what it was before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pocketlm.compress.context import Context
from pocketlm.compress.teaching import Training, classroom, improve
from pocketlm.compress.trainable import trainable
from pocketlm.model.pretrained import Model


@dataclass(frozen=True)
class Distill(Training):
    """Train the compressed model on its teacher's answers to the calibration. Settings: see `Training`.

    train: "all" (plain weights and low-rank factors, scales of quantized ones, norms, biases), "scales" (scales, norms
    and biases) or "norms" (norms and biases). on_policy: share of steps on texts the student wrote itself;
    sample_tokens: how many tokens it writes.
    """

    name: ClassVar[str] = "distill"
    kind: ClassVar[str] = "heal"
    heals: ClassVar[bool] = True

    def __call__(self, model: Model, context: Context) -> Model:
        """The model, healed; as it was where held-out rows are no better off."""
        room = classroom(model, self, context)
        trained = trainable(model.module, self.train)
        try:
            better = improve(model, trained, room, context)
        finally:
            trained.store()
        for name in trained.layers:
            if better:
                context.journal.layer(name, "trained")
            else:
                context.journal.left(name, "training did not lower the held-out loss")
        return model
