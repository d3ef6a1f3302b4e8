"""What a pass of a student's recipe is, and the table of them.

A pass is a frozen dataclass: its fields are its settings, calling it maps a model to a model. It may work
in place on the model it is given (the caller's own model was copied before), and it never looks at test data.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from pocketlm.model.task_model import TaskModel
from pocketlm.tables import Table
from pocketlm.train.context import FitContext


class StudentPass(Protocol):
    """A step of a recipe that makes a student."""

    name: ClassVar[str]

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The changed model. Passes that build a student take whatever came before as nothing."""
        ...


STUDENT_PASSES = Table(
    "student",
    {
        "hashed-ngrams": "pocketlm.students.ngrams:HashedNgrams",
        "static-embeddings": "pocketlm.students.static:StaticEmbeddings",
        "small-transformer": "pocketlm.students.transformer:SmallTransformer",
        "small-convnet": "pocketlm.students.convnet:SmallConvnet",
        "imitate": "pocketlm.students.imitate:Imitate",
        "beside-ngrams": "pocketlm.students.beside:BesideNgrams",
        "distill": "pocketlm.students.distill:Distill",
        "solve": "pocketlm.students.solve:Solve",
        "weigh": "pocketlm.students.weigh:Weigh",
        "prune-rows": "pocketlm.students.prune_rows:PruneRows",
        "quantize": "pocketlm.students.quantize:Quantize",
    },
    called="pass",
)
