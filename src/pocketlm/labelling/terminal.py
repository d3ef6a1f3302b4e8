"""Labelling line by line: in a terminal without a mouse, or through a pipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from unicodedata import normalize

from pocketlm.labelling.session import Asked, Session, Suspect
from pocketlm.labelling.words import progress_lines

Read = Callable[[], str | None]
Write = Callable[[str], None]

# What may be typed beside a label's number or name; a label that is called so is given by its number.
KEYS = {
    "": "take the guess",
    "+name": "a new label",
    "?": "not sure",
    "s": "skip",
    "u": "undo",
    "c": "the curve",
    "h": "this help",
    "q": "stop; run the same command again to go on",
}
# Labels are listed whole as long as they are so few.
_MOST_LISTED = 30


def label_rows(session: Session, read: Read, write: Write) -> None:
    """Ask until the person stops, the input ends or no row is left. read: a line, or None at its end."""
    write(_help(session))
    batches = 0
    while (asked := session.next()) is not None:
        if batches != len(session.ledger.entries) // session.plan.batch:
            batches = len(session.ledger.entries) // session.plan.batch
            write("\n".join(["", *progress_lines(session)]))
        write(_question(session, asked))
        line = read()
        if line is None or line.strip() == "q":
            break
        said = _obey(session, asked, line.strip())
        if said:
            write(said)
    else:
        write("every row is labelled, not sure, or almost the same as one that is")


def review(session: Session, read: Read, write: Write) -> int:
    """Show the labels that are likely wrong, one after the other; how many were changed."""
    found, changed = session.suspects(), 0
    if found:
        write(f"\n{len(found)} labels to look at again: Enter keeps one, a number or name changes it, q ends this")
    for one in found:
        write(_doubt(session, one))
        line = read()
        if line is None or line.strip() == "q":
            break
        label = pick(line.strip(), session.labels) if line.strip() else None
        if label is None and line.strip():
            write(f"there is no label {line.strip()!r}; it stays {one.entry.label}")
        elif label is not None and label != one.entry.label:
            session.correct(one.place, label)
            changed += 1
    return changed


def pick(word: str, labels: Sequence[str]) -> str | None:
    """The label of a number counted from 1, of a name, or of the only name that begins so; None for none."""
    word = normalize("NFC", word)
    if word in labels:
        return word
    if word.isdecimal() and 1 <= int(word) <= len(labels):
        return labels[int(word) - 1]
    begun = [label for label in labels if word and label.casefold().startswith(word.casefold())]
    return begun[0] if len(begun) == 1 else None


def _obey(session: Session, asked: Asked, word: str) -> str:
    """Do what was typed; what there is to say of it, which is mostly nothing."""
    if word in ("s", "skip"):
        session.skip()
    elif word == "?":
        session.not_sure()
    elif word in ("u", "undo"):
        return "" if session.undo() is not None else "nothing to undo"
    elif word in ("c", "h", "help"):
        return "\n".join(progress_lines(session)) if word == "c" else _help(session)
    elif word.startswith("+") and word[1:].strip():
        session.answer(normalize("NFC", word[1:].strip()))
    elif not word and asked.guess is not None:
        session.answer(asked.guess[0])
    else:
        label = pick(word, session.labels)
        if label is None:
            return _unknown(word, session.labels)
        session.answer(label)
    return ""


def _unknown(word: str, labels: Sequence[str]) -> str:
    if not word:
        return "there is no guess to take: type a label's number or name"
    near = get_close_matches(word, list(labels), n=1, cutoff=0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"there is no label {word!r};{hint or ' type a number or a name,'} or type +{word} to make it one"


def _question(session: Session, asked: Asked) -> str:
    number = len(session.ledger.entries) + 1
    guess = f"\n  Enter: {asked.guess[0]} ({100 * asked.guess[1]:.0f} %)" if asked.guess else ""
    return f"\n[{number}] {asked.text}{guess}"


def _doubt(session: Session, one: Suspect) -> str:
    return f"\n{one.entry.text}\n  given: {one.entry.label}; expected: {one.expected} ({100 * one.probability:.0f} %)"


def _help(session: Session) -> str:
    labels = [f"{place} {label}" for place, label in enumerate(session.labels, 1)]
    more = [f"… {len(labels) - _MOST_LISTED} more, by name"] if len(labels) > _MOST_LISTED else []
    listed = "labels: " + ("  ".join([*labels[:_MOST_LISTED], *more]) or "none yet; +name makes one")
    keys = "  ".join(f"{key or 'Enter'}: {what}" for key, what in KEYS.items())
    return f"{listed}\na label's number, name or its beginning  {keys}"
