"""What every pass may look at while it changes a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pocketlm.model.encoder import Pretrained, load_pretrained, teacher_model
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.progress import Deadline, Progress, Silent
from pocketlm.runtime.decode import Prediction
from pocketlm.tasks.table import Task
from pocketlm.train.frozen import Seen
from pocketlm.train.lesson import Lesson
from pocketlm.train.loop import Pace
from pocketlm.train.teach import DevFigure, Likeness


@dataclass(frozen=True)
class FitContext:
    """Data, teacher and limits of one job.

    lesson: training (and unlabelled) texts, with the teacher's outputs where there is a teacher.
    dev: examples that choose; test examples are never here. teacher: the fine-tuned encoder.
    taught_dev: the teacher's answers on dev, where it is listened to.
    checkpoints: folder for what a pass needs to resume; None where it need not. pace: asked after each epoch of a
    student's first training whether to go on. focus: pieces that students read of a long context; None for all. mixup:
    as `Objective` has it. seen: vectors of texts by the encoder as it was pretrained, kept for the next student that
    learns from them. frozen: whether the teacher is the encoder as it was pretrained, with a head. searched: where a
    chosen recipe runs again on more rows, the context it was chosen in, whose texts are all that `imitate` learns from.
    trained: there, the file of an encoder's weights after its first `distill`, from which it goes on.
    timed: whether the student's latency is taken after each pass.
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
    pace: Pace | None = None
    focus: int | None = None
    mixup: float = 0.0
    seen: Seen = field(default_factory=Seen)
    frozen: bool = False
    searched: FitContext | None = None
    trained: Path | None = None
    timed: bool = False
    progress: Progress = field(default_factory=Silent)
    deadline: Deadline = field(default_factory=Deadline)

    @cached_property
    def as_pretrained(self) -> FitContext:
        """The same with the encoder as it was before it was fine-tuned: what it sees tells nothing of the labels."""
        if self.pretrained is None or self.frozen:
            return self
        lesson = replace(self.lesson, taught=None)
        if self.searched is not None:
            before = self.searched.as_pretrained
            encoder, teacher = before.pretrained, before.teacher
        else:
            encoder = load_pretrained(self.pretrained.name)
            teacher = teacher_model(encoder, self.outputs, self.max_length)
        return replace(self, pretrained=encoder, teacher=teacher, lesson=lesson, taught_dev=None)

    @property
    def figure(self) -> DevFigure:
        """The dev figure that passes may watch."""
        return DevFigure(self.task, self.dev)

    @property
    def watched(self) -> Callable[[TaskModel], float]:
        """What says on dev which epoch is best: the figure, or how near vectors are to those of the teacher heard."""
        if self.vectors and self.taught_dev is not None:
            return Likeness(texts_of(self.dev, self.outputs), self.taught_dev)
        return self.figure

    @property
    def tagging(self) -> bool:
        """Whether words are tagged."""
        return any(output.kind == "tags" for output in self.outputs)

    @property
    def asking(self) -> bool:
        """Whether questions are answered from contexts."""
        return any(output.kind == "span" for output in self.outputs)

    @property
    def vectors(self) -> bool:
        """Whether texts become vectors."""
        return any(output.kind == "vector" for output in self.outputs)
