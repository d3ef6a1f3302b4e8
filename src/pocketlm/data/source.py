"""Data by name: a file, a folder, smart-home:LANG or a hub's data set, as rows by split."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlm.data.read import ENDINGS, Row, iter_texts, read_rows, read_text
from pocketlm.errors import DataError, MissingExtraError, OutputError
from pocketlm.pocket.format import write_atomically

SMART_HOME = "smart-home:"
_SPLITS = {"train": ("train",), "dev": ("dev", "valid", "validation", "val"), "test": ("test",)}


@dataclass(frozen=True)
class Source:
    """Rows by split ("train", and "dev", "test", "unlabelled" where given). notes: what is worth knowing."""

    name: str
    splits: dict[str, list[Row]]
    notes: tuple[str, ...] = ()


def load(
    spec: str, dev: str | None = None, test: str | None = None, unlabelled: str | None = None, seed: int = 0
) -> Source:
    """The data called `spec`, with splits from files of their own where these are named. Raises DataError."""
    source = _load(spec, seed)
    splits = dict(source.splits)
    for name, file in (("dev", dev), ("test", test)):
        if file is not None:
            splits[name] = read_rows(Path(file))
    if unlabelled is not None:
        splits["unlabelled"] = [{"text": text} for text in iter_texts(Path(unlabelled))]
    if not splits.get("train"):
        raise DataError(f"{spec}: has no training rows")
    return Source(source.name, splits, source.notes)


def _load(spec: str, seed: int) -> Source:
    if spec.startswith(SMART_HOME):
        from pocketlm.data.smart_home import smart_home

        made = smart_home(spec.removeprefix(SMART_HOME), seed=seed)
        return Source(spec, dict(made.splits), made.notes)
    path = Path(spec)
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in ENDINGS or path.exists() or spec.startswith((".", "/", "~")):
        return Source(spec, {"train": read_rows(path)})
    return _hub(spec)


def _folder(path: Path) -> Source:
    """train.*, dev.* and test.* files; or folders of those names with seq.in, seq.out and label; or a saved data set."""
    if (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return _saved(path)
    splits: dict[str, list[Row]] = {}
    for split, names in _SPLITS.items():
        for name in names:
            if (path / name / "seq.in").is_file():
                splits[split] = _aligned(path / name)
            file = next((path / f"{name}{ending}" for ending in ENDINGS if (path / f"{name}{ending}").is_file()), None)
            if file is not None and split not in splits:
                splits[split] = read_rows(file)
    if "train" not in splits:
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
    return Source(str(path), _hub_splits(found))


def _hub(spec: str) -> Source:
    """A data set of the hub: "name" or "name:config"."""
    name, _, config = spec.partition(":")
    datasets = _datasets()
    try:
        found = datasets.load_dataset(name, config or None)
    except Exception as error:
        raise DataError(
            f"{spec}: is no file, no folder, and no data set of the hub could be loaded ({_one_line(error)})"
        ) from error
    return Source(spec, _hub_splits(found))


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("a data set by name", "build") from None
    datasets.disable_progress_bars()
    return datasets


def _hub_splits(found: Any) -> dict[str, list[Row]]:
    if hasattr(found, "features"):
        return {"train": _hub_rows(found)}
    named = {own: name for own, names in _SPLITS.items() for name in names if name in found}
    return {own: _hub_rows(found[name]) for own, name in named.items()}


def _hub_rows(split: Any) -> list[Row]:
    """Rows with class numbers replaced by class names, in lists too."""
    names: dict[str, Sequence[str]] = {}
    for column, feature in split.features.items():
        inner = getattr(feature, "feature", feature)
        if getattr(inner, "names", None) is not None:
            names[column] = inner.names
    rows: list[Row] = split.to_list()
    for row in rows:
        for column, own in names.items():
            value = row[column]
            row[column] = (
                [own[one] for one in value] if isinstance(value, list) else None if value is None else own[value]
            )
    return rows


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def write_rows(rows: Sequence[Row], path: Path, *, replace: bool) -> None:
    """Write rows as .jsonl, .csv or .tsv, whole or not at all. Raises OutputError."""
    ending = path.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif ending in (".csv", ".tsv"):
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, list(rows[0]), delimiter="," if ending == ".csv" else "\t", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: " ".join(cell) if isinstance(cell, list) else cell for key, cell in row.items()})
        text = buffer.getvalue()
    else:
        raise OutputError(f"{path}: unknown ending {path.suffix!r}; rows are written as .jsonl, .csv or .tsv")
    write_atomically(path, text.encode(), replace=replace)
