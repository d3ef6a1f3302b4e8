"""What a pass may look at while it changes a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.journal import Journal
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import Model
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.train.loop import gains_from_bf16


@dataclass(frozen=True)
class Context:
    """Calibration, teacher and limits of one compression.

    calibration: what layers' inputs are measured on and healing trains on. teacher: the model as it was before the
    first pass; the runner fills it in. labels: of each calibration batch, for task losses, where there are some.
    fast: forward passes in bfloat16, where the processor multiplies it in hardware. disk: a folder for activations
    that should not stay in memory. workers: processes for layers that do not depend on each other. journal: where a
    pass writes what it did; the runner gives each pass a fresh one.
    """

    calibration: Calibration | None = None
    teacher: Model | None = None
    labels: tuple[Any, ...] = ()
    seed: int = 0
    fast: bool = field(default_factory=gains_from_bf16)
    disk: Path | None = None
    workers: int = 1
    ray: str | None = None
    allow_no_effect: bool = False
    journal: Journal = field(default_factory=Journal)
    progress: Progress = field(default_factory=Silent)
    deadline: Deadline = field(default_factory=Deadline)

    def calibrated(self, name: str) -> Calibration:
        """The calibration. Raises RecipeError, naming the pass, where there is none."""
        if self.calibration is None:
            raise RecipeError(f"pass {name}: needs calibration text; give --calibration FILE")
        return self.calibration

    def taught(self, name: str) -> Model:
        """The teacher. Raises RecipeError, naming the pass, where there is none."""
        if self.teacher is None:
            raise RecipeError(f"pass {name}: needs a teacher: the model as it was before it was compressed")
        return self.teacher

    def ticks(self, stage: str) -> Callable[[int, int, str], None]:
        """A callback (done, total, note) for a part of the work called `stage`."""
        self.progress.stage(stage)
        return lambda done, total, note: self.progress.step(done, total, note)
