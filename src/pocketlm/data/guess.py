"""Guesses of which column holds the text or the label, from what columns are called and what is in them."""

from __future__ import annotations

from collections.abc import Sequence

from pocketlm.data.cells import missing
from pocketlm.data.read import Row
from pocketlm.errors import DataError
from pocketlm.tables import did_you_mean

TEXT_NAMES = (
    *("text", "sentence", "utterance", "tweet", "content", "query", "question"),
    *("review", "message", "headline"),
)
LABEL_NAMES = ("label", "labels", "category", "intent", "class", "sentiment", "topic", "target", "tag")
_SEPARATORS = ("|", ";", ",")


def named_column(name: str, names: Sequence[str]) -> str:
    """The column so called, or the one at that place, counted from 1. Raises DataError."""
    if name not in names and name.isdecimal() and 1 <= int(name) <= len(names):
        return names[int(name) - 1]
    if name not in names:
        raise DataError(f"there is no column {name!r}; there is {', '.join(names)}.{did_you_mean(name, list(names))}")
    return name


def named_label(rows: Sequence[Row], names: Sequence[str], taken: Sequence[str], *, plain: bool = False) -> str | None:
    """The column called as labels are. plain: one without lists."""
    free = [name for name in names if name not in taken and not (plain and isinstance(rows[0].get(name), list))]
    return next((name for wanted in LABEL_NAMES for name in free if name.lower() == wanted), None)


def fewest_values(
    rows: Sequence[Row], names: Sequence[str], taken: Sequence[str], *, refuse: bool = True
) -> str | None:
    """The column with the fewest values. refuse: raise DataError where none has few, rather than say None."""
    sample = rows[:5000]
    counts = {name: len({str(row.get(name)) for row in sample}) for name in names if name not in taken}
    likely = sorted((count, name) for name, count in counts.items() if 1 < count <= max(2, len(sample) // 4))
    if not likely and refuse:
        raise DataError(f"no column looks like labels among {', '.join(names)}; name it with --label")
    return likely[0][1] if likely else None


def find_text(rows: Sequence[Row], names: Sequence[str], label: str | None, tokens: str | None) -> tuple[str, ...]:
    """The column called as texts are, else none beside tokens, else the longest. Raises DataError without any."""
    free = [name for name in names if name != label]
    for wanted in TEXT_NAMES:
        for name in free:
            if name.lower() == wanted and isinstance(rows[0].get(name), str):
                return (name,)
    if tokens:
        return ()
    lengths = {
        name: sum(len(str(row.get(name) or "")) for row in rows[:500])
        for name in free
        if isinstance(rows[0].get(name), str) and not str(rows[0][name]).startswith(("http://", "https://"))
    }
    if not lengths:
        empty = [name for name in free if all(missing(row.get(name)) for row in rows)]
        holding = f" ({', '.join(empty)}: without a text in any row)" if empty else ""
        raise DataError(f"no column looks like text among {', '.join(names)}{holding}; name it with --text")
    return (max(lengths, key=lambda name: lengths[name]),)


def find_separator(rows: Sequence[Row], label: str) -> str | None:
    """The sign between several labels of a cell, the one most cells have; None where no cell has any."""
    cells = [str(row.get(label) or "") for row in rows[:5000]]
    best = max(_SEPARATORS, key=lambda sign: sum(sign in cell for cell in cells))
    return best if any(best in cell for cell in cells) else None


def refuse_numbers(rows: Sequence[Row], text: tuple[str, ...]) -> None:
    """Raise DataError where the text is a different number in every row: an index, not a text."""
    for name in text if len(text) == 1 else ():
        cells = [str(row.get(name)) for row in rows[:5000]]
        if len(cells) > 2 and len(set(cells)) == len(cells) and all(cell.strip().isdecimal() for cell in cells):
            raise DataError(
                f"column {name!r} is a different number in every row, such as {cells[0]}; name the text's with --text"
            )
