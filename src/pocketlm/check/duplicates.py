"""Rows that repeat others, within a split and across, and what is told of the same text in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from pocketlm.check.finding import SHOWN, Example, Finding, example, grade_by, several
from pocketlm.check.rows import Entry, Rows, first_of_each
from pocketlm.data.duplicates import near_duplicates

# Shares of a split's rows from which a finding is graver: of rows known from training, and of contradictions.
LEAKED, CONTRADICTED = 0.01, 0.02
# Of different rows so many are compared, each by so many characters.
MOST_ROWS, MOST_CHARACTERS = 50_000, 2_000
# Marks on Latin, Greek and Cyrillic letters, points of Hebrew and Arabic: letters of other scripts are nothing without.
_MARKS = re.compile(r"[\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u0670]+")
_OTHERWISE = re.compile(r"https?://\S+|@\w+|[^\w\u0300-\u036f\u0900-\u109f\u1780-\u17ff]+")


def duplicates(rows: Rows) -> Iterator[Finding]:
    """Repeated rows, rows of train and dev that are in the splits that judge, and contradictions."""
    yield from _leaks(rows)
    yield from contradictions(rows)
    for split in rows.splits:
        own = rows.of(split)
        first = {entry.same: entry for entry in reversed(own)}
        again = [entry for entry in own if first[entry.same] is not entry]
        if again:
            shown = tuple(example(entry, f"as row {first[entry.same].row}") for entry in again[:SHOWN])
            said = f"{split}: {several(len(again), 'row')} repeat an earlier one"
            weight = "they weigh double in training" if split == "train" else "they weigh double in the figures"
            yield Finding("duplicates", "note", len(again), said, f"drop them: {weight}", shown)


def _leaks(rows: Rows) -> Iterator[Finding]:
    """Rows of a split that judges whose text is in train, or of test in dev."""
    for split, learnt in (("test", "train"), ("dev", "train"), ("test", "dev")):
        known: dict[str, Entry] = {}
        for entry in rows.of(learnt):
            known |= {text: entry for text in entry.apart if text not in known}
        own = rows.of(split)
        leaked = [(entry, known[text]) for entry in own if (text := _first_in(entry.apart, known)) is not None]
        if not leaked:
            continue
        share = len(leaked) / len(own)
        grade = grade_by(share, 0.0, 0.0, LEAKED if learnt == "train" and split == "test" else float("inf"))
        shown = tuple(example(one, f"as {learnt} row {other.row}") for one, other in leaked[:SHOWN])
        said = f"{split}: {several(len(leaked), 'row')} ({share:.1%}) with a text that is in {learnt}, too"
        mend = f"drop them from {learnt} (fit does): figures on {split} are too good by what was learnt by heart"
        yield Finding("leak", grade or "warning", len(leaked), said, mend, shown, {"share": round(share, 5)})


def _first_in(texts: Sequence[str], known: dict[str, Entry]) -> str | None:
    return next((text for text in texts if text in known), None)


def contradictions(rows: Rows) -> Iterator[Finding]:
    """Equal texts of which different things are told."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in rows.entries:
        if entry.answer is not None:
            groups[entry.same].append(entry)
    odd = [own for own in groups.values() if len({entry.answer for entry in own}) > 1]
    if not odd:
        return
    count = sum(map(len, odd))
    lost = sum(len(own) - max(Counter(entry.answer for entry in own).values()) for own in odd)
    shown: list[Example] = []
    for own in odd[:SHOWN]:
        first = own[0]
        other = next(entry for entry in own if entry.answer != first.answer)
        shown.append(example(other, f"{_short(other)}; {first.split} row {first.row} says {_short(first)}"))
    grade = grade_by(count / len(rows.entries), 0.0, 0.0, CONTRADICTED) or "warning"
    said = f"{several(count, 'row')} of {several(len(odd), 'text')} with different answers; {lost:,} cannot be right"
    yield Finding("contradiction", grade, count, said, "decide which is right, or drop them", tuple(shown))


def _short(entry: Entry) -> str:
    told = entry.answer or ""
    return repr(told if len(told) <= 40 else told[:39] + "…")


def near(rows: Rows) -> Iterator[Finding]:
    """Rows that are almost another one, of the same split or of one that was learnt from."""
    alone = first_of_each(rows.entries)[:MOST_ROWS]
    groups = near_duplicates([_letters(entry.same)[:MOST_CHARACTERS] for entry in alone])
    pairs = [[alone[place] for place in group] for group in groups]
    for split in rows.held:
        found = [_nearest(entry, own) for own in pairs for entry in own if entry.split == split]
        known = [(entry, other) for entry, other in found if other is not None]
        if known:
            yield _near_leak(known, split, len(rows.of(split)))
    inner = [(own, entry) for own in pairs for entry in own[1:] if entry.split == own[0].split]
    if inner:
        shown = tuple(example(entry, f"almost row {own[0].row}") for own, entry in inner[:SHOWN])
        said = f"{several(len(inner), 'row')} almost as an earlier one of the same split"
        yield Finding("near duplicates", "note", len(inner), said, "keep one of each if they are one text", shown)
    left = len(first_of_each(rows.entries)) - len(alone)
    if left:
        yield Finding("near duplicates", "note", left, f"{several(left, 'row')} were not compared: too many")


def _nearest(entry: Entry, group: Sequence[Entry]) -> tuple[Entry, Entry | None]:
    """The row with one of train that is like it, of the same words if there is one."""
    own = _letters(entry.same)
    train = [one for one in group if one.split == "train"]
    return entry, next((one for one in train if _letters(one.same) == own), train[0] if train else None)


def _near_leak(known: Sequence[tuple[Entry, Entry]], split: str, rows: int) -> Finding:
    """known: rows of the split and rows of train that they are like."""
    same = [pair for pair in known if _letters(pair[0].same) == _letters(pair[1].same)]
    said = f"{split}: {several(len(known), 'row')} ({len(known) / rows:.1%}) almost as a row of train"
    said += f", {len(same):,} of them but for signs, marks, pictures, links and @names" if same else ""
    mend = "look whether they are one text twice; if so keep it in one split"
    grade = grade_by(len(known) / rows, 0.0, LEAKED) or "note"
    if split == "test" and len(same) >= LEAKED * rows:
        grade = "error"
    ordered = [*same, *(pair for pair in known if pair not in same)]
    shown = tuple(example(entry, f"almost train row {other.row}") for entry, other in ordered[:SHOWN])
    figures = {"share": round(len(known) / rows, 5), "same": len(same)}
    return Finding("near leak", grade, len(known), said, mend, shown, figures)


def _letters(text: str) -> str:
    """The text without what is often written otherwise in another split: signs, marks, pictures, links and @names."""
    bare = _MARKS.sub("", unicodedata.normalize("NFD", _OTHERWISE.sub(" ", text)))
    return " ".join(unicodedata.normalize("NFC", bare).split()) or text


def unread(rows: Rows) -> Iterator[Finding]:
    """Rows that `fit` refuses."""
    reasons: dict[str, list[Example]] = defaultdict(list)
    for one in rows.unread:
        reasons[one.why.removeprefix(": ")].append(Example(one.split, one.row, ""))
    for why, own in sorted(reasons.items(), key=lambda one: -len(one[1])):
        said = f"{several(len(own), 'row')} that fit refuses: {why}"
        yield Finding("unreadable", "error", len(own), said, "mend or drop them", tuple(own[:SHOWN]))
