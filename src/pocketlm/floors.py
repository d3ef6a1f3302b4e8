"""Bounds on figures beside the main metric: of a class, of some rows alone, of how sure a model is, of its likeness."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.errors import BudgetError
from pocketlm.tables import did_you_mean

# Figures of no task: how far scores are from shares of right answers, and how often the teacher is agreed with.
CALIBRATION, FIDELITY = "calibration_error", "fidelity"
# Figures of one class.
OF_A_CLASS = ("precision", "recall", "f1")
# The number of words of a text, for slices by length.
LENGTH = "words"

_FLOOR = re.compile(r"\s*([a-z][a-z0-9_]*)(?:\[(.+?)\])?(?:@(.+))?\s*(>=|<=)\s*([0-9.]+)(%?)\s*")
_SLICE = re.compile(r"\s*(.+?)\s*(<=|>=|=)\s*(.+?)\s*")
_FORM = (
    'write METRIC>=VALUE, such as "recall[joy]>=0.8" of a class, "calibration_error<=0.05", "fidelity>=0.9", or '
    '"accuracy@language=sw>=0.7" and "accuracy@words<=5>=0.8" of some rows'
)


@dataclass(frozen=True)
class Slice:
    """Some of the rows: those with this value in a column, or with at most or at least so many words.

    relation: "=" of a column's value; "<=" or ">=" of `words`.
    """

    column: str
    relation: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Slice:
        """Read "language=sw" or "words<=10". Raises BudgetError."""
        match = _SLICE.fullmatch(text)
        if match is None:
            raise BudgetError(f"floor: the slice {text!r} is not of the form COLUMN=VALUE or words<=NUMBER")
        column, relation, value = match.groups()
        if relation != "=" and (column != LENGTH or not value.isdecimal()):
            raise BudgetError(f"floor: the slice {text!r} compares; only the number of words can, as words<=10")
        return cls(column, relation, value)

    def holds(self, row: Mapping[str, Any], text: str) -> bool:
        """Whether a row with this text is one of them."""
        if self.relation == "=":
            cell = row.get(self.column)
            return cell is not None and str(cell).strip() == self.value
        words, bound = len(text.split()), int(self.value)
        return words <= bound if self.relation == "<=" else words >= bound

    def __str__(self) -> str:
        return f"{self.column}{self.relation}{self.value}"


@dataclass(frozen=True)
class Floor:
    """A bound on one figure, in [0, 1].

    metric: of the task, of a class (OF_A_CLASS, with its `label`), CALIBRATION or FIDELITY. rows: of which rows, None
    for all. most: the figure may be at most `value`, else at least.
    """

    metric: str
    value: float
    label: str = ""
    rows: Slice | None = None
    most: bool = False

    @classmethod
    def parse(cls, text: str) -> Floor:
        """Read a floor as the command line has it. Raises BudgetError for another form or an impossible value."""
        match = _FLOOR.fullmatch(text)
        if match is None:
            raise BudgetError(f"floor {text!r}: {_FORM}")
        metric, label, rows, relation, number, percent = match.groups()
        metric, most = (CALIBRATION if metric == "ece" else metric), relation == "<="
        try:
            value = float(number) / (100 if percent else 1)
        except ValueError:
            value = -1.0
        if not 0 < value <= 1:
            raise BudgetError(f"floor {text!r}: the value is a share above 0 and at most 1, such as 0.8 or 80%")
        if label and metric not in OF_A_CLASS:
            near = did_you_mean(metric, list(OF_A_CLASS))
            raise BudgetError(f"floor {text!r}: of a class there is {', '.join(OF_A_CLASS)}.{near}")
        if most != (metric == CALIBRATION):
            better, sign = ("higher", ">=") if most else ("lower", "<=")
            raise BudgetError(f"floor {text!r}: {metric} is better the {better}; write {sign}")
        return cls(metric, value, label or "", Slice.parse(rows) if rows else None, most)

    @property
    def name(self) -> str:
        """The figure's name: "recall[joy]@language=sw"."""
        label = f"[{self.label}]" if self.label else ""
        rows = f"@{self.rows}" if self.rows is not None else ""
        return f"{self.metric}{label}{rows}"

    def check(self, metrics: Sequence[str], labels: Sequence[str], taught: bool, single: bool) -> None:
        """Raise BudgetError where there is no such figure.

        metrics: of the task. labels: classes that have figures of their own. taught: whether a teacher is listened to.
        single: whether texts have one label each.
        """
        if self.metric == FIDELITY and not taught:
            raise BudgetError(f"floor {self}: there is no teacher that students are taught by to agree with")
        if self.metric == CALIBRATION and not single:
            raise BudgetError(f"floor {self}: the task's texts have no single label whose score could be off")
        if self.metric in (FIDELITY, CALIBRATION):
            return
        if self.metric in OF_A_CLASS:
            if self.label not in labels:
                near = did_you_mean(self.label, list(labels))
                raise BudgetError(f"floor {self}: no class is called {self.label!r}; name one in brackets.{near}")
        elif self.metric not in metrics:
            known = [*metrics, *OF_A_CLASS, CALIBRATION, FIDELITY]
            near = did_you_mean(self.metric, known)
            raise BudgetError(f"floor {self}: the task has no figure {self.metric!r}; it has {', '.join(known)}.{near}")

    def __str__(self) -> str:
        return f"{self.name}{'<=' if self.most else '>='}{self.value:g}"
