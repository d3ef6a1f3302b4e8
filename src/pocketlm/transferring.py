"""Which other languages to learn from: those that help on held-out rows of the data, tried in the order of kinship.

Only training rows of the data are looked at, each held out in its turn; dev and test play no part. Where there are too
few to hold any out, kinship alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pocketlm.data.kinship import Kinship, by_kinship, kinship
from pocketlm.data.mixing import Other, fitted, known_labels, mixed
from pocketlm.data.source import SMART_HOME
from pocketlm.errors import DataError, RecipeError
from pocketlm.job import AUTO, Job
from pocketlm.model.encoder import Pretrained
from pocketlm.outputs import Example, texts_of
from pocketlm.progress import Progress
from pocketlm.runtime.decode import Prediction
from pocketlm.search.gains import folds, trained_student
from pocketlm.tasks.others import check_mixable, open_other
from pocketlm.tasks.prepare import Prepared, prepare_alone
from pocketlm.train.frozen import with_meaning
from pocketlm.train.teach import answers

# Sources whose gain is measured; sources taken where it cannot be; rows of the data it takes; parts held out in turn.
MOST_TRIED, TAKEN_UNTRIED, FEWEST_ROWS, FOLDS = 6, 3, 20, 3
# Rows of a source that a trial learns from.
ROWS_TRIED = 1_500


@dataclass(frozen=True)
class Choice:
    """What was chosen. gains: by source, of the task's metric on held-out rows over the data's own rows alone."""

    chosen: tuple[str, ...]
    nearest: list[Kinship]
    gains: dict[str, float]
    alone: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data: a row a source, nearest first."""
        rows = [
            {**one.to_json(), "gain": self.gains.get(one.source), "chosen": one.source in self.chosen}
            for one in self.nearest
        ]
        return {"alone": self.alone, "sources": rows}

    @property
    def note(self) -> str:
        """One line."""
        taken = f"sources chosen: {', '.join(self.chosen)}" if self.chosen else "no source helped, none is learnt from"
        if self.alone is None:
            return f"{taken}, the nearest by kinship: there are too few rows to hold out"
        tried = ", ".join(f"{name} {gain:+.4f}" for name, gain in self.gains.items())
        return f"{taken}; gains of n-grams on held-out training rows ({self.alone:.4f} without): {tried}"


def choose_sources(job: Job, pretrained: Pretrained | None, progress: Progress) -> Choice:
    """The sources that job.also names beside "auto", or its data's siblings, of those that help. Raises UserError."""
    specs = [one for one in job.also if one != AUTO] or siblings(job.data)
    prepared = prepare_alone(replace(job, also=tuple(specs)))
    assert prepared.columns is not None
    check_mixable(replace(job, also=tuple(specs)), prepared.columns)
    texts = [one.text for one in prepared.train] or prepared.unlabelled
    if not texts:
        raise DataError(
            "which sources are near cannot be measured without text of the language: give some with --unlabelled, or "
            "name the sources"
        )
    progress.stage(f"measuring how near {len(specs)} sources are")
    known = known_labels([*prepared.train, *prepared.dev, *prepared.test])
    others = _fitting([open_other(spec, prepared.columns, job, dev=False) for spec in specs], known, prepared)
    near = [kinship(texts, one.name, [own.text for own in one.train], (job.data, one.name)) for one in others]
    if pretrained is not None:
        near = with_meaning(near, texts, [[own.text for own in one.train] for one in others], pretrained)
    near = by_kinship(near)
    if len(prepared.train) < FEWEST_ROWS:
        return Choice(tuple(one.source for one in near[:TAKEN_UNTRIED]), near, {}, None)
    by_name = {one.name: one for one in others}
    alone, gains = _gains([by_name[one.source] for one in near[:MOST_TRIED]], prepared, job, progress)
    return Choice(tuple(name for name, gain in gains.items() if gain > 0), near, gains, alone)


def siblings(data: str) -> list[str]:
    """Other languages of smart-home, or folders beside a folder that have training rows. Raises RecipeError."""
    found = []
    if data.startswith(SMART_HOME):
        from pocketlm.data.smart_home import languages

        found = [f"{SMART_HOME}{code}" for code in languages() if f"{SMART_HOME}{code}" != data]
    elif (own := Path(data).expanduser()).is_dir():
        held = {file.name for file in own.glob("train.*")}
        beside = sorted(one for one in own.resolve().parent.iterdir() if one.is_dir() and one != own.resolve())
        found = [str(own.parent / one.name) for one in beside if any((one / name).is_file() for name in held)]
    if not found:
        raise RecipeError(f"{data}: has no siblings to choose from; name sources beside auto (--also A --also B …)")
    return found


def _fitting(others: Sequence[Other], known: frozenset[str], prepared: Prepared) -> list[Other]:
    """The sources that share labels with the data. Raises DataError where none does."""
    found, why = [], ""
    for other in others:
        try:
            found.append(fitted(other, known, [*prepared.dev, *prepared.test])[0])
        except DataError as error:
            why = str(error)
    if not found:
        raise DataError(why)
    return found


def _gains(others: Sequence[Other], prepared: Prepared, job: Job, progress: Progress) -> tuple[float, dict[str, float]]:
    """The metric of n-grams on held-out training rows, and what each source adds to it."""
    figures = {}
    for place, one in enumerate([None, *others]):
        progress.step(place, len(others) + 1, one.name if one else "no source")
        figures[one.name if one else ""] = _held_out(one, prepared, job)
    alone = figures.pop("")
    return round(alone, 6), {name: round(figure - alone, 6) for name, figure in figures.items()}


def _held_out(other: Other | None, prepared: Prepared, job: Job) -> float:
    """The task's metric on the data's training rows, each said by n-grams that learnt from the others and `other`."""
    examples, outputs = prepared.train, prepared.outputs
    fold_of = folds(examples, FOLDS, job.seed)
    said: list[Prediction] = [{}] * len(examples)
    for fold in range(FOLDS):
        learnt = [one for one, own in zip(examples, fold_of, strict=True) if own != fold]
        held = [place for place, own in enumerate(fold_of) if own == fold]
        if other is not None:
            learnt = mixed([learnt, _some(other.train)], job.mix_temperature, job.seed)
        student = trained_student(prepared.task, outputs, learnt, job.seed)
        told = answers(student, texts_of([examples[place] for place in held], outputs))
        for place, one in zip(held, told, strict=True):
            said[place] = one
    return prepared.task.figures(examples, said, outputs)[prepared.task.main_metric]


def _some(examples: Sequence[Example]) -> Sequence[Example]:
    """At most ROWS_TRIED of them, spread over all."""
    return examples[:: -(-len(examples) // ROWS_TRIED)] if examples else examples
