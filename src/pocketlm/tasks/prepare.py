"""A job's rows as examples of its task, split without leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pocketlm.data.columns import Columns, detect, examples, pair_columns
from pocketlm.data.documents import documents
from pocketlm.data.parallel import odd_pairs, pair_groups
from pocketlm.data.read import Row
from pocketlm.data.source import Source, load
from pocketlm.data.splits import (
    DEV_SHARE,
    MOST_DEV_ROWS,
    TEST_SHARE,
    check_labels,
    describe_split,
    drop_shared,
    split_off,
)
from pocketlm.errors import DataError
from pocketlm.job import Job
from pocketlm.outputs import Example, Output
from pocketlm.tasks.table import TASKS, Task

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Prepared:
    """Examples by split. about: where they came from, for the report and the manifest."""

    task: Task
    outputs: tuple[Output, ...]
    train: list[Example]
    dev: list[Example]
    test: list[Example]
    unlabelled: list[str]
    about: dict[str, Any]


def prepare(job: Job) -> Prepared:
    """The job's data, read, checked and split. Raises DataError."""
    source = load(job.data, job.dev, job.test, job.unlabelled, job.seed)
    columns = _columns(source.splits["train"], job)
    names = {"train": job.data, "dev": job.dev or f"{job.data} (dev)", "test": job.test or f"{job.data} (test)"}
    # every row is checked before any is split off, so that messages speak of the user's own file
    whole = {name: examples(source.splits[name], columns, names[name]) for name in SPLITS if name in source.splits}
    task: Task = TASKS[columns.task]
    task.outputs(whole["train"])
    splits, notes = complete_splits(source, columns, job.seed)
    read = {name: examples(splits[name], columns, names[name]) for name in SPLITS}
    outputs = task.outputs(read["train"])
    for name in ("dev", "test"):
        check_labels(read["train"], read[name], names[name])
    about = {
        "source": source.name,
        "columns": columns.chosen,
        "splits": {name: describe_split(splits[name]) for name in SPLITS},
        "notes": [*source.notes, *notes, *_odd(splits, columns, names)],
    }
    unlabelled = [str(row["text"]) for row in source.splits.get("unlabelled", [])]
    return Prepared(task, outputs, read["train"], read["dev"], read["test"], unlabelled, about)


def _columns(rows: list[Row], job: Job) -> Columns:
    """The columns that the job names, or that fit the task it names, or the likeliest. Raises DataError."""
    labelled = job.text or job.label or job.slots or job.tags or job.multi_label
    if job.source or job.target or job.task == "translation" or not (labelled or job.task):
        found = pair_columns(rows, job.source, job.target, sure=job.task == "translation")
        if found is not None:
            return found
    columns = detect(rows, job.text, job.label, job.slots, job.multi_label, job.tags)
    if job.task and job.task != columns.task:
        raise DataError(
            f"{job.data}: holds {columns.task} rows ({columns.chosen}), not {job.task} rows; name the columns meant"
        )
    return columns


def _odd(splits: dict[str, list[Row]], columns: Columns, names: dict[str, str]) -> list[str]:
    """Notes on pairs of texts that may be none."""
    if not columns.target:
        return []
    return [note for name in SPLITS for note in odd_pairs(splits[name], columns.sides, names[name])]


def complete_splits(source: Source, columns: Columns, seed: int) -> tuple[dict[str, list[Row]], list[str]]:
    """Train, dev and test rows, the missing ones split off training, and notes on what was done."""
    splits, notes = dict(source.splits), []
    train = splits["train"]
    # rows that share a source or a target, themselves or through others, go together
    text_of = pair_groups(train, columns.sides) if columns.target else columns.text_of
    class_of, how = columns.class_of, "" if columns.target else ", stratified"
    if "test" not in splits:
        train, splits["test"] = split_off(train, TEST_SHARE, text_of=text_of, class_of=class_of, seed=seed)
        notes.append(f"test: {len(splits['test'])} rows split off training{how}")
    train, found = _without(train, splits["test"], columns, "test")
    notes += found
    if "dev" not in splits:
        train, splits["dev"] = split_off(
            train, DEV_SHARE, text_of=text_of, class_of=class_of, seed=seed, most=MOST_DEV_ROWS
        )
        notes.append(f"dev: {len(splits['dev'])} rows split off training{how}")
    else:
        train, found = _without(train, splits["dev"], columns, "dev")
        splits["dev"], more = _without(splits["dev"], splits["test"], columns, "test", own="dev")
        notes += [*found, *more]
    splits["train"] = train
    for name in SPLITS:
        if not splits[name]:
            raise DataError(f"{source.name}: no rows are left for {name}; give more rows or a file for each split")
    return splits, notes


def _without(
    rows: list[Row], held: list[Row], columns: Columns, name: str, own: str = "training"
) -> tuple[list[Row], list[str]]:
    """Rows of the split `own` that share no text with those held out, and notes on the others."""
    notes = []
    for side in columns.sides:
        rows, note = drop_shared(rows, held, text_of=side, name=name, own=own)
        notes += [note] if note else []
    return rows, notes


def read_labelled(
    spec: str, task: str, text: str | None, label: str | None, slots: str | None, tags: str | None = None
) -> list[Example]:
    """The labelled rows called `spec` as examples of `task`: its test split where it has one, else all of it.

    Where a text is written, `text` is the source's column and `label` the target's.
    """
    if task == "generation":
        return [Example(one) for one in documents(spec, text)]
    source = load(spec)
    rows = source.splits.get("test", source.splits["train"])
    pairs = pair_columns(rows, text, label, sure=True) if task == "translation" else None
    columns = pairs or detect(rows, text, label, slots, task == "multi-label", tags)
    if columns.task != task:
        raise DataError(
            f"{spec}: holds {columns.task} rows ({columns.chosen}), the Pocket does {task}; name the columns that "
            "are meant with --text, --label, --slots or --tags"
        )
    return examples(rows, columns, spec)
