"""A job's rows as examples of its task, split without leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pocketlm.data.columns import Columns, detect, pair_columns
from pocketlm.data.documents import documents, split_documents
from pocketlm.data.examples import examples
from pocketlm.data.pairs import (
    TASKS_OF_PAIRS,
    Asked,
    PairColumns,
    check_judgeable,
    detect_pairs,
    has_pairs,
    pair_examples,
)
from pocketlm.data.questions import context_column, has_questions
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
    """Examples by split. about: where they came from, for the report and the manifest.

    rows, columns: the rows that the examples were read from, and which of their columns.
    """

    task: Task
    outputs: tuple[Output, ...]
    train: list[Example]
    dev: list[Example]
    test: list[Example]
    unlabelled: list[str]
    about: dict[str, Any]
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    columns: Columns | PairColumns | None = None

    @property
    def data_hash(self) -> str:
        """Of the training and dev rows, and of rows that were made, on which all that is learnt depends."""
        splits, made = self.about["splits"], self.about.get("augmentation", {})
        return f"{splits['train']['sha256']}{splits['dev']['sha256']}{made.get('sha256', '')}"


def prepare(job: Job) -> Prepared:
    """The job's data, read, checked and split. Raises DataError."""
    if job.task == "generation":
        return _plain_texts(job)
    source = load(job.data, job.dev, job.test, job.unlabelled, job.seed, lines=job.task in TASKS_OF_PAIRS)
    columns = columns_for(source.splits["train"], job)
    names = {"train": job.data, "dev": job.dev or f"{job.data} (dev)", "test": job.test or f"{job.data} (test)"}
    # every row is checked before any is split off, so that messages speak of the user's own file
    whole = {name: _examples(source.splits[name], columns, names[name]) for name in SPLITS if name in source.splits}
    task: Task = TASKS[columns.task]
    task.outputs(whole["train"])
    splits, notes = complete_splits(source, columns, job.seed)
    read = {name: _examples(splits[name], columns, names[name]) for name in SPLITS}
    outputs = task.outputs(read["train"])
    for name in ("dev", "test"):
        if isinstance(columns, PairColumns):  # texts of labels that training never showed can be alike, too
            check_judgeable(read[name], names[name])
        else:
            check_labels(read["train"], read[name], names[name])
    about = {
        "source": source.name,
        "columns": columns.chosen,
        "splits": {name: describe_split(splits[name]) for name in SPLITS},
        "notes": [*source.notes, *notes, *_notes(source.splits, columns, names)],
    }
    unlabelled = [str(row["text"]) for row in source.splits.get("unlabelled", [])]
    return Prepared(task, outputs, read["train"], read["dev"], read["test"], unlabelled, about, splits, columns)


def _plain_texts(job: Job) -> Prepared:
    """Text to model, without labels. Raises DataError where columns of labels were named."""
    for name in ("label", "slots", "tags", "context", "answer", "pair", "score", "source", "target", "multi_label"):
        if getattr(job, name):
            raise DataError(f"--{name.replace('_', '-')} is not for generation: it reads text alone, column --text")
    found = split_documents(job.data, job.dev, job.test, job.unlabelled, job.text, job.seed)
    read = {name: [Example(text) for text in texts] for name, texts in found.splits.items()}
    splits = {name: describe_split([{"text": text} for text in texts]) for name, texts in found.splits.items()}
    about = {"source": job.data, "columns": job.text or "text", "splits": splits, "notes": list(found.notes)}
    task: Task = TASKS["generation"]
    return Prepared(task, task.outputs(read["train"]), read["train"], read["dev"], read["test"], [], about)


def columns_for(rows: Sequence[Row], job: Job) -> Columns | PairColumns:
    """The columns of the job's task. Raises DataError where they are for another task than the one asked for."""
    labelled = job.slots or job.tags or job.multi_label or job.context or job.answer
    if job.task is not None:
        TASKS[job.task]  # an unknown name is said before anything else
    if job.task in TASKS_OF_PAIRS or job.pair or job.score:
        if labelled:
            raise DataError(
                "slots, tags, several labels and answers are not for similarity; give pairs, scores or one label"
            )
        return detect_pairs(rows, Asked(job.text, job.pair, job.score, job.label))
    guessed = not (job.task or labelled or job.label or has_questions(rows))
    if guessed and has_pairs(rows):
        return detect_pairs(rows, Asked(job.text))
    if job.source or job.target or job.task == "translation" or (guessed and not job.text):
        found = pair_columns(rows, job.source, job.target, sure=job.task == "translation")
        if found is not None:
            return found
    context = job.context or (context_column(rows) if job.task == "question-answering" else None)
    columns = detect(rows, job.text, job.label, job.slots, job.multi_label, job.tags, context, job.answer)
    if job.task not in (None, columns.task):
        raise DataError(
            f"{job.data}: holds {columns.task} rows ({columns.chosen}), not {job.task} rows; name the columns meant"
        )
    return columns


def _notes(splits: dict[str, list[Row]], columns: Columns | PairColumns, names: dict[str, str]) -> list[str]:
    """What is worth knowing of the rows of each file, numbered as they are in it."""
    if isinstance(columns, PairColumns):
        return []
    return [note for name in SPLITS if name in splits for note in columns.notes(splits[name], names[name])]


def _examples(rows: Sequence[Row], columns: Columns | PairColumns, where: str) -> list[Example]:
    return pair_examples(rows, columns, where) if isinstance(columns, PairColumns) else examples(rows, columns, where)


def complete_splits(
    source: Source, columns: Columns | PairColumns, seed: int
) -> tuple[dict[str, list[Row]], list[str]]:
    """Train, dev and test rows, the missing ones split off training, and notes on what was done."""
    splits, notes = dict(source.splits), []
    train = splits["train"]
    texts_of, class_of = columns.texts_of, columns.class_of
    how = "" if columns.task == "translation" else ", stratified"
    if "test" not in splits:
        train, splits["test"] = split_off(train, TEST_SHARE, texts_of=texts_of, class_of=class_of, seed=seed)
        notes.append(f"test: {len(splits['test'])} rows split off training{how}")
    train, note = drop_shared(train, splits["test"], texts_of=texts_of, name="test")
    notes += [note] if note else []
    if "dev" not in splits:
        train, splits["dev"] = split_off(
            train, DEV_SHARE, texts_of=texts_of, class_of=class_of, seed=seed, most=MOST_DEV_ROWS
        )
        notes.append(f"dev: {len(splits['dev'])} rows split off training{how}")
    else:
        train, note = drop_shared(train, splits["dev"], texts_of=texts_of, name="dev")
        notes += [note] if note else []
        splits["dev"], note = drop_shared(splits["dev"], splits["test"], texts_of=texts_of, name="test", own="dev")
        notes += [note] if note else []
    splits["train"] = train
    for name in SPLITS:
        if not splits[name]:
            raise DataError(f"{source.name}: no rows are left for {name}; give more rows or a file for each split")
    return splits, notes


def read_labelled(
    spec: str, task: str, text: str | None, label: str | None, tags: tuple[str | None, str | None] = (None, None),
    pair: tuple[str | None, str | None] = (None, None), question: tuple[str | None, str | None] = (None, None),
) -> list[Example]:  # fmt: skip
    """The labelled rows called `spec` as examples of `task`: its test split where it has one, else all of it.

    text, label: columns, as far as they were named (of translations, source and target); so are tags, of words (beside
    a label, alone), pair, of second texts and of scores, and question, of contexts and of answers.
    """
    if task == "generation":
        return [Example(one) for one in documents(spec, text)]
    alike = task in TASKS_OF_PAIRS
    source = load(spec, lines=alike)
    rows = source.splits.get("test", source.splits["train"])
    if alike:  # whatever was the form of the data it was made for, vectors can be judged by any
        return pair_examples(rows, detect_pairs(rows, Asked(text, pair[0], pair[1], label)), spec)
    translated = pair_columns(rows, text, label, sure=True) if task == "translation" else None
    context = question[0] or (context_column(rows) if task == "question-answering" else None)
    columns = translated or detect(rows, text, label, tags[0], task == "multi-label", tags[1], context, question[1])
    if columns.task != task:
        raise DataError(
            f"{spec}: holds {columns.task} rows ({columns.chosen}), the Pocket does {task}; name the columns that "
            "are meant with --text, --label, --slots, --tags, --context or --answer"
        )
    return examples(rows, columns, spec)
