"""How well a Pocket predicts: every metric with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from pocketlm.outputs import Example
from pocketlm.runtime.load import Pocket
from pocketlm.tasks.scores import Scores
from pocketlm.tasks.table import TASKS, Task


def texts_for(pocket: Pocket, examples: Sequence[Example]) -> list[str | tuple[str, ...]]:
    """What the Pocket reads of each example: its tokens where it tags words and they are given."""
    tagging = any(output.kind == "tags" for output in pocket.outputs)
    return [example.tokens if tagging and example.tokens else example.text for example in examples]


def evaluate(pocket: Pocket, examples: Sequence[Example], seed: int = 0) -> Scores:
    """The Pocket's scores on labelled examples, one text at a time, as it is mostly used."""
    task: Task = TASKS[pocket.task]
    return task.score(examples, pocket.predict(texts_for(pocket, examples), batch_size=1), pocket.outputs, seed)
