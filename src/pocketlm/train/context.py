"""What every pass may look at while it changes a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pocketlm.model.encoder import Pretrained
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.runtime.decode import Prediction
from pocketlm.tasks.table import Task
from pocketlm.train.lesson import Lesson
from pocketlm.train.teach import DevFigure


@dataclass(frozen=True)
class FitContext:
    """Data, teacher and limits of one job.

    lesson: training (and unlabelled) texts, with the teacher's outputs where there is a teacher.
    dev: examples that choose; test examples are never here. teacher: the fine-tuned encoder.
    taught_dev: the teacher's answers on dev, where it is listened to.
    checkpoints: folder for what a pass needs to resume; None where it need not. focus: pieces that students read of
    a long context; None for all.
    """

    task: Task
    outputs: tuple[Output, ...]
    lesson: Lesson
    dev: Sequence[Example]
    max_length: int
    pretrained: Pretrained | None = None
    teacher: TaskModel | None = None
    seed: int = 0
    taught_dev: Sequence[Prediction] | None = None
    checkpoints: Path | None = None
    focus: int | None = None
    progress: Progress = field(default_factory=Silent)
    deadline: Deadline = field(default_factory=Deadline)

    @property
    def figure(self) -> DevFigure:
        """The dev figure that passes may watch."""
        return DevFigure(self.task, self.dev)

    @property
    def tagging(self) -> bool:
        """Whether words are tagged."""
        return any(output.kind == "tags" for output in self.outputs)

    @property
    def asking(self) -> bool:
        """Whether questions are answered from contexts."""
        return any(output.kind == "span" for output in self.outputs)
