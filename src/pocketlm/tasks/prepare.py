"""A job's rows as examples of its task, split without leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pocketlm.data.columns import Columns, detect, pair_columns
from pocketlm.data.documents import documents, split_documents
from pocketlm.data.examples import examples
from pocketlm.data.identify import other_language
from pocketlm.data.languages import Language, find_language
from pocketlm.data.mixing import some_rows
from pocketlm.data.pairs import (
    TASKS_OF_PAIRS,
    Asked,
    PairColumns,
    check_judgeable,
    detect_pairs,
    pair_examples,
)
from pocketlm.data.questions import context_column
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
from pocketlm.pocket.work import digest
from pocketlm.tasks.others import with_others
from pocketlm.tasks.reading import columns_of, examples_of
from pocketlm.tasks.table import TASKS, Task

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Prepared:
    """Examples by split. about: where they came from, for the report and the manifest.

    rows, columns: the rows that the examples were read from, and which of their columns. own: where other sources are
    learnt from too, the training examples of the data that is judged, each once; None where all of `train` are its.
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
    own: list[Example] | None = None

    @property
    def judged(self) -> list[Example]:
        """Training examples of the data that is judged, without those of other sources; each once."""
        return self.train if self.own is None else self.own

    @property
    def rows_learnt(self) -> int:
        """Training examples, each as often as its source has it, whatever the mixture."""
        also = self.about.get("also")
        return len(self.train) if also is None else sum(one["rows"] for one in also["sources"])

    @property
    def parallel(self) -> bool:
        """Whether second texts are translations of the first."""
        return isinstance(self.columns, PairColumns) and self.columns.parallel

    @property
    def zero_shot(self) -> bool:
        """Whether no example of the data that is judged is learnt from: other sources alone teach and choose."""
        return self.own == []

    @property
    def data_hash(self) -> str:
        """Of training and dev rows, what is read of them, other sources and rows that were made: all that is learnt."""
        splits, made, also = (self.about.get(name, {}) for name in ("splits", "augmentation", "also"))
        more = f"{made.get('sha256', '')}{also.get('sha256', '')}"
        # which columns, and not why
        read = replace(self.columns, chosen="") if isinstance(self.columns, Columns) else self.columns
        more += digest([self.task.name, repr(read), [one.to_json() for one in self.outputs]])
        return f"{splits['train']['sha256']}{splits['dev']['sha256']}{more}"


def prepare(job: Job) -> Prepared:
    """The job's data, read, checked and split, with the sources that it names beside it. Raises DataError."""
    if job.task == "generation":
        return _plain_texts(job)
    prepared = prepare_alone(job)
    if job.also:
        prepared = _mixed(job, prepared)
    for name in ("dev", "test"):
        held, where = getattr(prepared, name), getattr(job, name) or f"{job.data} ({name})"
        if isinstance(prepared.columns, PairColumns):  # texts of labels that training never showed can be alike, too
            check_judgeable(held, where)
        else:
            check_labels(prepared.train, held, where)
    return prepared


def prepare_alone(job: Job) -> Prepared:
    """The job's own data without other sources; where it names some, there may be no row to learn or choose from.

    Raises DataError, for a language that there is not as well.
    """
    language = find_language(job.language) if job.language else None
    source = load(
        job.data, job.dev, job.test, job.unlabelled, job.seed, lines=job.task in TASKS_OF_PAIRS,
        judged_only=bool(job.also),
    )  # fmt: skip
    columns = columns_of(source.splits.get("train") or source.splits["test"], job)
    source = _with_shots(source, columns, job)
    names = {"train": job.data, "dev": job.dev or f"{job.data} (dev)", "test": job.test or f"{job.data} (test)"}
    # every row is checked before any is split off, so that messages speak of the user's own file
    whole = {name: examples_of(source.splits[name], columns, names[name]) for name in SPLITS if name in source.splits}
    task: Task = TASKS[columns.task]
    if whole["train"]:
        task.outputs(whole["train"])
    splits, notes = complete_splits(source, columns, job.seed, spare="dev" if job.also else "")
    read = {name: examples_of(splits[name], columns, names[name]) for name in SPLITS}
    about = {
        "source": source.name,
        "columns": columns.chosen,
        "splits": {name: describe_split(splits[name]) for name in SPLITS},
        "notes": [
            *source.notes, *notes, *_notes(source.splits, columns, names),
            *(_in_other_words(whole, names, language) if language else []),
        ],
    }  # fmt: skip
    outputs = task.outputs(read["train"]) if read["train"] else ()
    unlabelled = [str(row["text"]) for row in source.splits.get("unlabelled", [])]
    held = (read["dev"], read["test"], unlabelled)
    return Prepared(task, outputs, read["train"], *held, about, splits, columns)


def _mixed(job: Job, alone: Prepared) -> Prepared:
    """The data with the examples of the sources that job.also names."""
    assert alone.columns is not None
    read = {name: getattr(alone, name) for name in SPLITS}
    mixture = with_others(job, alone.columns, read)
    about = {**alone.about, "notes": [*alone.about["notes"], *mixture.notes], "also": mixture.about}
    train = mixture.read["train"]
    outputs = alone.task.outputs(train)
    return replace(alone, outputs=outputs, train=train, dev=mixture.read["dev"], about=about, own=alone.train)


def _with_shots(source: Source, columns: Columns | PairColumns, job: Job) -> Source:
    """The source as if `job.shots` rows were all there is beside its test; as it is where nothing is said of them.

    Without a training split it has an empty one. Where no row is learnt from, all rows of a lone file are its test.
    """
    splits = {"train": [], **source.splits}
    if job.shots is None:
        return replace(source, splits=splits)
    if job.shots == 0:
        splits = {**splits, "train": [], "test": splits.get("test", splits["train"])}
    else:
        if "test" not in splits:
            train, test = split_off(
                splits["train"], TEST_SHARE, texts_of=columns.texts_of, class_of=columns.class_of, seed=job.seed
            )
            splits |= {"train": train, "test": test}
        splits["train"] = some_rows(splits["train"], job.shots, columns.class_of, job.seed)
    splits.pop("dev", None)
    note = f"{job.shots} rows of {source.name} are taken as all there is beside its test"
    return Source(source.name, splits, (*source.notes, note))


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


def _notes(splits: dict[str, list[Row]], columns: Columns | PairColumns, names: dict[str, str]) -> list[str]:
    """What is worth knowing of the rows of each file, numbered as they are in it."""
    if isinstance(columns, PairColumns):
        return []
    return [note for name in SPLITS if name in splits for note in columns.notes(splits[name], names[name])]


def _in_other_words(whole: dict[str, list[Example]], names: dict[str, str], language: Language) -> list[str]:
    """Which splits' texts are in another language than they should be."""
    found = {split: other_language([one.text for one in own], language) for split, own in whole.items()}
    return [f"{names[split]}: is in {other}, not in {language.name}" for split, other in found.items() if other]


def complete_splits(
    source: Source, columns: Columns | PairColumns, seed: int, spare: str = ""
) -> tuple[dict[str, list[Row]], list[str]]:
    """Train, dev and test rows, the missing ones split off training, and notes on what was done.

    spare: a split that may be empty.
    """
    splits, notes = dict(source.splits), []
    train = splits["train"]
    texts_of, class_of = columns.texts_of, columns.class_of
    how = "" if columns.task == "translation" else ", stratified"
    if not train and "test" in splits:  # other sources are learnt from alone
        dev, note = drop_shared(splits.get("dev", []), splits["test"], texts_of=texts_of, name="test", own="dev")
        return {**splits, "dev": dev}, [note] if note else []
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
        if not splits[name] and name != spare:
            shared = name == "train" and "train" in source.splits and len(source.splits["train"]) > 0
            why = ": those that there are stand in dev or test, too" if shared and not train else ""
            raise DataError(f"{source.name}: no rows are left for {name}{why}; give more rows or a file for each split")
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
