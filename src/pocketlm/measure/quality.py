"""How well a Pocket predicts: every metric with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pocketlm.errors import DataError
from pocketlm.measure.sureness import sureness
from pocketlm.outputs import Example, Output, texts_of
from pocketlm.runtime.decode import Prediction
from pocketlm.runtime.inputs import Text
from pocketlm.runtime.likelihood import likelihoods
from pocketlm.runtime.load import Pocket, write_all
from pocketlm.runtime.tags import label_scheme, well_formed
from pocketlm.runtime.vectors import correlation, vectors_of
from pocketlm.runtime.windows import QuestionInputs
from pocketlm.tables import did_you_mean
from pocketlm.tasks.scores import Scores
from pocketlm.tasks.table import TASKS, Task


def texts_for(pocket: Pocket, examples: Sequence[Example]) -> list[Text]:
    """What the Pocket reads of the examples."""
    return list(texts_of(examples, pocket.outputs))


def evaluate(pocket: Pocket, examples: Sequence[Example], seed: int = 0) -> Scores:
    """The Pocket's scores on labelled examples, one text at a time, as it is mostly used.

    Metrics are of what it would answer if it answered every text; `sureness` says what comes of answering the sure
    ones alone. Sources longer than a model that writes has places for are cut, and counted where the scores say how
    they are taken.
    Raises DataError, which names the row, for a question that leaves no room for its context.
    """
    return answered(pocket, examples, seed)[0]


def answered(pocket: Pocket, examples: Sequence[Example], seed: int = 0) -> tuple[Scores, list[Prediction]]:
    """The scores, as `evaluate` has them, and the answers they are of, one an example."""
    task: Task = TASKS[pocket.task]
    if pocket.task == "generation":
        said: list[Prediction] = list(likelihoods(pocket.generator, [one.text for one in examples]))
        return task.score(examples, said, pocket.outputs, seed), said
    texts = texts_for(pocket, examples)
    if pocket.writes:
        sources = [one.text for one in examples]
        said = written(pocket, sources)
        return cut_noted(task.score(examples, said, pocket.outputs, seed), pocket, sources), said
    _check_room(pocket, texts)
    said = pocket.answering(None).predict(texts, batch_size=1)
    scores = task.score(examples, said, pocket.outputs, seed)
    return replace(scores, sureness=sureness(pocket, examples, said, seed)), said


# Labels that a note names one by one.
NAMED = 5


def foreign_labels(pocket: Pocket, examples: Sequence[Example], rows: str) -> tuple[str, ...]:
    """Notes on labels that the Pocket cannot say, which can only be judged as missed; () where it can say all.

    rows: what the rows are called. Raises DataError where it can say none of the labels: these rows are of something
    else.
    """
    notes, known = [], False
    for output in pocket.outputs:
        if output.kind not in ("single", "multi", "tags"):
            continue
        found = Counter(label for one in examples for label in dict.fromkeys(_labels_of(one, output)))
        known = known or any(label in output.labels for label in found)
        strange = [(label, count) for label, count in found.most_common() if label not in output.labels]
        if strange:
            named = ", ".join(
                f"{label!r} ({count:,} {'row' if count == 1 else 'rows'})" for label, count in strange[:NAMED]
            )
            named += f" and {len(strange) - NAMED:,} more" if len(strange) > NAMED else ""
            own = ", ".join(output.labels[:NAMED]) + (", …" if len(output.labels) > NAMED else "")
            near = did_you_mean(strange[0][0], list(output.labels), alike=0.66)
            near = f" For {strange[0][0]!r}:{near}" if near else ""
            notes.append(f"{rows}: the Pocket never says as {output.name} {named}; it says {own}.{near}")
    if notes and not known:
        raise DataError(f"{notes[0]} None of the rows' labels is one that it says")
    return tuple(f"{note} These labels count as missed" for note in notes)


def _labels_of(example: Example, output: Output) -> Sequence[str]:
    """The labels, or the tags of spans as the output writes them."""
    if output.kind != "tags":
        return example.labels
    scheme = label_scheme(output.labels)
    tags = example.tags if scheme is None else well_formed(example.tags, scheme)
    return [tag for tag in tags if tag != "O"]


def written(pocket: Pocket, texts: Sequence[str], batch_size: int = 1) -> list[Prediction]:
    """What the Pocket writes for each source, one that is longer than it has places for cut."""
    how = replace(pocket.generator.writing, cut=True)
    return write_all(pocket.generator, pocket.outputs[0].name, texts, batch_size, how)


def cut_noted(scores: Scores, pocket: Pocket, texts: Sequence[str]) -> Scores:
    """The scores of what was written for these sources; how they were taken says how many sources were cut."""
    most = pocket.generator.context
    cut = sum(len(pocket.generator.read(text)) > most for text in texts)
    if not cut:
        return scores
    note = f"; of {len(texts):,} sources {cut:,} are longer than the {most:,} tokens that the model reads, and were cut"
    return replace(scores, signatures={name: how + note for name, how in scores.signatures.items()})


def _check_room(pocket: Pocket, texts: Sequence[Text]) -> None:
    """Raises DataError, which names the row, for a question that leaves no room for its context."""
    if not isinstance(pocket.inputs, QuestionInputs):
        return
    for place, text in enumerate(texts, 1):
        try:
            pocket.inputs.windows([text])
        except DataError as error:
            raise DataError(f"row {place}: {error}") from None


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
