"""What a task is, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pocketlm.outputs import Example, Output
from pocketlm.tables import Table
from pocketlm.tasks.scores import Scores

TASKS = Table(
    "task",
    {
        "classification": "pocketlm.tasks.classification:CLASSIFICATION",
        "multi-label": "pocketlm.tasks.classification:MULTI_LABEL",
        "understanding": "pocketlm.tasks.understanding:UNDERSTANDING",
        "tagging": "pocketlm.tasks.tagging:TAGGING",
        "word-tagging": "pocketlm.tasks.tagging:WORD_TAGGING",
        "question-answering": "pocketlm.tasks.question_answering:QUESTION_ANSWERING",
        "generation": "pocketlm.tasks.generation:GENERATION",
        "translation": "pocketlm.tasks.translation:TRANSLATION",
        "similarity": "pocketlm.tasks.similarity:SIMILARITY",
        "retrieval": "pocketlm.tasks.similarity:RETRIEVAL",
    },
)


class Task(Protocol):
    """What a model of the task predicts, and how predictions are judged."""

    @property
    def name(self) -> str:
        """Its key in TASKS."""
        ...

    @property
    def main_metric(self) -> str:
        """The figure that chooses between candidates."""
        ...

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """{metric: whether more is better}."""
        ...

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """What a model of these training examples predicts."""
        ...

    def figures(
        self, examples: Sequence[Example], predictions: Sequence[Mapping[str, Any]], outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        ...

    def score(
        self,
        examples: Sequence[Example],
        predictions: Sequence[Mapping[str, Any]],
        outputs: Sequence[Output],
        seed: int = 0,
    ) -> Scores:
        """Every metric with its 95 % interval, and the tables behind them."""
        ...
