"""How splits differ: in how they are written, in what they are about, and in how often labels occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from pocketlm.check.finding import Finding, example, grade_by
from pocketlm.check.forms import READ, Form, forms_of
from pocketlm.check.judge import Judge, judge_of, judge_of_forms
from pocketlm.check.rows import Entry, Rows
from pocketlm.tasks.intervals import VERY_SURE, Share, difference, ranking, share

# Differences of shares, surely as large, from which a finding is a note, a warning, an error.
APART = (0.03, 0.1, 0.5)
# Areas under the curve of a judge of splits, surely as large; of how long one split's texts are against another's.
TOLD, LONGER = (0.65, 0.75), (0.6, 0.7)
# Rows of each split that a judge sees, and fewest that it can learn from.
JUDGED, LEAST_ROWS = 700, 30
_DRAWS = 2_000


def format_shift(rows: Rows) -> Iterator[Finding]:
    """Forms that one split has much oftener than train, and texts much longer or shorter."""
    train = rows.of("train")
    forms = forms_of([entry.text for entry in rows.entries[:: max(1, len(rows.entries) // 2_000)]])
    for split in rows.held if train else []:
        held = rows.of(split)
        found = [one for form in forms if (one := _difference(form, train, held, split)) is not None]
        yield from sorted(found, key=lambda one: -abs(one.figures["difference"]["value"]))
        yield from _length(train, held, split)


def _difference(form: Form, train: Sequence[Entry], held: Sequence[Entry], split: str) -> Finding | None:
    own, theirs = ([(one, form.has(one.text[:READ])) for one in part] for part in (held, train))
    counts = [
        (sum(1 for _, has in part if has), sum(1 for _, has in part if has is not None)) for part in (own, theirs)
    ]
    if not all(count for _, count in counts):
        return None
    apart = difference(counts[0], counts[1], VERY_SURE)
    grade = grade_by(max(apart.low, -apart.high), *APART)
    if grade is None:
        return None
    fewer = apart.value < 0
    odd = [entry for entry, has in own if has is not None and has != fewer]
    said = (
        f"{split}: {form.name} in {share(*counts[0])} of rows, in train {share(*counts[1])}: "
        f"{100 * apart.value:+.0f} points"
    )
    figures = {
        "form": form.name, "held": share(*counts[0]).to_json(), "train": share(*counts[1]).to_json(),
        "difference": apart.to_json(),
    }  # fmt: skip
    shown = tuple(example(entry, "without" if fewer else "with") for entry in odd[:3])
    return Finding("format shift", grade, len(odd), said, form.mend, shown, figures)


def _length(train: Sequence[Entry], held: Sequence[Entry], split: str) -> Iterator[Finding]:
    own, theirs = (np.array([float(len(one.text)) for one in part]) for part in (held, train))
    area = ranking(own, theirs)
    grade = grade_by(max(area.low, 1 - area.high), *LONGER)
    if grade is not None:
        said = (
            f"{split}: {np.median(own):,.0f} characters a row, in train {np.median(theirs):,.0f} (medians); of two "
            f"rows that of {split} is the longer one in {area}"
        )
        yield Finding("format shift", grade, len(held), said, "train on texts as long as those to be read",
                      figures={"form": "length", "longer": area.to_json()})  # fmt: skip


def told_apart(rows: Rows, seed: int) -> Iterator[Finding]:
    """Splits that a linear model tells from train. Lopez-Paz and Oquab 2017, arXiv:1610.06545."""
    random = np.random.default_rng(seed)
    for split in rows.held:
        parts = [_some(rows.of(name), random) for name in (split, "train")]
        if min(map(len, parts)) < LEAST_ROWS:
            continue
        count = min(map(len, parts))
        texts = [entry.text for part in parts for entry in part[:count]]
        ways = (("how they are written", judge_of_forms), ("their words", judge_of))
        for what, judge in ways:
            area = _area(judge([text[:READ] for text in texts]), count)
            grade = grade_by(area.low, *TOLD)
            if grade is not None:
                said = f"{split}: rows are told from train by {what}: area under the curve {area.value:.2f} " \
                       f"({area.low:.2f} to {area.high:.2f}; 0.5 is alike)"  # fmt: skip
                words = typical(texts[:count], texts[count:])
                said += f"; typical of {split}: {' '.join(words[0])}; of train: {' '.join(words[1])}"
                mend = f"figures on {split} are of other text than what is learnt from; train on some like it"
                yield Finding("told apart", "note" if judge is judge_of else grade, len(rows.of(split)), said, mend,
                              figures={"by": what, "area": area.to_json()})  # fmt: skip


def _some(entries: Sequence[Entry], random: np.random.Generator) -> list[Entry]:
    chosen = random.permutation(len(entries))[:JUDGED]
    return [entries[place] for place in chosen]


def _area(judge: Judge, count: int) -> Share:
    labels = np.repeat([1, 0], count)
    chances = judge.chances(labels, 2)[:, 1].astype(np.float64)
    return ranking(chances[:count], chances[count:])


def typical(own: Sequence[str], others: Sequence[str], most: int = 5) -> tuple[list[str], list[str]]:
    """Words that are surely much oftener in `own`, and in `others`, the surest first.

    Log odds with a prior of both together: Monroe, Colaresi and Quinn 2008, "Fightin' words", eq. 15 to 22.
    """
    counts = [Counter(word for text in part for word in text.split()) for part in (own, others)]
    both = counts[0] + counts[1]
    words = [word for word, times in both.items() if times >= 5]
    prior = np.array([both[word] for word in words], np.float64)
    totals = [prior.sum() + sum(one.values()) for one in counts]
    odds, spread = np.zeros(len(words)), np.zeros(len(words))
    for sign, one, total in zip((1, -1), counts, totals, strict=True):
        seen = np.array([one[word] for word in words], np.float64) + prior
        odds += sign * np.log(seen / (total - seen))
        spread += 1 / seen
    order = np.argsort(odds / np.sqrt(spread), kind="stable")
    return [words[place] for place in order[::-1][:most]], [words[place] for place in order[:most]]


def label_shift(rows: Rows, seed: int) -> Iterator[Finding]:
    """Splits whose labels are shared out otherwise than those of train, and not by chance.

    The chance is that of a chi-squared as large in draws from both together.
    """
    random = np.random.default_rng(seed)
    train = Counter(label for entry in rows.of("train") for label in entry.labels)
    for split in rows.held if train else []:
        held = Counter(label for entry in rows.of(split) for label in entry.labels)
        labels = sorted(train | held)
        counts = np.array([[one[label] for label in labels] for one in (held, train)], np.float64)
        if not counts[0].sum():
            continue
        shares = counts / counts.sum(1, keepdims=True)
        apart = float(np.abs(shares[0] - shares[1]).sum() / 2)
        pooled = counts.sum(0) / counts.sum()
        drawn = [random.multinomial(int(own.sum()), pooled, _DRAWS) / own.sum() for own in counts]
        by_chance = ((drawn[0] - drawn[1]) ** 2 / pooled).sum(1)
        chance = (1 + int((by_chance >= ((shares[0] - shares[1]) ** 2 / pooled).sum()).sum())) / (1 + _DRAWS)
        if chance >= 0.001 or apart < 0.05:
            continue
        most = sorted(range(len(labels)), key=lambda place: -abs(shares[0][place] - shares[1][place]))[:3]
        which = ", ".join(f"{labels[one]!r} {shares[0][one]:.1%} against {shares[1][one]:.1%}" for one in most)
        said = f"{split}: labels are shared out otherwise than in train: {which}"
        mend = "figures on it say little of rows like train's; report F1 by label, too"
        yield Finding("label shift", "note", len(rows.of(split)), said, mend, figures={"moved": round(apart, 4)})
