"""Whole texts to model: a text file is one, rows of a table are one each; and their splits, which share no passage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pocketlm.data.read import Row, read_text
from pocketlm.data.source import load
from pocketlm.data.splits import DEV_SHARE, TEST_SHARE, normal_text, split_off
from pocketlm.errors import DataError

PLAIN = (".txt", ".md", ".text")
SPLITS = ("train", "dev", "test")
# Characters of a stretch that a long text is cut into: about a window of 1,024 tokens.
STRETCH, LEAST_STRETCH = 4_000, 200
# A text has at least so many stretches, as far as they are not shorter than the shortest.
STRETCHES = 60
# Characters that are read of dev and of test at most: models read them token by token.
MOST_READ = {"dev": 32_000, "test": 128_000}
# A passage of so many characters that stands in two splits is the same text.
PASSAGE = 100


@dataclass(frozen=True)
class Texts:
    """Texts by split, and notes on how they came about."""

    splits: dict[str, list[str]]
    notes: tuple[str, ...] = ()


def documents(spec: str, column: str | None = None) -> list[str]:
    """The texts called `spec`: a UTF-8 text file as it is, else the test split's (or all) rows' column, "text".

    Raises DataError where there is none.
    """
    found = _by_split(spec, column)
    return found.get("test", found["train"])


def _by_split(spec: str, column: str | None) -> dict[str, list[str]]:
    path = Path(spec).expanduser()
    if path.suffix.lower() in PLAIN and not path.is_dir():
        return {"train": [_plain(path)]}
    if (path / "train.txt").is_file():
        return {name: [_plain(file)] for name in SPLITS if (file := path / f"{name}.txt").is_file()}
    splits, name = load(spec).splits, column or "text"
    return {split: [_text(row, name, at, spec) for at, row in enumerate(rows, 1)] for split, rows in splits.items()}


def _plain(path: Path) -> str:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    text = read_text(path, longest_line=None)
    if not text.strip():
        raise DataError(f"{path}: has no text")
    return text


def _text(row: Row, name: str, number: int, spec: str) -> str:
    found = row.get(name)
    if not isinstance(found, str) or not found.strip():
        there = ", ".join(row)
        raise DataError(f"{spec}, row {number}: has no text in column {name!r}; there is {there}; name one with --text")
    return found


def split_documents(
    spec: str, dev: str | None = None, test: str | None = None, unlabelled: str | None = None,
    column: str | None = None, seed: int = 0,
) -> Texts:  # fmt: skip
    """Texts to train on, to choose by and to judge by; dev and test are split off where no file of theirs is named.

    Long texts to train on are cut into stretches, each of which is in one split. What shares a passage of PASSAGE
    characters with test leaves training and dev, and with dev training. unlabelled: more to train on. Raises DataError
    where a split is left without text.
    """
    found, notes = _by_split(spec, column), []
    given = {name: _by_split(file, column)["train"] for name, file in (("dev", dev), ("test", test)) if file}
    splits = {**found, **given}
    if unlabelled:
        splits["train"] = [*splits["train"], *_by_split(unlabelled, column)["train"]]
    size = min(STRETCH, max(LEAST_STRETCH, sum(map(len, splits["train"])) // STRETCHES))
    splits["train"] = [part for text in splits["train"] for part in stretches(text, size)]
    for name, share in (("test", TEST_SHARE), ("dev", DEV_SHARE)):
        if name not in splits:
            splits["train"], splits[name] = _split_off(splits["train"], share, MOST_READ[name], seed)
            notes.append(f"{name}: {len(splits[name])} stretches split off training")
        elif sum(map(len, splits[name])) > MOST_READ[name]:
            splits[name] = _spread(splits[name], MOST_READ[name])
            notes.append(
                f"{name}: {len(splits[name])} stretches of it are read, spread evenly, {MOST_READ[name]:,} characters"
            )
    for own, name in (("train", "test"), ("train", "dev"), ("dev", "test")):
        kept, note = without_passages(splits[own], splits[name], own, name)
        if len(kept) < len(splits[own]) / 2:
            raise DataError(f"{spec}: {note}: give a {name} text that {own} has not, or text that repeats itself less")
        splits[own] = kept
        notes += [note] if note else []
    for own in SPLITS:
        if not splits[own]:
            raise DataError(f"{spec}: no text is left for {own}; give more text or a file for each split")
    return Texts({name: splits[name] for name in SPLITS}, tuple(notes))


def plain_texts(spec: str, dev: str | None = None, column: str | None = None, seed: int = 0) -> Texts:
    """Whole texts to learn a language from ("train"), and stretches that judge it ("dev"), split off without a file.

    What shares a passage of PASSAGE characters with dev leaves training. Raises DataError where a split has no text.
    """
    texts, notes = _by_split(spec, column)["train"], []
    parts = [stretches(text) for text in texts]
    if dev is not None:
        judged = [part for text in documents(dev, column) for part in stretches(text)]
    else:
        size = min(STRETCH, max(LEAST_STRETCH, sum(map(len, texts)) // STRETCHES))
        parts = [stretches(text, size) for text in texts]
        _, judged = _split_off([part for own in parts for part in own], DEV_SHARE, MOST_READ["dev"], seed)
        notes.append(f"dev: {len(judged)} stretches split off training")
    if sum(map(len, judged)) > MOST_READ["dev"]:
        judged = _spread(judged, MOST_READ["dev"])
        notes.append(f"dev: {len(judged)} stretches of it are read, spread evenly")
    known = set(_passages(judged))
    kept = [[part for part in own if not _shares(normal_text(part), known)] for own in parts]
    gone = sum(map(len, parts)) - sum(map(len, kept))
    if gone:
        notes.append(
            f"{gone} of {sum(map(len, parts))} stretches of training share a passage with dev and are left out"
        )
    train = ["\n".join(own) for own in kept if own]
    if not train or not judged:
        missing = "dev" if train else "training, all of it is in dev" if gone else "training"
        raise DataError(f"{spec}: no text is left for {missing}; give more text, or another file of dev")
    return Texts({"train": train, "dev": judged}, tuple(notes))


def stretches(text: str, size: int = STRETCH) -> list[str]:
    """The text in parts of at most `size` characters, cut after a blank line, a line or a word, in that order."""
    found, begin = [], 0
    while begin < len(text):
        end = min(begin + size, len(text))
        if end < len(text):
            for mark in ("\n\n", "\n", " "):
                cut = text.rfind(mark, begin + size // 2, end)
                if cut >= 0:
                    end = cut + len(mark)
                    break
        if part := text[begin:end].strip():
            found.append(part)
        begin = end
    return found


def _split_off(texts: Sequence[str], share: float, most: int, seed: int) -> tuple[list[str], list[str]]:
    rows = [{"text": text} for text in texts]
    count = max(1, most * len(texts) // max(1, sum(map(len, texts))))
    rest, part = split_off(
        rows, share, texts_of=lambda row: [row["text"]], class_of=lambda row: 0, seed=seed, most=count
    )
    return [row["text"] for row in rest], [row["text"] for row in part]


def _spread(texts: Sequence[str], most: int) -> list[str]:
    """Stretches of the texts, evenly over all of them, of about so many characters."""
    parts = [part for text in texts for part in stretches(text)]
    count = max(1, most * len(parts) // max(1, sum(map(len, parts))))
    return [parts[place * len(parts) // count] for place in range(min(count, len(parts)))]


def without_passages(
    texts: Sequence[str], held: Sequence[str], own: str, name: str
) -> tuple[list[str], str | None]:  # fmt: skip
    """The texts of the split `own` that share no passage with those held out, `name`, and a note on those left out."""
    known = set(_passages(held))
    kept = [text for text in texts if not _shares(normal_text(text), known)]
    gone = len(texts) - len(kept)
    if not gone:
        return kept, None
    return kept, f"{gone} of {len(texts)} stretches of {own} share a passage with {name} and are left out of {own}"


def _passages(texts: Iterable[str]) -> Iterable[str]:
    """Every passage of the texts; of a shorter one, all of it."""
    for text in map(normal_text, texts):
        for begin in range(max(1, len(text) - PASSAGE + 1)):
            yield text[begin : begin + PASSAGE]


def _shares(text: str, known: set[str]) -> bool:
    return any(text[begin : begin + PASSAGE] in known for begin in range(max(1, len(text) - PASSAGE + 1)))
