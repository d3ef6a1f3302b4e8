"""Rows without what can be mended surely: repeated and leaked ones, characters, and spellings of labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from pocketlm.check.labels import variants
from pocketlm.check.rows import Entry, Rows
from pocketlm.data.read import Row
from pocketlm.data.unicode_faults import without_faults

# A split's rows leave it where their text is in one of these.
_BEFORE = {"train": ("test", "dev"), "dev": ("test",), "test": ()}


def mended(rows: Rows) -> tuple[list[Row], dict[str, int]]:
    """The rows with their splits, and how many were changed or left out, by what was done.

    No row of test is left out, so that figures on it stay comparable; rows that cannot be read are. Wrong labels are
    for people to correct, as are near duplicates, foreign rows and differences between splits.
    """
    done: Counter[str] = Counter()
    done["unreadable left out"] = len(rows.unread)
    names = {other: first for first, others in variants(rows).items() for other in others}
    judged = {split: {text for entry in rows.of(split) for text in entry.apart} for split in rows.splits}
    right = _majorities(rows)
    seen: set[tuple[str, str]] = set()
    kept = []
    for entry in rows.entries:
        why = _why_not(entry, judged, right, seen)
        seen.add((entry.split, entry.same))
        if why is None:
            kept.append({**_cells(entry, rows.label, names, done), "split": entry.split})
        else:
            done[why] += 1
    return kept, {what: count for what, count in done.items() if count}


def _majorities(rows: Rows) -> dict[str, str | None]:
    """Of texts with several answers in a split that is learnt from: the one that most rows give, None without one."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in rows.entries:
        if entry.answer is not None:
            groups[entry.same][entry.answer] += 1
    found: dict[str, str | None] = {}
    for text, own in groups.items():
        if len(own) > 1:
            (first, most), (_, second) = own.most_common(2)
            found[text] = first if most > second else None
    return found


def _why_not(
    entry: Entry, judged: dict[str, set[str]], right: dict[str, str | None], seen: set[tuple[str, str]]
) -> str | None:
    """Why the row is left out; None where it stays."""
    if entry.split == "test":
        return None
    for split in _BEFORE[entry.split]:
        if any(text in judged.get(split, ()) for text in entry.apart):
            return f"{entry.split} rows that are in {split} left out"
    if entry.same in right and right[entry.same] != entry.answer:
        return f"contradictory {entry.split} rows left out"
    return f"repeated {entry.split} rows left out" if (entry.split, entry.same) in seen else None


def _cells(entry: Entry, label: str | None, names: dict[str, str], done: Counter[str]) -> Row:
    """The row's cells, characters mended and labels spelled in one way."""
    cells = {name: _plain(cell) for name, cell in entry.cells.items()}
    done["rows with characters mended"] += cells != entry.cells
    if label is not None and isinstance(cells.get(label), str):
        own = names.get(cells[label].strip(), cells[label].strip())
        done["labels respelled"] += own != cells[label].strip()
        cells[label] = own
    elif label is not None and isinstance(cells.get(label), list):
        cells[label] = [names.get(str(one), one) for one in cells[label]]
    return cells


def _plain(cell: Any) -> Any:
    """Text without faults, of lists of words, too; a word that would be nothing stays."""
    if isinstance(cell, str):
        return without_faults(cell)
    if isinstance(cell, list) and all(isinstance(one, str) for one in cell):
        return [without_faults(one) or one for one in cell]
    return cell
