"""What floors ask of a student beside the task's own figures, on the rows of one split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pocketlm.budget import Budget
from pocketlm.data.read import Row
from pocketlm.errors import BudgetError
from pocketlm.floors import CALIBRATION, FIDELITY, LENGTH, OF_A_CLASS, Floor
from pocketlm.measure.quality import fidelity
from pocketlm.measure.sureness import crossed_calibration
from pocketlm.outputs import Example
from pocketlm.runtime.decode import Prediction
from pocketlm.runtime.load import Pocket
from pocketlm.runtime.unsure import single_output
from pocketlm.tables import did_you_mean
from pocketlm.tasks.confidence import calibration_error
from pocketlm.tasks.prepare import Prepared
from pocketlm.tasks.scores import Scores
from pocketlm.tasks.table import Task


@dataclass(frozen=True)
class Asked:
    """The floors on some examples. rows: that they were read from. split: its name, for messages.

    heard: what students are taught to say of them, or a teacher that they do not hear; None without one.
    """

    floors: Sequence[Floor]
    task: Task
    examples: Sequence[Example]
    rows: Sequence[Row]
    split: str
    heard: Sequence[Prediction] | None = None

    @classmethod
    def of(cls, floors: Sequence[Floor], prepared: Prepared, split: str) -> Asked:
        """On a split of prepared data. Raises BudgetError for a slice that is of no row, or a class without one."""
        examples = getattr(prepared, split)
        rows = prepared.rows.get(split, ())
        # rows of other sources have other columns
        made = cls(floors, prepared.task, examples, rows if len(rows) == len(examples) else [{}] * len(examples), split)
        for floor in floors:
            made._check(floor)
        return made

    def _check(self, floor: Floor) -> None:
        """Raise BudgetError where no row tells anything of a floor."""
        if self.count(floor):
            return
        if floor.rows is not None and floor.rows.column != LENGTH:
            names = list(dict.fromkeys(name for row in self.rows for name in row))
            if floor.rows.column not in names:
                near = did_you_mean(floor.rows.column, names)
                raise BudgetError(
                    f"floor {floor}: {self.split} has no column {floor.rows.column!r}; it has {', '.join(names)}.{near}"
                )
            values = sorted({str(row.get(floor.rows.column)) for row in self.rows})
            near = did_you_mean(floor.rows.value, values)
            raise BudgetError(f"floor {floor}: no row of {self.split} has {floor.rows}.{near}")
        raise BudgetError(f"floor {floor}: no row of {self.split} tells it")

    def _places(self, floor: Floor) -> list[int]:
        """Of the examples that a floor is about, whatever their class."""
        if floor.rows is None:
            return list(range(len(self.examples)))
        pairs = enumerate(zip(self.rows, self.examples, strict=True))
        return [place for place, (row, one) in pairs if floor.rows.holds(row, one.text)]

    def count(self, floor: Floor) -> int:
        """How many examples tell what a floor asks for."""
        own = [self.examples[place] for place in self._places(floor)]
        if not floor.label:
            return len(own)
        slots = {f"{mark}-{floor.label}" for mark in "BI"}
        return sum(floor.label in one.labels or bool(slots & {*one.tags}) for one in own)

    def figures(self, pocket: Pocket, said: Sequence[Prediction], fitted: bool) -> dict[str, float]:
        """{floor's name: figure} of a Pocket that said this of every example.

        fitted: its scores have a temperature that was fitted on other rows; else one half of the examples has that
        fitted on the other half.
        """
        return {floor.name: self._figure(floor, pocket, said, fitted) for floor in self.floors}

    def _figure(self, floor: Floor, pocket: Pocket, said: Sequence[Prediction], fitted: bool) -> float:
        places = self._places(floor)
        examples, own = [self.examples[place] for place in places], [said[place] for place in places]
        if floor.metric == FIDELITY:
            assert self.heard is not None
            return fidelity(own, [self.heard[place] for place in places])
        if floor.metric == CALIBRATION:
            if not fitted:
                return crossed_calibration(pocket, examples)
            output = single_output(pocket.outputs)
            assert output is not None
            right = np.array([one[output.name] == row.labels[0] for one, row in zip(own, examples, strict=True)], float)
            scores = np.array([one["score"] for one in own])
            return float(calibration_error(scores, right, np.ones((1, len(right))))[0])
        if floor.metric in OF_A_CLASS:
            scores_: Scores = self.task.score(examples, own, pocket.outputs)
            every: list[dict[str, Any]] = [*scores_.per_class, *scores_.per_slot]
            return float(next(one[floor.metric] for one in every if one["label"] == floor.label))
        return self.task.figures(examples, own, pocket.outputs)[floor.metric]


def asked_on_dev(budget: Budget, prepared: Prepared) -> Asked:
    """What floors ask on dev. Raises BudgetError for a metric or floor that dev or test cannot tell."""
    metrics = prepared.task.higher_is_better
    if budget.min_quality is not None:
        budget.min_quality.check(metrics, [name for name, higher in metrics.items() if not higher])
    if budget.floors and any(output.kind == "text" for output in prepared.outputs):
        raise BudgetError(f"floor: {prepared.task.name} has bounds on its own figures alone; give --min-quality")
    check_floors(budget.floors, prepared, taught=True)  # whether the teacher covers the language is seen later
    Asked.of(budget.floors, prepared, "test")
    return Asked.of(budget.floors, prepared, "dev")


def share_of_none(budget: Budget, main_metric: str) -> list[str]:
    """A note on what a share of a teacher's quality is read as where there is no teacher; none where none is asked."""
    least = budget.min_quality
    if least is None or not least.of_teacher:
        return []
    return [
        f"--min-quality {least.value:g} is a share of a teacher's quality, and there is none: it is read as "
        f"{main_metric}>={least.value:g}"
    ]


def check_floors(floors: Sequence[Floor], prepared: Prepared, taught: bool) -> None:
    """Raise BudgetError for a floor on a figure that there is not. taught: whether there is a teacher."""
    if floors and any(output.kind == "vector" for output in prepared.outputs):
        raise BudgetError(f"floor: {prepared.task.name} has bounds on its own figures alone; give --min-quality")
    labels = [label for output in prepared.outputs if output.kind in ("single", "multi") for label in output.labels]
    tags = [label for output in prepared.outputs if output.kind == "tags" for label in output.labels if label != "O"]
    labels += dict.fromkeys(tag[2:] if tag[:2] in ("B-", "I-") else tag for tag in tags)
    single = single_output(prepared.outputs) is not None
    for floor in floors:
        floor.check(list(prepared.task.higher_is_better), labels, taught, single)
