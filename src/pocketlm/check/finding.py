"""What a check found: how grave it is, how many rows, some of them by number, and what would mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pocketlm.check.rows import Entry

# error: figures would be wrong, or `fit` refuses the rows. warning: worth mending. note: worth knowing.
GRADES = ("error", "warning", "note")
SHOWN = 5
_LENGTH = 80


@dataclass(frozen=True)
class Example:
    """A row by its number in the user's own file, from 1, with the begin of its text and what is to be said of it."""

    split: str
    row: int
    text: str
    why: str = ""


@dataclass(frozen=True)
class Finding:
    """check: which one found it. rows: how many it is about. figures: what was measured."""

    check: str
    grade: str
    rows: int
    said: str
    mend: str = ""
    examples: tuple[Example, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def example(entry: Entry, why: str = "") -> Example:
    """The row as an example."""
    text = " ".join(entry.text.split())
    return Example(entry.split, entry.row, text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…", why)


def examples(entries: Sequence[Entry], why: str = "", most: int = SHOWN) -> tuple[Example, ...]:
    """The first rows as examples."""
    return tuple(example(entry, why) for entry in entries[:most])


def several(count: int, what: str) -> str:
    """The count with what is counted: "1 row", "2,000 rows"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def grade_by(value: float, note: float, warning: float, error: float = float("inf")) -> str | None:
    """The grade of a value that is the worse the larger; None below `note`."""
    return "error" if value >= error else "warning" if value >= warning else "note" if value >= note else None
