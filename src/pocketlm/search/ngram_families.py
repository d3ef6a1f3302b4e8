"""Students of hashed n-grams: linear ones that are solved, and bags of vectors that are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pocketlm.budget import Budget
from pocketlm.knobs import Choice, Knob, Whole
from pocketlm.search.facts import Facts
from pocketlm.search.family import FRAME, Family, Filled, Start, Steps, unheard, with_values
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.solve import Solve

# A linear bag keeps every n-gram of some thousand rows in so many bytes; its table has a column a label before pruning.
LARGEST_LINEAR = 5_000_000
LINEAR_WEIGHTS = 30_000_000
# From so many bytes on its weights have 8 bits, and its n-grams more buckets; bags are wider.
ROOMY = 700_000
# Linear n-grams of so many labelled rows learn from a teacher what so many words mean, and how much that tells; of more
# rows the labels say it themselves.
LEXICON_ROWS, LEXICON_WORDS, LEXICON_SHARES = 8_000, 20_000, (0.03, 0.1, 0.3, 1.0)
# Words that linear n-grams read of long texts, of which the most are read that time allows; texts have many times their
# mean number at most.
READ, READ_ON = (48, 96, 192, 320, 512), 3

# Bags beyond this gain nothing more; a transformer makes better use of the bytes. Vectors need more dimensions.
LARGEST_BAG, LARGEST_TABLE = 1_600_000, 3_000_000
SMALLEST_BAG = 12_000
# Without a teacher some hundred n-grams may tell more of new texts than all that there are: such a bag is tried beside
# one that fills the bytes allowed.
SPARE_BAG, SPARE_WIDTH, SPARE_FROM = 36_000, 32, 1.5
BAG_BITS: Final = 4
# A bag of fewer rows tells nothing.
LEAST_ROWS = 64
# Widths of bags whose usual one leaves room for fewer rows than these.
NARROW, FEWEST_ROWS = (32, 16), 256
# Texts that a bag sees in all, epochs times rows; one with room beside it for students of an encoder; and one that
# gives vectors, in batches of so many.
BAG_TEXTS, ROOMY_BAG_TEXTS, TABLE_TEXTS, TABLE_BATCH = 1_200_000, 400_000, 500_000, 256
# A bag begins with so many times the rows it will keep, as far as the texts fill them, and keeps so many at most.
ROWS_BEFORE_PRUNING, MOST_ROWS = 5, 60_000
TABLE_ROWS_BEFORE, MOST_TABLE_ROWS = 2, 40_000
# Of the bytes to fill so much is filled.
FILLED = 0.97
# Settings that say how many n-grams there are, which learn, and what they take; and those of no use to linear ones.
TO_FILL = ("hashed-ngrams.", "quantize.bits", "solve.words")
LINEAR_WITHOUT = frozenset(("hashed-ngrams.width", "hashed-ngrams.hidden", "hashed-ngrams.dropout", "solve.heads"))
# Bytes of a row's place in the map of kept buckets and of its scale; and what a zip leaves of its weights.
A_PLACE, ZIPPED = 3.1, {4: 0.9, 8: 0.97}


def _linear_starts(facts: Facts, budget: Budget) -> list[Start]:
    """Filling the bytes allowed; without a limit, a small, a middle and a large one."""
    sizes = (60_000, 250_000, 1_000_000) if budget.max_size is None else (min(LARGEST_LINEAR, budget.max_size),)
    ladder = "linear" if len(read_of(facts, budget)) > 1 else ""
    found = []
    for size in (max(SMALLEST_BAG, one) for one in sizes):
        for most in read_of(facts, budget):
            steps = _linear(facts, size, most)
            whole, enough = (min(size, _whole_linear(steps, facts, hears=hears)) for hears in (True, False))
            found.append(Start(steps, whole, f"{ladder} {size}" * bool(ladder), enough))
    return found


def _whole_linear(steps: Steps, facts: Facts, *, hears: bool) -> int:
    """Bytes to fill with which every n-gram that learns has a row, however large settings may be.

    hears: from an encoder, where that is not all that is allowed, what words mean.
    """
    student, solve, *_, stored = _at_most(steps, facts, LINEAR_WITHOUT)
    if not hears and not facts.pinned.get("solve.words"):
        solve = replace(solve, words=0)
    rows = _solved_rows(student, solve, facts)
    return math.ceil((_linear_rest(facts) + (rows + 1) * linear_row(facts, stored.bits)) / FILLED)


def _solved_rows(student: HashedNgrams, solve: Solve, facts: Facts) -> int:
    """Rows that get weights at most: of n-grams that no labelled text has only where an encoder says what they mean."""
    return facts.rows_of(student, labelled=not solve.words)


def _at_most(steps: Steps, facts: Facts, without: frozenset[str] = frozenset()) -> Steps:
    """The steps with the most that the job lets n-grams and bits be, which say how much there is to fill.

    without: settings that mean nothing to them.
    """
    wanted = {name: one for name, one in facts.largest.items() if name.startswith(TO_FILL) and name not in without}
    try:
        return with_values(steps, wanted)
    except ValueError:  # no student can be that, which is told where one is asked for
        return steps


def read_of(facts: Facts, budget: Budget) -> list[int]:
    """How many words of a text may be read: several where texts are long and time is short."""
    if budget.max_latency is None or facts.words <= READ[0]:
        return [READ[-1]]
    return [most for most in READ if most < READ_ON * facts.words]


def _linear(facts: Facts, size: int, read: int) -> Steps:
    roomy = size >= ROOMY
    buckets = 2**20 if roomy else 2**18
    student = HashedNgrams(buckets, width=0, hidden=False, rows=buckets, min_texts=1, dropout=0.0, max_words=read)
    solve = Solve(words=LEXICON_WORDS, shares=LEXICON_SHARES) if may_mean(facts) else Solve()
    again = replace(solve, rarities=(), leads=())
    return student, solve, PruneRows(), again, Quantize(bits=8 if roomy else BAG_BITS)


def may_mean(facts: Facts) -> bool:
    """Whether an encoder may tell n-grams what words mean."""
    return facts.encoder and facts.labelled <= LEXICON_ROWS


def _linear_filled(steps: Steps, facts: Facts, size: int | None) -> Filled | None:
    student, solve, pruned, _again, stored = steps
    size = LARGEST_LINEAR if size is None else size
    rest, a_row = _linear_rest(facts), linear_row(facts, stored.bits)
    there = _solved_rows(student, solve, facts)
    rows = facts.pinned.get("prune-rows.rows", min(there, max(LEAST_ROWS, int((size * FILLED - rest) / a_row))))
    most = solvable_rows(student.buckets, facts)
    filled = (
        replace(student, rows=facts.pinned.get("hashed-ngrams.rows", max(rows, most))), solve,
        replace(pruned, rows=rows), replace(solve, rarities=(), leads=()), stored,
    )  # fmt: skip
    name = f"linear n-grams ≤ {rows:,}{' that mean what words mean' if solve.words else ''}, {stored.bits} bit"
    name += f", {student.max_words} words read" if student.max_words < READ[-1] else ""
    expected = round(min(rows, there) * a_row + rest)
    return Filled(filled, expected if "prune-rows.rows" in facts.pinned else min(expected, size), name)


def _linear_rest(facts: Facts) -> int:
    """Bytes of a linear bag that are no rows."""
    return FRAME + facts.labels * (facts.labels + 16)


def linear_row(facts: Facts, bits: int) -> float:
    """Bytes of a row of linear n-grams: a weight a label, and its place."""
    return 0.95 * facts.labels * bits / 8 + A_PLACE


def solvable_rows(buckets: int, facts: Facts) -> int:
    """As many rows of so many buckets as can be solved for."""
    return min(buckets, LINEAR_WEIGHTS // facts.labels)


def _linear_knobs(facts: Facts) -> Mapping[str, Knob | None]:
    most = LEXICON_WORDS if may_mean(facts) else 0
    read = _of_a_text(facts)
    return {
        "hashed-ngrams.width": None, "hashed-ngrams.hidden": None,
        "hashed-ngrams.max_words": Choice(read) if len(read) > 1 else None,
        "solve.words": Choice((0, most)) if most else None,
    }  # fmt: skip


def _of_a_text(facts: Facts) -> tuple[int, ...]:
    """How many words of a text may be read: of short ones all."""
    return tuple(one for one in READ if one < READ_ON * facts.words)


def words_knob(facts: Facts) -> Choice | None:
    """How many words of long texts n-grams may read whose rule of thumb reads the most; None where texts are short."""
    read = _of_a_text(facts)
    return Choice(tuple(dict.fromkeys((*read, READ[-1])))) if len(read) > 1 else None


def _bag_starts(facts: Facts, budget: Budget) -> list[Start]:
    """Filling the bytes allowed; without a limit, a small, a middle and a large one."""
    if facts.vectors:
        sizes = (100_000, 400_000, 1_500_000) if budget.max_size is None else (min(budget.max_size, LARGEST_TABLE),)
        return [Start(_table(facts, size), size) for size in sizes]
    sizes = (60_000, 250_000, 1_000_000)
    if budget.max_size is not None:
        sizes = (max(SMALLEST_BAG, min(LARGEST_BAG, budget.max_size)),)
    made = [(_bag_within(facts, size), size) for size in sizes]
    starts = [Start(steps, min(size, _whole_bag(steps, facts))) for steps, size in made]
    if not facts.taught and sizes[-1] >= SPARE_FROM * SPARE_BAG:
        starts.insert(0, Start(_bag(facts, SPARE_WIDTH), SPARE_BAG))
    return starts


def _whole_bag(steps: Steps, facts: Facts) -> int:
    """Bytes with which every n-gram of the texts has a row, however large settings may be, and a bag has room."""
    student, *_, stored = _at_most(steps, facts)
    rows = max(LEAST_ROWS, facts.rows_of(student, labelled=False))
    return math.ceil((heads_bytes(facts, student.width) + FRAME + (rows + 1) * _bag_row(student, stored)) / FILLED)


def _bag_row(student: HashedNgrams, stored: Quantize) -> float:
    """Bytes of a row of a bag."""
    return ZIPPED[stored.bits] * student.width * stored.bits / 8 + A_PLACE


def _bag_within(facts: Facts, size: int) -> Steps:
    """The bag of the usual width for so many bytes, or a narrower one where its matrices leave no room for a table."""
    usual = 48 if size < 60_000 else 64 if size < ROOMY else 96
    texts = ROOMY_BAG_TEXTS if facts.encoder and size >= ROOMY else BAG_TEXTS
    made = [_bag(facts, width, texts) for width in (usual, *NARROW)]
    filled = ((one, _bag_filled(one, facts, size)) for one in made)
    fewest = 0 if "prune-rows.rows" in facts.pinned else FEWEST_ROWS
    fewest = min(fewest, facts.rows_of(made[0][0], labelled=False))
    roomy = (one for one, all_ in filled if all_ and all_.expected_bytes <= size and all_.steps[2].rows >= fewest)
    return next(roomy, made[-1])


def _bag(facts: Facts, width: int, texts: int = BAG_TEXTS) -> Steps:
    epochs = facts.epochs(texts)
    taught = Distill(epochs=epochs, rate=facts.rate(5e-3, texts), patience=epochs)
    student = HashedNgrams(width=width)
    return student, taught, PruneRows(), taught, Quantize(bits=BAG_BITS, epochs=max(2, epochs // 3), rate=1e-3)


def _table(facts: Facts, size: int) -> Steps:
    """A bag whose sum is the vector: wide, without a hidden layer; larger batches show it more neighbours."""
    width = min(facts.labels, 48 if size < 60_000 else 64 if size < 300_000 else 96 if size < 1_000_000 else 128)
    epochs = facts.epochs(TABLE_TEXTS)
    taught = Distill(epochs, rate=5e-3, batch_size=TABLE_BATCH, alpha=1.0, patience=epochs)
    last = Quantize(bits=BAG_BITS, epochs=max(2, epochs // 3), rate=1e-3)
    return HashedNgrams(width=width, hidden=False), taught, PruneRows(), taught, last


def heads_bytes(facts: Facts, width: int) -> int:
    """Of a bag's heads and, where it tags, of the matrix that reads a word, its neighbours and the text."""
    if facts.vectors:
        return facts.labels * (width + 18)
    context = max(width, 64)
    return facts.labels * (context + 18) + (6 * width * context if facts.tagging else 0)


def _bag_filled(steps: Steps, facts: Facts, size: int | None) -> Filled | None:
    student, taught, pruned, again, stored = steps
    size = LARGEST_BAG if size is None else size
    before, most = (TABLE_ROWS_BEFORE, MOST_TABLE_ROWS) if facts.vectors else (ROWS_BEFORE_PRUNING, MOST_ROWS)
    heads = heads_bytes(facts, student.width)
    a_row = _bag_row(student, stored)
    there = facts.rows_of(student, labelled=False)
    room = int((size * FILLED - FRAME - heads) / a_row)
    rows = facts.pinned.get("prune-rows.rows", min(most, there, room))
    if room < LEAST_ROWS and "prune-rows.rows" not in facts.pinned:
        return None
    wide = facts.pinned.get("hashed-ngrams.rows", max(rows, min(most, before * rows)))
    filled = replace(student, rows=wide), taught, replace(pruned, rows=rows), again, stored
    name = f"n-grams ≤ {rows:,}×{student.width}, {stored.bits} bit"
    return Filled(filled, round(min(rows, there) * a_row + heads + FRAME), name)


def _bag_knobs(facts: Facts) -> Mapping[str, Knob | None]:
    own: dict[str, Knob | None] = {"distill.beta": None, "hashed-ngrams.max_words": words_knob(facts)}
    own |= unheard(facts)
    if facts.vectors:
        own |= {"hashed-ngrams.hidden": None, "distill.alpha": None}
        own["hashed-ngrams.width"] = Whole(16, facts.labels - facts.labels % 16, 16) if facts.labels >= 16 else None
    if not facts.taught:
        own |= {"distill.alpha": None, "distill.temperature": None}
    return own


LINEAR = Family(
    "linear",
    _linear_starts,
    _linear_filled,
    _linear_knobs,
    0,
    (HashedNgrams, Solve, PruneRows, Quantize),
    without=LINEAR_WITHOUT,
    brimful=False,
)
BAG = Family(
    "bag", _bag_starts, _bag_filled, _bag_knobs, 0, (HashedNgrams, Distill, PruneRows, Quantize),
    without=frozenset(("distill.beta", "distill.hidden")), brimful=False,
)  # fmt: skip
