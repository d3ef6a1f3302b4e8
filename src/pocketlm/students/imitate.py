"""Train an encoder to see texts as its teacher does, whatever the labels: to give each the teacher's vector.

Reimers and Gurevych 2020 (arXiv:2004.09813): vectors teach more than labels where these are few, and any text of the
language is a lesson. What the vectors say of the labels is found afterwards, by `solve`: the teacher of a recipe with
this pass is therefore the encoder as it was pretrained, whose vectors do not yet keep apart the labels of these rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from pocketlm.errors import RecipeError
from pocketlm.knobs import Real, knob
from pocketlm.model.encoder import EncoderModule
from pocketlm.model.readout import Readout
from pocketlm.model.task_model import TaskModel
from pocketlm.model.transformer import SmallEncoder
from pocketlm.outputs import Output, texts_of
from pocketlm.runtime.vectors import Floats, cosine
from pocketlm.train.context import FitContext
from pocketlm.train.frozen import pooled_vectors
from pocketlm.train.lesson import Lesson, Taught
from pocketlm.train.loop import Schedule, gains_from_bf16, train
from pocketlm.train.losses import Objective

VECTOR = "vector"


@dataclass(frozen=True)
class Imitate:
    """Train for at most `epochs` towards the teacher's pooled states, and keep the epoch nearest to them on dev.

    rate: peak learning rate. Dev's labels are not looked at.
    """

    name: ClassVar[str] = "imitate"
    epochs: int = 20
    rate: float = knob(1e-3, Real(1e-4, 1e-2, log=True), decisive=True)
    batch_size: int = 32
    patience: int = 10
    decay: float = 0.01

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.decay < 0:
            raise ValueError("rate is above 0, and decay at least 0")
        if min(self.epochs, self.batch_size, self.patience) < 1:
            raise ValueError("epochs, batch_size and patience are at least 1")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The encoder with states like the teacher's; its heads say nothing yet. Raises RecipeError without both."""
        teacher = context.teacher
        if model is None or not isinstance(model.module, SmallEncoder):
            raise RecipeError("imitate trains an encoder; put it after small-transformer or small-convnet")
        if teacher is None or not isinstance(teacher.module, EncoderModule):
            raise RecipeError("imitate needs a teacher, an encoder whose vectors are learnt")
        width = int(teacher.module.backbone.config.hidden_size)
        if model.module.shape.width != width:
            raise RecipeError(f"imitate: the student's width is {model.module.shape.width}, the teacher's {width}")
        seen = context.seen.of(teacher, context.lesson.texts, context.progress)
        mean = seen.mean(axis=0)
        outputs = (Output(VECTOR, "vector", (), width),)
        own, pooling = model.module.readout, teacher.module.readout.pooling
        model.module.readout = _bare(outputs, mean, pooling)
        lesson = Lesson(context.lesson.texts, {VECTOR: [-1] * len(seen)}, Taught({VECTOR: list(seen - mean)}))
        texts = texts_of(context.dev, context.outputs)
        given = pooled_vectors(teacher, texts) - mean

        def near(one: TaskModel) -> float:
            return float(cosine(pooled_vectors(one, texts) - mean, given).mean())

        bare = replace(model, spec=replace(model.spec, outputs=outputs))
        schedule = Schedule(
            self.epochs, self.rate, self.batch_size, warmup=0.05, patience=self.patience, decay=self.decay,
            autocast=gains_from_bf16(), to_deadline=True,
        )  # fmt: skip
        train(
            bare, lesson, Objective(alpha=1.0), schedule, near,
            seed=context.seed, checkpoint=context.checkpoints, progress=context.progress, deadline=context.deadline,
        )  # fmt: skip
        own.pooling = pooling
        model.module.readout = own
        return model


def _bare(outputs: tuple[Output, ...], mean: Floats, pooling: str) -> Readout:
    """A readout of the pooled states themselves, less their mean."""
    readout = Readout(outputs, len(mean), 0.0, pooling)
    head = readout.heads[VECTOR]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        nn.init.eye_(head.weight)
        shift: Tensor = torch.from_numpy(-mean)
        head.bias.copy_(shift)
    head.requires_grad_(False)
    return readout
