"""Texts themselves: strangers among them, characters that are not as they should be, and what is read of long ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pocketlm.check.finding import SHOWN, Example, Finding, example, grade_by, several
from pocketlm.check.rows import Entry, Rows, first_of_each
from pocketlm.data.foreign import foreign_rows, scripts_of
from pocketlm.data.identify import name_of, other_language
from pocketlm.data.language_report import mixes_scripts
from pocketlm.data.languages import Language
from pocketlm.data.unicode_faults import Faults, find_faults
from pocketlm.job import PIECES_READ

# Characters looked at of a text, and rows among which strangers are looked for.
READ, MOST_ROWS = 500, 10_000
# Characters in which faults are looked for.
FAULTS_READ = 2_000
# Share of letters of another script than the language's from which it is the wrong language.
OTHER_SCRIPT = 0.1
# Share of rows that are longer than what is read, from which it is told.
LONG = 0.05


def language(rows: Rows, expected: Language | None) -> Iterator[Finding]:
    """Rows of another language or script, by their characters."""
    alone = first_of_each(rows.entries)[:MOST_ROWS]
    texts = [entry.text[:READ] for entry in alone]
    if expected is not None:
        yield from _other_script(alone, expected)
        yield from _other_language(alone, expected)
    found = foreign_rows(texts, expected)
    codes = dict.fromkeys(one.language for one in found if one.language)
    others = ", ".join(map(name_of, codes))
    for why, said in (("script", "mostly in another script"), ("language", f"in another language ({others})"),
                      ("characters", "of unusual characters or language")):  # fmt: skip
        own = [alone[one.place] for one in found if one.why == why]
        if own:
            grade = grade_by(len(own) / len(alone), 0.0, 0.01) or "note"
            yield Finding("language", grade, len(own), f"{several(len(own), 'row')} {said}",
                          "read them, and drop what does not belong", _shown(own))  # fmt: skip
    mixed = [entry for entry in rows.entries if any(map(mixes_scripts, entry.text[:READ].split()))]
    if mixed:
        said = f"{several(len(mixed), 'row')} with words that mix letters of two scripts which look alike"
        yield Finding("language", "warning", len(mixed), said, "spell them in one", _shown(mixed))


def _shown(entries: Sequence[Entry]) -> tuple[Example, ...]:
    return tuple(example(entry) for entry in entries[:SHOWN])


def _other_script(entries: Sequence[Entry], expected: Language) -> Iterator[Finding]:
    counted = [(entry, scripts_of(entry.text[:READ])) for entry in entries]
    total = sum((counts for _, counts in counted), type(counted[0][1])())
    other = 1 - sum(total[script] for script in expected.scripts) / max(1, total.total())
    if total and other > OTHER_SCRIPT:
        odd = [entry for entry, counts in counted if counts and not any(counts[one] for one in expected.scripts)]
        said = (
            f"{other:.0%} of the letters are of no script that {expected.name} is written in "
            f"({', '.join(expected.scripts)}), most of them {total.most_common(1)[0][0]}"
        )
        mend = "is this the right text, or the right language?"
        yield Finding("language", "error", len(odd), said, mend, _shown(odd))


def _other_language(entries: Sequence[Entry], expected: Language) -> Iterator[Finding]:
    other = other_language([entry.text for entry in entries], expected)
    if other:
        said = f"the texts are in {other}, not in {expected.name}"
        mend = "is this the right text, or the right language?"
        yield Finding("language", "error", len(entries), said, mend, _shown(entries))


def characters(rows: Rows) -> Iterator[Finding]:
    """Accents in two forms, invisible characters, remains of a wrong decoding."""
    odd: dict[str, list[Entry]] = {"decomposed": [], "invisible": [], "mojibake": []}
    composed = 0
    names: dict[str, int] = {}
    for entry in rows.entries:
        text = entry.text[:FAULTS_READ]
        if text.isascii() and text.isprintable():
            continue
        faults: Faults = find_faults([text])
        composed += faults.composed
        for kind, own in odd.items():
            if getattr(faults, kind):
                own.append(entry)
        for name, count in faults.invisible.items():
            names[name] = names.get(name, 0) + count
    if odd["decomposed"] and composed:
        count = len(odd["decomposed"])
        said = f"{several(count, 'row')} with accents as separate characters (NFD), {composed:,} with whole ones (NFC)"
        mend = "normalize to NFC (n-grams do, tokenizers may not)"
        yield Finding("characters", "warning", count, said, mend, _shown(odd["decomposed"]))
    if odd["invisible"]:
        listed = ", ".join(f"{count:,} {name}" for name, count in sorted(names.items(), key=lambda one: -one[1])[:4])
        said = f"{several(len(odd['invisible']), 'row')} with invisible characters where none is needed: {listed}"
        yield Finding("characters", "warning", len(odd["invisible"]), said, "remove them", _shown(odd["invisible"]))
    if odd["mojibake"]:
        said = f"{several(len(odd['mojibake']), 'row')} look like UTF-8 read as another encoding"
        yield Finding("characters", "error", len(odd["mojibake"]), said, "read the source anew as UTF-8",
                      _shown(odd["mojibake"]))  # fmt: skip


def length(rows: Rows, pieces: int | None) -> Iterator[Finding]:
    """How much of long rows is read. pieces: as asked for, else what suits the task."""
    if rows.task in ("question-answering", "generation"):
        return  # both read all of it, in windows
    read = pieces or PIECES_READ.get(rows.task, PIECES_READ[""])
    words = np.array([len(entry.text.split()) for entry in rows.entries])
    long = [entry for entry, count in zip(rows.entries, words, strict=True) if count > read]
    if len(long) > LONG * len(words):
        part = float(np.minimum(words, read).sum() / max(1, words.sum()))
        said = (
            f"{several(len(long), 'row')} ({len(long) / len(words):.0%}) of more than {read} words, the longest of "
            f"{words.max():,}: a model that reads {read} pieces sees at most {part:.0%} of all words"
        )
        mend = "--max-length reads more, in more time; or put what matters first. N-grams read 512 words"
        yield Finding("length", "note", len(long), said, mend, _shown(long), {"seen": round(part, 4)})
