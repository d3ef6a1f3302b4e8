"""How well a Pocket predicts: every metric with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pocketlm.outputs import Example, texts_of
from pocketlm.runtime.decode import Prediction
from pocketlm.runtime.inputs import Text
from pocketlm.runtime.likelihood import likelihoods
from pocketlm.runtime.load import Pocket
from pocketlm.runtime.vectors import correlation, vectors_of
from pocketlm.tasks.scores import Scores
from pocketlm.tasks.table import TASKS, Task


def texts_for(pocket: Pocket, examples: Sequence[Example]) -> list[Text]:
    """What the Pocket reads of the examples."""
    return list(texts_of(examples, pocket.outputs))


def evaluate(pocket: Pocket, examples: Sequence[Example], seed: int = 0) -> Scores:
    """The Pocket's scores on labelled examples, one text at a time, as it is mostly used."""
    task: Task = TASKS[pocket.task]
    if pocket.task == "generation":
        said: list[Prediction] = list(likelihoods(pocket.generator, [one.text for one in examples]))
        return task.score(examples, said, pocket.outputs, seed)
    return task.score(examples, pocket.predict(texts_for(pocket, examples), batch_size=1), pocket.outputs, seed)


def fidelity(said: Sequence[Prediction], taught: Sequence[Prediction]) -> float:
    """Share of texts with the same answer from student and teacher, scores aside.

    Of vectors: the correlation of the cosines of every two texts. Stanton et al. 2021,
    arXiv:2106.05945. Raises ValueError for lists of different length.
    """
    if said and "vector" in said[0]:
        return correlation(vectors_of(said), vectors_of(taught))
    same = [_answer(own) == _answer(theirs) for own, theirs in zip(said, taught, strict=True)]
    return sum(same) / max(1, len(same))


def _answer(said: Prediction) -> dict[str, Any]:
    """What was said, without the scores; several labels of a text have no order."""
    answer = {key: value for key, value in said.items() if key not in ("score", "scores", "margin")}
    return {**answer, "labels": sorted(answer["labels"])} if "labels" in answer else answer
