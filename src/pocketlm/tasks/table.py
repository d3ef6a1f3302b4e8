"""What a task is, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pocketlm.outputs import Example, Output
from pocketlm.tables import Table

TASKS = Table(
    "task",
    {
        "classification": "pocketlm.tasks.classification:CLASSIFICATION",
        "multi-label": "pocketlm.tasks.classification:MULTI_LABEL",
        "understanding": "pocketlm.tasks.understanding:UNDERSTANDING",
    },
)


class Task(Protocol):
    """How rows become examples and outputs, and how predictions are judged.

    main_metric: the figure that chooses between candidates. higher_is_better: {metric: whether more is better}.
    """

    name: str
    main_metric: str
    higher_is_better: Mapping[str, bool]

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """What a model of these training examples predicts."""
        ...

    def figures(
        self, examples: Sequence[Example], predictions: Sequence[Mapping[str, Any]], outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric, without intervals."""
        ...
