"""A job's rows as examples of its task, split without leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pocketlm.data.columns import Columns, check_labels, detect, examples
from pocketlm.data.read import Row
from pocketlm.data.source import Source, load
from pocketlm.data.splits import DEV_SHARE, MOST_DEV_ROWS, TEST_SHARE, describe_split, drop_shared, split_off
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

    @property
    def data_hash(self) -> str:
        """Of the training and dev rows, on which all that is learnt depends."""
        splits = self.about["splits"]
        return f"{splits['train']['sha256']}{splits['dev']['sha256']}"


def prepare(job: Job) -> Prepared:
    """The job's data, read, checked and split. Raises DataError."""
    source = load(job.data, job.dev, job.test, job.unlabelled, job.seed)
    columns = detect(
        source.splits["train"], job.text, job.label, job.slots, job.multi_label, job.tags, job.context, job.answer
    )
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
        "notes": [
            *source.notes,
            *notes,
            *(note for name in SPLITS for note in columns.notes(splits[name], names[name])),
        ],
    }
    unlabelled = [str(row["text"]) for row in source.splits.get("unlabelled", [])]
    return Prepared(task, outputs, read["train"], read["dev"], read["test"], unlabelled, about)


def complete_splits(source: Source, columns: Columns, seed: int) -> tuple[dict[str, list[Row]], list[str]]:
    """Train, dev and test rows, the missing ones split off training, and notes on what was done."""
    splits, notes = dict(source.splits), []
    train = splits["train"]
    text_of, class_of = columns.group_of, columns.class_of
    if "test" not in splits:
        train, splits["test"] = split_off(train, TEST_SHARE, text_of=text_of, class_of=class_of, seed=seed)
        notes.append(f"test: {len(splits['test'])} rows split off training, stratified")
    train, note = drop_shared(train, splits["test"], text_of=text_of, name="test")
    notes += [note] if note else []
    if "dev" not in splits:
        train, splits["dev"] = split_off(
            train, DEV_SHARE, text_of=text_of, class_of=class_of, seed=seed, most=MOST_DEV_ROWS
        )
        notes.append(f"dev: {len(splits['dev'])} rows split off training, stratified")
    else:
        train, note = drop_shared(train, splits["dev"], text_of=text_of, name="dev")
        notes += [note] if note else []
        splits["dev"], note = drop_shared(splits["dev"], splits["test"], text_of=text_of, name="test", own="dev")
        notes += [note] if note else []
    splits["train"] = train
    for name in SPLITS:
        if not splits[name]:
            raise DataError(f"{source.name}: no rows are left for {name}; give more rows or a file for each split")
    return splits, notes


def read_labelled(
    spec: str, task: str, text: str | None, label: str | None, slots: str | None, tags: str | None = None,
    context: str | None = None, answer: str | None = None,
) -> list[Example]:  # fmt: skip
    """The labelled rows called `spec` as examples of `task`: its test split where it has one, else all of it."""
    source = load(spec)
    rows = source.splits.get("test", source.splits["train"])
    columns = detect(rows, text, label, slots, task == "multi-label", tags, context, answer)
    if columns.task != task:
        raise DataError(
            f"{spec}: holds {columns.task} rows ({columns.chosen}), the Pocket does {task}; name the columns that "
            "are meant with --text, --label, --slots, --tags, --context or --answer"
        )
    return examples(rows, columns, spec)
