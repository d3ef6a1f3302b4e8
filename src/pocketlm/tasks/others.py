"""Other languages or sources beside a job's data: read, fitted to its labels, and mixed into what is learnt from.

Only the job's own data judges. Of other sources no test row is read, and their dev rows choose only where the data has
none to spare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pocketlm.data.columns import Columns
from pocketlm.data.mixing import Other, evenly, fitted, known_labels, mixed, repeats
from pocketlm.data.pairs import PairColumns
from pocketlm.data.read import Row
from pocketlm.data.source import Source, load
from pocketlm.data.splits import DEV_SHARE, MOST_DEV_ROWS, normal_text, rows_hash, split_off
from pocketlm.errors import DataError
from pocketlm.job import Job
from pocketlm.outputs import Example
from pocketlm.tasks.reading import columns_of, examples_of

# With fewer dev rows of the data itself, those of other sources choose too.
FEWEST_DEV = 10
# What may be learnt across languages here: what is said of a text or of its words.
TASKS_WITH_LABELS = ("classification", "multi-label", "understanding", "tagging", "word-tagging")


@dataclass(frozen=True)
class Mixture:
    """Examples by split after mixing. about: each source's rows, repeats and share, and a hash, for the report."""

    read: dict[str, list[Example]]
    notes: list[str]
    about: dict[str, Any]


def with_others(job: Job, columns: Columns | PairColumns, read: Mapping[str, list[Example]]) -> Mixture:
    """The data's examples with those of the sources that job.also names. Raises DataError where they do not fit.

    Where the data has next to no dev rows, having few or none to learn from, those of the sources choose too.
    """
    check_mixable(job, columns)
    few = len(read["dev"]) < FEWEST_DEV
    opened = [open_other(spec, columns, job, dev=few) for spec in job.also]
    known = known_labels([one for split in read.values() for one in split])
    found = [fitted(other, known, [*read["dev"], *read["test"]]) for other in opened]
    others = [other for other, _ in found]
    notes = [note for _, own in found for note in own]
    sources = [read["train"], *(other.train for other in others)]
    dev = read["dev"]
    if few:
        more = evenly([other.dev for other in others], MOST_DEV_ROWS, job.seed)
        notes.append(
            f"{'few' if read['train'] else 'zero-shot: no'} training rows of {job.data}: {len(more):,} dev rows of "
            f"{', '.join(job.also)} choose{' beside its own ' + str(len(dev)) if dev else ''}, which is less sure"
        )
        dev = [*dev, *more]
    train = mixed(sources, job.mix_temperature, job.seed)
    shares = _shares([job.data, *job.also], sources, job.mix_temperature)
    notes.append(f"mixed at temperature {job.mix_temperature:g}: " + ", ".join(map(_share_text, shares)))
    about = {"temperature": job.mix_temperature, "sources": shares, "sha256": _hash([train, dev])}
    return Mixture({"train": train, "dev": _without(dev, train), "test": read["test"]}, notes, about)


def check_mixable(job: Job, columns: Columns | PairColumns) -> None:
    """Raise DataError for a task that is not learnt across sources, and for a source that is the data itself."""
    if columns.task not in TASKS_WITH_LABELS:
        raise DataError(f"other sources are for texts and words with labels, not for {columns.task}")
    if job.data in job.also or len(set(job.also)) < len(job.also):
        raise DataError(f"{job.data}: each source can be named once, and the data itself is none of the others")


def open_other(spec: str, columns: Columns | PairColumns, job: Job, *, dev: bool) -> Other:
    """The source's training examples, with the columns that the job names where it has them, else its likeliest.

    dev: whether its dev examples are wanted, split off where it has none. Raises DataError where its rows are for
    another task than `columns`.
    """
    source = load(spec, seed=job.seed)
    rows = source.splits["train"]
    own = _own_columns(rows, columns, job)
    if own.task != columns.task:
        raise DataError(f"{spec}: holds {own.task} rows ({own.chosen}), not {columns.task} rows as {job.data} does")
    train, held = _sides(source, own, job.seed) if dev else (rows, [])
    return Other(spec, examples_of(train, own, spec), examples_of(held, own, f"{spec} (dev)"))


def _own_columns(rows: Sequence[Row], columns: Columns | PairColumns, job: Job) -> Columns | PairColumns:
    """The same columns where the source has them all, else those found in it."""
    there = {name for row in rows for name in row}
    needed = {name for name in columns.read if name} if isinstance(columns, Columns) else set()
    if needed <= there:
        return columns
    return columns_of(rows, Job(job.data, task=job.task, multi_label=job.multi_label))


def _sides(source: Source, columns: Columns | PairColumns, seed: int) -> tuple[list[Row], list[Row]]:
    """(training rows, dev rows), the latter split off where the source has none."""
    rows = source.splits["train"]
    if "dev" in source.splits:
        return rows, source.splits["dev"]
    return split_off(
        rows, DEV_SHARE, texts_of=columns.texts_of, class_of=columns.class_of, seed=seed, most=MOST_DEV_ROWS
    )


def _without(dev: Sequence[Example], train: Sequence[Example]) -> list[Example]:
    """Dev examples whose texts are not learnt from: a text can be in two sources. Raises DataError where none is."""
    learnt = {normal_text(one.text) for one in train}
    found = [one for one in dev if normal_text(one.text) not in learnt]
    if not found:
        raise DataError("no dev rows are left that training has not; give more rows, or a file with --dev")
    return found


def _shares(names: Sequence[str], sources: Sequence[Sequence[Example]], temperature: float) -> list[dict[str, Any]]:
    """Of each source its name, rows, how often each row is seen, and its share of all that is seen."""
    sizes = [len(one) for one in sources]
    times = repeats(sizes, temperature)
    total = sum(size * often for size, often in zip(sizes, times, strict=True))
    return [
        {"source": name, "rows": size, "repeats": round(often, 3), "share": round(size * often / total, 4)}
        for name, size, often in zip(names, sizes, times, strict=True)
    ]


def _share_text(one: Mapping[str, Any]) -> str:
    return f"{one['source']} {one['rows']:,} rows ×{one['repeats']:.3g} ({one['share']:.0%})"


def _hash(sources: Sequence[Sequence[Example]]) -> str:
    return rows_hash([asdict(one) for own in sources for one in own])
