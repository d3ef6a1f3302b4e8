"""Labels: how many rows each has, in which splits, how they are spelled, and which are probably wrong."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import numpy as np

from pocketlm.check.confident import CHANGED, Noise, find_noise
from pocketlm.check.finding import SHOWN, Finding, example, several
from pocketlm.check.judge import MOST_ROWS, judge_of
from pocketlm.check.rows import Entry, Rows, first_of_each
from pocketlm.data.splits import TEST_SHARE
from pocketlm.tasks.intervals import half_width

# Rows of a label below which little can be learnt, or judged; rows of which labels can be judged at all.
FEW, LEAST_ROWS = 5, 40
# Half a figure's interval, in shares, from which it should be told; rows of the rarest label for one of the commonest.
WIDE, UNBALANCED = 0.05, 0.02
# Labels at most as frequent as this beside one spelled almost alike are taken for slips.
SLIP, ALIKE, LONG_NAME = 0.1, 0.9, 5
# A finding on wrong labels is worth a warning where so many are found when changed, and so many found were changed.
FOUND, RIGHT = 0.5, 0.3
_EXAMPLES = 50


def counts(rows: Rows) -> Iterator[Finding]:
    """Labels of few rows, labels that a split lacks, and classes of very different size."""
    by_split = {split: Counter(label for entry in rows.of(split) for label in entry.labels) for split in rows.splits}
    train = by_split.get("train", Counter())
    if not train:
        return
    for split in rows.held:
        unseen = sorted(set(by_split[split]) - set(train))
        if unseen:
            own = [entry for entry in rows.of(split) if set(entry.labels) & set(unseen)]
            said = f"{split}: {several(len(unseen), 'label')} that no row of train has: {_some(unseen)}"
            shown = tuple(example(entry, " ".join(entry.labels)) for entry in own[:SHOWN])
            yield Finding("labels", "error", len(own), said, "add such rows to train, or mend the label", shown)
        lacking = sorted(set(train) - set(by_split[split]))
        if lacking and by_split[split]:
            said = f"{split}: {several(len(lacking), 'label')} of train that no row has: {_some(lacking)}"
            yield Finding("labels", "warning", 0, said, f"figures on {split} say nothing of them; add rows")
    few = sorted((count, label) for label, count in train.items() if count < FEW)
    if few:
        named = _some([f"{label} ({count})" for count, label in few])
        rows_of_few = sum(count for count, _ in few)
        said = f"train: {several(len(few), 'label')} of fewer than {FEW} rows: {named}"
        yield Finding("labels", "warning", rows_of_few, said, "label more of them, or join them with others")
    (most, often), (least, seldom) = train.most_common(1)[0], train.most_common()[-1]
    if seldom < UNBALANCED * often:
        said = f"train: {most!r} has {often:,} rows, {least!r} {seldom:,}"
        yield Finding("labels", "note", seldom, said, "judge by macro F1, and label more of the rare ones")


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def spellings(rows: Rows) -> Iterator[Finding]:
    """Labels that are one but for case, spaces and signs, and rare ones that look like slips of frequent ones."""
    for kept, others in variants(rows).items():
        own = [entry for entry in rows.entries if set(entry.labels) & set(others)]
        said = f"labels that differ in case, spaces or signs alone: {kept!r} and {', '.join(map(repr, others))}"
        shown = tuple(example(entry, " ".join(entry.labels)) for entry in own[:SHOWN])
        yield Finding("label spelling", "error", len(own), said, f"write {kept!r} throughout", shown)
    every = Counter(label for entry in rows.entries for label in entry.labels)
    for label, count in sorted(every.items()):
        for other, often in every.items():
            if count <= SLIP * often and _plain(label) != _plain(other) and _alike(label, other):
                own = [entry for entry in rows.entries if label in entry.labels]
                shown = tuple(example(entry, label) for entry in own[:SHOWN])
                said = f"the label {label!r} ({count:,}) looks like a slip of {other!r} ({often:,})"
                yield Finding("label spelling", "warning", len(own), said, f"write {other!r} if it is one", shown)


def _alike(one: str, other: str) -> bool:
    """Whether names are almost the same, digits apart, by which names often differ on purpose."""
    digits = ["".join(char for char in name if char.isdigit()) for name in (one, other)]
    return (
        digits[0] == digits[1] and min(len(one), len(other)) > 4 and SequenceMatcher(None, one, other).ratio() > ALIKE
    )


def variants(rows: Rows) -> dict[str, list[str]]:
    """Spellings of the same label: the most frequent one, and the others."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in rows.entries:
        for label in entry.labels:
            groups[_plain(label)][label] += 1
    ordered = [[label for label, _ in own.most_common()] for own in groups.values() if len(own) > 1]
    return {first: others for first, *others in ordered}


def _plain(label: str) -> str:
    """A label without what spellings differ in; one of signs alone stays."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    return "".join(char for char in folded if char.isalnum() or unicodedata.category(char)[0] == "M") or folded


def width(rows: Rows) -> Iterator[Finding]:
    """How far the interval of a figure will go, by how many rows it is taken of."""
    test = rows.of("test")
    count = len(test) or round(TEST_SHARE * len(rows.entries))
    if not count:
        return
    half = half_width(0.75, count)
    whose = f"the {several(count, 'row')} of test" if test else f"about {several(count, 'row')} that fit splits off"
    said = f"with {whose}, a figure of 75 % is ±{100 * half:.1f} points"
    labels = Counter(label for entry in test for label in entry.labels)
    if len(labels) > 1:
        label, seldom = labels.most_common()[-1]
        said += f"; of {label!r} alone ({several(seldom, 'row')}) ±{100 * half_width(0.75, seldom):.0f}"
    yield Finding("interval", "warning" if half > WIDE else "note", count, said, "differences below that are no news; "
                  "more test rows make it narrower", figures={"rows": count, "half": round(half, 4)})  # fmt: skip


def wrong(rows: Rows, seed: int) -> Iterator[Finding]:
    """Labels that the judgement of all other rows speaks against; where texts have one label."""
    entries = [entry for entry in first_of_each(rows.entries) if len(entry.labels) == 1]
    if rows.task not in ("classification", "understanding"):
        return
    sizes = Counter(entry.labels[0] for entry in entries)
    fit_to_judge = [entry for entry in entries if sizes[entry.labels[0]] >= FEW]
    names = sorted({entry.labels[0] for entry in fit_to_judge})
    if len(fit_to_judge) < LEAST_ROWS or len(names) < 2:
        yield Finding("wrong labels", "note", 0, "too few rows of each label to judge whether labels are right")
        return
    if len(fit_to_judge) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(fit_to_judge))[:MOST_ROWS])
        fit_to_judge = [fit_to_judge[place] for place in chosen]
    places = {name: place for place, name in enumerate(names)}
    labels = np.array([places[entry.labels[0]] for entry in fit_to_judge])
    noise = find_noise(judge_of([entry.text for entry in fit_to_judge]), labels, len(names), seed)
    yield _about(noise, fit_to_judge, names, len(entries))


def _about(noise: Noise, entries: Sequence[Entry], names: Sequence[str], whole: int) -> Finding:
    count = len(noise.suspects)
    limit = min(1.0, noise.at_most)
    judged = f" (of {len(entries):,} judged)" if len(entries) < whole else ""
    said = (
        f"{several(count, 'label')}{judged} that n-grams of all other rows speak against; about "
        f"{min(limit, noise.estimate):.0%}, at most {limit:.0%} of all labels are wrong. Of labels changed on purpose "
        f"({CHANGED:.0%}) they found {noise.found:.0%}, and "
        f"{noise.right:.0%} of those named were changed"
    )
    trusted = noise.found >= FOUND and noise.right >= RIGHT
    if not trusted:
        said += ": too weak to tell wrong labels from hard texts, or very many are wrong"
    shown = tuple(
        example(entries[place], f"{entries[place].labels[0]!r}; rather {names[noise.said[place]]!r}")
        for place in noise.suspects[:_EXAMPLES]
    )
    figures = {
        "judged": len(entries), "accuracy": round(noise.accuracy, 4), "estimate": round(noise.estimate, 4),
        "at_most": round(limit, 4), "found": round(noise.found, 4), "right": round(noise.right, 4),
    }  # fmt: skip
    mend = "read the first of them (--json lists 50), and correct what is wrong"
    return Finding("wrong labels", "warning" if trusted and count else "note", count, said, mend, shown, figures)
