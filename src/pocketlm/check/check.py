"""All checks of a data set, gravest findings first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pocketlm.check import duplicates, labels, language, shift
from pocketlm.check.finding import GRADES, Finding
from pocketlm.check.rows import Rows, entries_of, read_entries
from pocketlm.data.languages import Language, find_language
from pocketlm.data.source import Source
from pocketlm.job import Job
from pocketlm.progress import Progress, Silent
from pocketlm.tasks.prepare import Prepared

# Rows of a split that fit looks at, to say whether a check would find something grave.
GLANCED = 1_000


@dataclass(frozen=True)
class Settings:
    """language: the rows should be in. pieces: read of a text, where it was asked for."""

    language: Language | None
    pieces: int | None
    seed: int


Check = Callable[[Rows, Settings], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "rows that cannot be read": lambda rows, _: duplicates.unread(rows),
    "duplicates": lambda rows, _: duplicates.duplicates(rows),
    "near duplicates": lambda rows, _: duplicates.near(rows),
    "how splits are written": lambda rows, _: shift.format_shift(rows),
    "whether splits can be told apart": lambda rows, own: shift.told_apart(rows, own.seed),
    "how labels are shared out": lambda rows, own: shift.label_shift(rows, own.seed),
    "spellings of labels": lambda rows, _: labels.spellings(rows),
    "rows of each label": lambda rows, _: labels.counts(rows),
    "intervals": lambda rows, _: labels.width(rows),
    "wrong labels": lambda rows, own: labels.wrong(rows, own.seed),
    "languages": lambda rows, own: language.language(rows, own.language),
    "characters": lambda rows, _: language.characters(rows),
    "long rows": lambda rows, own: language.length(rows, own.pieces),
}


@dataclass(frozen=True)
class Checked:
    """rows: what was checked. seconds: what each check took."""

    rows: Rows
    findings: tuple[Finding, ...]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        rows = self.rows
        return {
            "source": rows.name, "task": rows.task, "columns": rows.columns,
            "rows": {split: len(rows.of(split)) for split in rows.splits}, "notes": list(rows.notes),
            "grades": {grade: sum(one.grade == grade for one in self.findings) for grade in GRADES},
            "findings": [one.to_json() for one in self.findings],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }  # fmt: skip


def check(job: Job, progress: Progress | None = None) -> Checked:
    """What is wrong with the job's rows. Raises DataError where they cannot be read at all."""
    progress = progress or Silent()
    settings = Settings(find_language(job.language) if job.language else None, job.max_length, job.seed)
    progress.stage("reading rows")
    rows = read_entries(job)
    findings: list[Finding] = []
    seconds = {}
    for name, one in CHECKS.items():
        progress.stage(f"checking {name}")
        began = time.perf_counter()
        findings += one(rows, settings)
        seconds[name] = time.perf_counter() - began
    ordered = sorted(findings, key=lambda one: GRADES.index(one.grade))
    return Checked(rows, tuple(ordered), seconds)


def hint(prepared: Prepared, data: str) -> str | None:
    """One line where a glance at prepared rows finds an error, such as labels spelled in two ways; else None."""
    if prepared.columns is None:
        return None
    splits = {name: list(own[:: max(1, len(own) // GLANCED)]) for name, own in prepared.rows.items()}
    rows = entries_of(Source(data, splits), prepared.columns, prepared.task.name)
    found = [*duplicates.contradictions(rows), *labels.spellings(rows), *shift.format_shift(rows)]
    grave = [one.said for one in found if one.grade == "error"]
    if not grave:
        return None
    more = f" (and {len(grave) - 1} more)" if len(grave) > 1 else ""
    return f"{grave[0]}{more}; see: pocketlm data check {data}"
