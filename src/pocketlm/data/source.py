"""Data by name: a file, a folder, smart-home:LANG or a hub's data set, as rows by split."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pocketlm.data.parallel import aligned_rows, flattened, pair_of_files, two_files
from pocketlm.data.read import ENDINGS, Row, read_rows, read_text
from pocketlm.data.tagged import TAG_NAMES, TOKEN_NAMES
from pocketlm.data.texts import iter_texts
from pocketlm.errors import DataError, MissingExtraError, OutputError
from pocketlm.pocket.format import write_atomically
from pocketlm.tables import did_you_mean

SMART_HOME = "smart-home:"
# Columns of words and of their tags: one item a word, none with a space inside.
ALIGNED = (*TOKEN_NAMES, *TAG_NAMES)
# The column of a file of `augment` that says where a row comes from; nothing for a row as it was.
ORIGIN = "augmented"
# What rows can be written as.
WRITTEN = (".jsonl", ".ndjson", ".csv", ".tsv")
_SPLITS = {"train": ("train",), "dev": ("dev", "valid", "validation", "val"), "test": ("test",)}


@dataclass(frozen=True)
class Source:
    """Rows by split ("train", and "dev", "test", "unlabelled" where given). notes: what is worth knowing.

    numbers: of the rows in their file, from 1, of splits that are not a whole file.
    """

    name: str
    splits: dict[str, list[Row]]
    notes: tuple[str, ...] = ()
    numbers: dict[str, list[int]] = field(default_factory=dict)


def load(
    spec: str, dev: str | None = None, test: str | None = None, unlabelled: str | None = None, seed: int = 0,
    *, lines: bool = False, judged_only: bool = False,
) -> Source:  # fmt: skip
    """The data called `spec`, with splits from files of their own where these are named. Raises DataError.

    lines: whether a .txt file holds a text a line, rather than columns of words. judged_only: whether a test split is
    enough, other data being learnt from.
    """
    bare = judged_only and os.path.isdir(spec)
    source = _folder(Path(spec).expanduser(), bare=True) if bare else _by_split_column(_load(spec, seed, lines))
    splits, numbers = dict(source.splits), dict(source.numbers)
    for name, file in (("dev", dev), ("test", test)):
        if file is not None:
            splits[name] = _rows(file, lines)
            numbers.pop(name, None)
    splits = {name: flattened(rows) for name, rows in splits.items()}
    if unlabelled is not None:
        splits["unlabelled"] = [{"text": text} for text in iter_texts(Path(unlabelled))]
        if not splits["unlabelled"]:
            raise DataError(f"{unlabelled}: has no text")
    if not splits.get("train") and not (judged_only and splits.get("test")):
        raise DataError(f"{spec}: has no training rows")
    return Source(source.name, splits, source.notes, numbers)


def _rows(spec: str, lines: bool) -> list[Row]:
    """The rows of a file, or of two that are aligned: "dev.en,dev.sw"."""
    files = two_files(spec)
    if files is not None:
        return aligned_rows(files)
    path = Path(spec).expanduser()
    if lines and path.suffix.lower() == ".txt":
        return [{"text": text} for text in iter_texts(path)]
    return read_rows(path)


def _load(spec: str, seed: int, lines: bool) -> Source:
    if spec.startswith(SMART_HOME) or spec == SMART_HOME.rstrip(":"):
        from pocketlm.data.smart_home import smart_home

        made = smart_home(spec[len(SMART_HOME) :], seed=seed)
        return Source(spec, dict(made.splits), made.notes)
    if (files := two_files(spec)) is not None:
        return Source(spec, {"train": aligned_rows(files)})
    path = Path(spec).expanduser()
    if path.suffix.lower() in ENDINGS and not path.is_dir():
        return Source(spec, {"train": _rows(spec, lines)})
    if os.path.isdir(path):
        return _folder(path)
    if os.path.exists(path) or spec.startswith((".", "/", "~")):
        return Source(spec, {"train": read_rows(path)})
    return _hub(spec)


def _by_split_column(source: Source) -> Source:
    """A lone file as several splits, where a column "split" says train and another ("dev", "test") of every row.

    So a file that `write_rows` made of several splits is split as before, by template and not anew.
    """
    rows = source.splits.get("train", [])
    own = {name: split for split, names in _SPLITS.items() for name in names}
    said = [own.get(str(row.get("split"))) for row in rows]
    if len(source.splits) > 1 or None in said or "train" not in said or len(set(said)) == 1:
        return source
    splits: dict[str, list[Row]] = {}
    numbers: dict[str, list[int]] = {}
    for number, (row, split) in enumerate(zip(rows, said, strict=True), 1):
        splits.setdefault(str(split), []).append(
            {name: cell for name, cell in row.items() if name not in ("split", ORIGIN)}
        )
        numbers.setdefault(str(split), []).append(number)
    return Source(source.name, splits, (*source.notes, "split as the column 'split' says"), numbers)


def _folder(path: Path, *, bare: bool = False) -> Source:
    """A saved data set, or train.*, dev.* and test.* files, two each (train.en, train.sw) where lines are aligned.

    Or folders so called with seq.in, seq.out and label. bare: whether test rows alone will do.
    """
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return _saved(path)
    splits: dict[str, list[Row]] = {}
    for split, names in _SPLITS.items():
        for name in names:
            if (path / name / "seq.in").is_file():
                splits[split] = _aligned(path / name)
            elif (pair := pair_of_files(path, name, ENDINGS)) is not None and split not in splits:
                splits[split] = aligned_rows(pair)
            file = next((path / f"{name}{ending}" for ending in ENDINGS if (path / f"{name}{ending}").is_file()), None)
            if file is not None and split not in splits:
                splits[split] = read_rows(file)
    if "train" not in splits and not (bare and "test" in splits):
        raise DataError(f"{path}: has no train file (train{', train'.join(ENDINGS)})")
    return Source(str(path), splits)


def _aligned(folder: Path) -> list[Row]:
    """Line-aligned words (seq.in), tags (seq.out) and intents (label)."""
    columns = [read_text(folder / name).rstrip("\n").split("\n") for name in ("seq.in", "seq.out", "label")]
    if len({len(column) for column in columns}) > 1:
        raise DataError(f"{folder}: seq.in, seq.out and label have {', '.join(str(len(c)) for c in columns)} lines")
    return [
        {"tokens": words.split(), "slots": tags.split(), "intent": label.strip()}
        for words, tags, label in zip(*columns, strict=True)
    ]


def _saved(path: Path) -> Source:
    datasets = _datasets()
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a saved data set ({_one_line(error)})") from error
    return _hub_source(str(path), found)


def _hub(spec: str) -> Source:
    """A data set of the hub: "name" or "name:config"."""
    name, _, config = spec.partition(":")
    datasets = _datasets()
    try:
        found = datasets.load_dataset(name, config or None)
    except Exception as error:
        path = Path(spec[:200])
        near = did_you_mean(path.name, os.listdir(path.parent)) if os.path.isdir(path.parent) else ""
        why = _one_line(error)
        raise DataError(
            f"{spec[:200]}: is no file, no folder, and no data set of the hub could be loaded ({why}).{near}"
        ) from error
    return _hub_source(spec, found)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("a data set by name", "build") from None
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # an error says it once, retries need not
    return datasets


def _hub_source(name: str, found: Any) -> Source:
    """A loaded data set's splits. Those whose labels are hidden (-1 throughout) are left out, and that is said."""
    if hasattr(found, "features"):
        found = {"train": found}
    splits, notes = {}, []
    for own, names in _SPLITS.items():
        split = next((one for one in names if one in found), None)
        if split is None:
            continue
        rows, hidden = _hub_rows(found[split])
        if hidden and own != "train":
            notes.append(f"{split}: left out, its column {hidden!r} is hidden (-1 in all {len(rows)} rows)")
        else:
            splits[own] = rows
    if "train" not in splits:
        raise DataError(f"{name}: has no training rows; its splits are {', '.join(found)}")
    return Source(name, splits, tuple(notes))


def _hub_rows(split: Any) -> tuple[list[Row], str | None]:
    """Rows with class numbers replaced by class names, in lists too; and the class column that is -1 throughout."""
    names: dict[str, Sequence[str]] = {}
    for column, feature in split.features.items():
        inner = getattr(feature, "feature", feature)
        if getattr(inner, "names", None) is not None:
            names[column] = inner.names
    rows: list[Row] = split.to_list()
    hidden = next((column for column in names if rows and all(row[column] == -1 for row in rows)), None)
    for row in rows:
        for column, own in names.items():
            value = row[column]
            row[column] = [_class(one, own) for one in value] if isinstance(value, list) else _class(value, own)
    return rows, hidden


def _class(number: int | None, names: Sequence[str]) -> str | None:
    """The class's name; None where there is none, or a hub's -1 for "not said"."""
    return None if number is None or number < 0 else names[number]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def check_ending(path: Path) -> None:
    """Raise OutputError for a file that `write_rows` cannot write, by its ending."""
    if path.suffix.lower() not in WRITTEN:
        raise OutputError(f"{path}: unknown ending {path.suffix!r}; rows are written as .jsonl, .csv or .tsv")


def write_rows(rows: Sequence[Row], path: Path, *, replace: bool) -> None:
    """Write rows as .jsonl, .csv or .tsv, whole or not at all. Raises OutputError.

    In .csv and .tsv, tokens and tags are joined by spaces, other lists by "|".
    """
    check_ending(path)
    ending = path.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        buffer = io.StringIO(newline="")
        names = list(dict.fromkeys(name for row in rows for name in row))
        cells = [{name: _cell(name, value) for name, value in row.items()} for row in rows]
        # a quoted header tells readers of .tsv that quotes are not part of the text
        quoted = ending != ".csv" and any(set('"\t\n\r') & set(str(one)) for row in cells for one in row.values())
        writer = csv.DictWriter(
            buffer, names, delimiter="," if ending == ".csv" else "\t", lineterminator="\n",
            quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
        )  # fmt: skip
        writer.writeheader()
        writer.writerows(cells)
        text = buffer.getvalue()
    write_atomically(path, text.encode(), replace=replace)


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return (" " if name in ALIGNED or name.isdecimal() else "|").join(map(str, value))
    return value
