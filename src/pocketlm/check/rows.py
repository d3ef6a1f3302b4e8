"""Rows to check: read as leniently as can be, each with its number in the user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pocketlm.data.cells import unlabelled
from pocketlm.data.columns import Columns
from pocketlm.data.examples import example_of, refuse_absent
from pocketlm.data.pairs import TASKS_OF_PAIRS, PairColumns
from pocketlm.data.read import Row
from pocketlm.data.source import Source, load
from pocketlm.data.splits import normal_text
from pocketlm.errors import DataError
from pocketlm.job import Job
from pocketlm.runtime.tags import tag_spans
from pocketlm.tasks.prepare import SPLITS
from pocketlm.tasks.reading import columns_of


@dataclass(frozen=True)
class Entry:
    """A row that can be read. row: its number, from 1. text: the first of its texts.

    apart: its texts that may not stand in two splits, normalized. labels: of the whole text; where words alone are
    tagged, what spans of it are. answer: all that is to be told, where a text has but one right answer; else None.
    """

    split: str
    row: int
    texts: tuple[str, ...]
    apart: tuple[str, ...]
    labels: tuple[str, ...]
    answer: str | None
    cells: Row

    @property
    def text(self) -> str:
        """The first text."""
        return self.texts[0]

    @cached_property
    def same(self) -> str:
        """What is equal in rows that repeat each other."""
        return "\n".join(map(normal_text, self.texts))


@dataclass(frozen=True)
class Unread:
    """A row that `fit` refuses, and why."""

    split: str
    row: int
    why: str


@dataclass(frozen=True)
class Rows:
    """The rows of a data set. label: the column of labels, if any. columns: which are read, for people."""

    name: str
    task: str
    columns: str
    label: str | None
    entries: tuple[Entry, ...]
    unread: tuple[Unread, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, split: str) -> list[Entry]:
        """The rows of one split."""
        return [entry for entry in self.entries if entry.split == split]

    @property
    def splits(self) -> list[str]:
        """Those there are, in the usual order."""
        there = {entry.split for entry in self.entries}
        return [split for split in SPLITS if split in there]

    @property
    def held(self) -> list[str]:
        """Those beside train."""
        return self.splits[1:] if self.splits[:1] == ["train"] else self.splits


def read_entries(job: Job) -> Rows:
    """The job's rows as they are, nothing split off. Raises DataError where there is nothing to check."""
    plain = job.task == "generation"
    source = load(job.data, job.dev, job.test, None, job.seed, lines=plain or job.task in TASKS_OF_PAIRS)
    columns = PairColumns(job.text or "text") if plain else columns_of(source.splits["train"], job)
    return entries_of(source, columns, "generation" if plain else columns.task)


def entries_of(source: Source, columns: Columns | PairColumns, task: str) -> Rows:
    """The source's rows, read by these columns. Raises DataError where none can be, or a split lacks a column."""
    needed = (columns.text,) if isinstance(columns, PairColumns) else columns.read
    entries: list[Entry] = []
    unread: list[Unread] = []
    for split in (split for split in SPLITS if split in source.splits):
        refuse_absent(f"{source.name} ({split})", source.splits[split], needed)
        numbers = source.numbers.get(split) or range(1, len(source.splits[split]) + 1)
        for number, row in zip(numbers, source.splits[split], strict=True):
            try:
                entries.append(_entry(row, columns, split, number))
            except DataError as error:
                unread.append(Unread(split, number, str(error)))
    if not entries:
        raise DataError(f"{source.name}: no row can be read; row {unread[0].row}: {unread[0].why}")
    return Rows(source.name, task, columns.chosen, columns.label, tuple(entries), tuple(unread), source.notes)


def _entry(row: Row, columns: Columns | PairColumns, split: str, number: int) -> Entry:
    apart = tuple(map(normal_text, columns.texts_of(row)))
    if isinstance(columns, PairColumns):
        if not apart[0]:
            raise DataError("no text")
        return Entry(split, number, tuple(columns.texts_of(row)), apart, (), None, row)
    if not columns.text_of(row):
        raise DataError("no text")
    if columns.label and unlabelled(row.get(columns.label), columns.multi_label):
        raise DataError(f"no label in column {columns.label!r}")
    one = example_of(row, columns, "")
    texts = tuple(text for text in (columns.text_of(row), one.pair, one.target) if text)
    types = tuple(sorted({kind for kind, _, _ in tag_spans(one.tags)})) if columns.scheme else ()
    told = None if columns.context or columns.target else " ".join((*sorted(one.labels), *one.tags))
    return Entry(split, number, texts, apart, one.labels or types, told, row)


def first_of_each(entries: Sequence[Entry]) -> list[Entry]:
    """The rows without those that repeat an earlier one."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        seen.setdefault(entry.same, entry)
    return list(seen.values())
