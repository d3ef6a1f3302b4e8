"""Students of subword pieces: static embeddings, convolutions, transformers cut out of the teacher, and stacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pocketlm.budget import Budget
from pocketlm.knobs import Knob, Whole
from pocketlm.search.facts import Facts
from pocketlm.search.family import A_PIECE, FRAME, GRAPH, Family, Filled, Start, Steps, unheard
from pocketlm.search.ngram_families import LEAST_ROWS, READ, heads_bytes, linear_row, solvable_rows, words_knob
from pocketlm.students.allocation import BITS
from pocketlm.students.beside import BesideNgrams
from pocketlm.students.convnet import SmallConvnet
from pocketlm.students.distill import Distill
from pocketlm.students.imitate import Imitate
from pocketlm.students.prune_rows import PruneRows
from pocketlm.students.quantize import Quantize
from pocketlm.students.solve import Solve
from pocketlm.students.static import StaticEmbeddings
from pocketlm.students.transformer import SmallTransformer
from pocketlm.students.weigh import Weigh

# Texts a student sees in all, epochs times rows; and one that gives vectors, in batches of so many.
STATIC_TEXTS, STATIC_VECTOR_TEXTS, STATIC_VECTOR_BATCH = 300_000, 500_000, 256
ENCODER_TEXTS, ENCODER_VECTOR_TEXTS, ENCODER_VECTOR_BATCH = 290_000, 120_000, 64
# A proposal begins as a part of its fine-tuned teacher; one of at least this share of it has learnt most before, and
# sees fewer texts. One that reads each so many times at most has nothing to learn by heart, and dropout would only
# blur it.
ALLOCATED_TEXTS, MUCH_OF_IT, LEARNT_TEXTS, SELDOM = 150_000, 0.25, 120_000, 2
# Of transformers that differ in size alone the largest that is fast enough is tried.
LADDER = "transformer"
# A reader has nearly all of its teacher and less to learn, which a higher rate would undo.
READER_TEXTS = 100_000
READING_RATE = 2e-4
# What begins with layers of its teacher keeps the usual rate however short it is trained; a part of few bytes has lost
# most of what they knew, and learns as fast again.
ENCODER_RATE, SMALL_PART_RATE, SMALL_PART = 5e-4, 1e-3, 1_000_000
# Softer shares teach which label is like which; of two places of a text none is like the other.
READING_TEMPERATURE = 2.0
# Beside a proposal linear n-grams take this share of the bytes allowed, at most so many rows of them, or bytes where
# these are more rows: of Banking77's 9,000 texts more rows say nothing more.
LITERAL_SHARE, LITERAL_ROWS, LITERAL_BYTES = 0.2, 10_000, 400_000
# Texts that a student of vectors sees in all, buckets of the n-grams beside it, their share of the bytes allowed, and
# what they take where many are allowed.
IMITATED_TEXTS = 120_000
BESIDE_BUCKETS = 2**18
BESIDE_SHARE, BESIDE_BYTES = 0.4, 1_500_000
# Transformers that give vectors, from small to large: layers, one of so many heads and units, rank of the embeddings.
VECTOR_LADDER = ((1, 2, 4, 64), (2, 2, 4, 64), (2, 1, 2, 96), (3, 1, 2, 96), (4, 1, 2, 96), (6, 1, 1, 256))


def _static_starts(facts: Facts, budget: Budget) -> list[Start]:
    """A vector a piece; of texts that become vectors themselves of as many dimensions as fit."""
    if not facts.vectors:
        epochs = facts.epochs(STATIC_TEXTS)
        taught = Distill(epochs, rate=facts.rate(3e-3, STATIC_TEXTS), patience=epochs)
        steps = StaticEmbeddings(width=96), taught, Quantize(bits=8, epochs=2)
        return [Start(steps, budget.max_size)]
    epochs = facts.epochs(STATIC_VECTOR_TEXTS)
    taught = Distill(epochs, rate=3e-3, batch_size=STATIC_VECTOR_BATCH, alpha=1.0, patience=epochs)
    for width in (256, 192, 128, 96, 64, 48):
        steps = StaticEmbeddings(width=min(width, facts.labels), hidden=False), taught, Quantize(bits=8, epochs=2)
        if _static_filled(steps, facts, budget.max_size):
            return [Start(steps, budget.max_size)]
    return []


def _static_filled(steps: Steps, facts: Facts, size: int | None) -> Filled | None:
    student, taught, stored = steps
    rest, a_piece = heads_bytes(facts, student.width) + FRAME, student.width * stored.bits // 8 + 2 + 6
    pieces = facts.fitting_pieces(student, size, rest, a_piece)
    if not pieces:
        return None
    filled = replace(student, pieces=pieces), taught, stored
    return Filled(filled, rest + pieces * a_piece, f"static embeddings {student.width}, {stored.bits} bit")


def _static_knobs(facts: Facts) -> Mapping[str, Knob | None]:
    own: dict[str, Knob | None] = {"distill.beta": None, **_untaught(facts)}
    if facts.vectors:
        own |= {"static-embeddings.hidden": None, "distill.alpha": None}
        most = facts.labels - facts.labels % 16
        own["static-embeddings.width"] = Whole(32, min(256, most), 16) if most >= 32 else None
    return own


def _untaught(facts: Facts) -> dict[str, Knob | None]:
    """What says nothing where there is no teacher to learn from, and no texts without labels."""
    alone: dict[str, Knob | None] = {"distill.alpha": None, "distill.beta": None, "distill.temperature": None}
    return unheard(facts) | ({} if facts.taught or facts.vectors or facts.asking else alone)


def _encoder(student: Any, facts: Facts, epochs: int | None = None, rate: float = ENCODER_RATE) -> Steps:
    """The student, its training, for so many epochs at this rate where texts are labelled, and how it is stored."""
    if facts.vectors:
        epochs = facts.epochs(ENCODER_VECTOR_TEXTS)
        taught = Distill(epochs, rate=5e-4, batch_size=ENCODER_VECTOR_BATCH, alpha=1.0, beta=1.0, decay=0.01)
        return replace(student, dropout=0.0), replace(taught, patience=max(4, epochs // 3)), Quantize(bits=8)
    epochs = epochs or facts.epochs(READER_TEXTS if facts.asking else ENCODER_TEXTS)
    begun = isinstance(student, SmallTransformer) and facts.encoder
    usual = rate if begun else facts.rate(rate, ENCODER_TEXTS)
    taught = Distill(
        epochs, rate=READING_RATE if facts.asking else usual, batch_size=32, beta=1.0, decay=0.01,
        patience=max(4, epochs // 3), temperature=READING_TEMPERATURE if facts.asking else 8.0,
    )  # fmt: skip
    return student, taught, Quantize(bits=8)


def _filled(steps: Steps, facts: Facts, size: int | None, weights: int, name: str) -> Filled | None:
    """With as many of the teacher's pieces as fit. weights: of its matrices, in int8."""
    student, bits = steps[0], steps[-1].bits
    # matrices (a zip takes a little off), the heads, the graph's own nodes; then embeddings and tokenizer
    rest = weights + facts.labels * (facts.width + 18) + GRAPH + FRAME
    if facts.asking:  # long texts have many places, stored in 16 bits
        rest += 2 * facts.max_length * student.rank
    a_piece = student.rank * bits // 8 + A_PIECE
    pieces = facts.fitting_pieces(student, size, rest, a_piece)
    if not pieces:
        return None
    name += f", {bits} bit embeddings" if bits < 8 else ""
    return Filled((replace(student, pieces=pieces), *steps[1:]), round(rest + pieces * a_piece), name)


def _convnet_starts(facts: Facts, budget: Budget) -> list[Start]:
    student = SmallConvnet(2, 192, 1, 96) if facts.vectors else SmallConvnet(2, 128, 1, 64)
    return [Start(_encoder(student, facts), budget.max_size)]


def _convnet_filled(steps: Steps, facts: Facts, size: int | None) -> Filled | None:
    own = steps[0]
    weights = own.depth * (2 * own.reach + 1) * own.width**2 + min(own.rank, own.width) * own.width
    return _filled(steps, facts, size, weights, f"convnet {own.depth}×{own.width}")


def _transformer_starts(facts: Facts, budget: Budget) -> list[Start]:
    """The largest of a ladder that fits, or all that fit where time is limited, too; without a limit, two.

    Where bytes are limited a proposal of the teacher's own parts is this ladder's last rung, see ALLOCATED.
    """
    made = [one for one in _ladder(facts, budget.max_size) if _transformer_filled(one.steps, facts, budget.max_size)]
    if budget.max_latency is not None and not facts.vectors:
        return [replace(one, ladder="" if facts.asking else LADDER) for one in made]
    if budget.max_size is None and made:
        return [made[2], made[-1]] if facts.asking else [made[0], *made[2:3]]
    return [replace(one, ladder=LADDER) for one in made[-1:]]


def _ladder(facts: Facts, size: int | None) -> list[Start]:
    """Transformers from small to large.

    What a question asks for is found by layers that attend to all of the context: there units go first, then layers,
    then heads.
    """
    half, whole = max(1, facts.heads // 2), {"depth": facts.layers, "heads": facts.heads}
    ladder: list[Mapping[str, Any]]
    if facts.vectors:
        ladder = [
            {"depth": depth, "heads": max(1, facts.heads // heads), "ffn": max(1, facts.ffn // units), "rank": rank}
            for depth, heads, units, rank in VECTOR_LADDER
            if depth <= facts.layers
        ]
    elif facts.asking:
        ladder = [
            {"depth": 1, "heads": half, "ffn": facts.ffn // 2, "rank": 64},
            {"depth": 2, "heads": half, "ffn": facts.ffn // 2, "rank": 96},
            {"depth": max(1, facts.layers // 2), "heads": facts.heads, "ffn": facts.ffn // 2, "rank": 128},
            {**whole, "ffn": facts.ffn // 4, "rank": 192},
            {**whole, "ffn": facts.ffn // 2, "rank": 192},
            {**whole, "ffn": facts.ffn * 3 // 4, "rank": 192},
            {**whole, "ffn": facts.ffn, "rank": 256},
        ]
    else:
        ladder = [
            {"depth": 1, "heads": 4, "ffn": 256, "rank": 64},
            {"depth": 2, "heads": 4, "ffn": 256, "rank": 64},
            {"depth": 3, "heads": 4, "ffn": 256, "rank": 96},
            {"depth": 3, "heads": 6, "ffn": 512, "rank": 128},
            {"depth": min(6, facts.layers), "heads": facts.heads, "ffn": facts.ffn, "rank": 256},
        ]
    return [
        Start(_encoder(SmallTransformer(**{**sizes, "heads": min(sizes["heads"], facts.heads)}), facts), size)
        for sizes in ladder
    ]


def _transformer_filled(steps: Steps, facts: Facts, size: int | None) -> Filled | None:
    own, head_width = steps[0], facts.width // facts.heads
    inner = sum(4 * heads * head_width + 2 * units for heads, units in own.sizes)
    name = f"transformer {own.depth} layers, {own.heads} heads, ffn {own.ffn}"
    return _filled(steps, facts, size, inner * facts.width + own.rank * facts.width, name)


def _transformer_knobs(facts: Facts) -> Mapping[str, Knob | None]:
    own: dict[str, Knob | None] = {
        "small-transformer.depth": Whole(1, max(2, facts.layers)),
        "small-transformer.heads": Whole(1, facts.heads),
        "small-transformer.ffn": Whole(max(1, min(64, facts.ffn // 4)), max(facts.ffn, 512), log=True),
        **({} if facts.encoder else {"small-transformer.taken": None}),
        **_untaught(facts),
    }
    return own | ({"distill.alpha": None} if facts.vectors else {})


# Bytes of proposals where none are limited.
PROPOSED = (1_500_000, 5_000_000)


def _allocated_starts(facts: Facts, budget: Budget) -> list[Start]:
    """What one sensitivity pass over the teacher proposes for the bytes and the time allowed.

    With linear n-grams beside it where these have room.
    """
    if facts.allocator is None:
        return []
    pinned = facts.pinned.get("quantize.bits")
    ladder, made = "" if budget.max_size is None else LADDER, []
    for size in PROPOSED if budget.max_size is None else (budget.max_size,):
        found = facts.allocator(size, BITS if pinned is None else (pinned,))
        if found is not None:
            rate = SMALL_PART_RATE if size < SMALL_PART else ENCODER_RATE
            *steps, stored = _encoder(SmallTransformer(), facts, facts.epochs(ALLOCATED_TEXTS), rate)
            beside = literal_steps(budget.max_latency, facts) if facts.literal else ()
            made.append(Start((*steps, *beside, replace(stored, bits=found.bits)), size, ladder))
    return made


def literal_steps(latency: float | None, facts: Facts) -> Steps:
    """Linear n-grams beside a part of the teacher, which learn the labels by themselves; latency: as is allowed.

    Of long texts they read as little as may be where time is short, which the encoder makes better use of.
    """
    read = READ[0] if latency is not None and facts.words > READ[0] else READ[-1]
    solve = Solve(heads=False)
    again = replace(solve, rarities=(), leads=())
    return BesideNgrams(BESIDE_BUCKETS, solvable_rows(BESIDE_BUCKETS, facts), read), solve, PruneRows(), again, Weigh()


def literal_filled(latency: float | None, facts: Facts, size: int | None, bits: int) -> Steps:
    """Those of a proposal of so many bytes, with as many rows as it has; none where they have no room."""
    steps = literal_steps(latency, facts)
    rows = _literal_rows(facts, size, bits, steps[0])
    return _with_rows(steps, rows, facts) if rows >= LEAST_ROWS else ()


def _with_rows(beside: Steps, rows: int, facts: Facts) -> Steps:
    """N-grams beside an encoder, pruned to so many rows of as many as can be solved for."""
    begun = facts.pinned.get("beside-ngrams.rows", max(rows, solvable_rows(beside[0].buckets, facts)))
    return replace(beside[0], rows=begun), beside[1], replace(beside[2], rows=rows), *beside[3:]


def _literal_rows(facts: Facts, size: int | None, bits: int, beside: BesideNgrams) -> int:
    """Rows of the n-grams beside a proposal of so many bytes."""
    most = max(LITERAL_BYTES, LITERAL_ROWS * linear_row(facts, bits))
    own = most if size is None else min(most, LITERAL_SHARE * size)
    there = facts.rows_of(beside.ngrams(), labelled=True)
    return int(facts.pinned.get("prune-rows.rows", min(there, (own - 16 * facts.labels) / linear_row(facts, bits))))


def _share(student: SmallTransformer, facts: Facts) -> float:
    """The share of the weights of the teacher's layers that a student keeps."""
    head = 4 * (facts.width // facts.heads)
    kept = sum(head * heads + 2 * units for heads, units in student.sizes)
    return kept / (facts.layers * (head * facts.heads + 2 * facts.ffn))


def _allocated_filled(steps: Steps, facts: Facts, size: int | None) -> Filled | None:
    """With n-grams beside it where both have room, else without."""
    student, taught, *beside, stored = steps
    rows = _literal_rows(facts, size, stored.bits, beside[0]) if beside else 0
    own = round(rows * linear_row(facts, stored.bits) + 16 * facts.labels) if beside else 0
    if facts.allocator is None:
        return None
    found = facts.allocator(None if size is None else size - own, (stored.bits,))
    if beside and (rows < LEAST_ROWS or found is None):
        return _allocated_filled((student, taught, stored), facts, size)
    if found is None:
        return None
    pieces = min(facts.pieces, student.pieces or facts.pinned.get("small-transformer.pieces", facts.pieces))
    student = replace(student, layers=found.layers, rank=found.rank, pieces=pieces)
    much = _share(student, facts) >= MUCH_OF_IT
    epochs = facts.epochs_within(LEARNT_TEXTS) if much else facts.epochs(ALLOCATED_TEXTS)
    taught = replace(taught, epochs=facts.pinned.get("distill.epochs", epochs))
    if taught.epochs <= SELDOM:
        student = replace(student, dropout=facts.pinned.get("small-transformer.dropout", 0.0))
    heads, units = (sum(one) for one in zip(*student.sizes, strict=True))
    name = f"transformer allocated {found.depth} layers, {heads} heads, {units:,} units, rank {found.rank}"
    around = FRAME + GRAPH + facts.labels * (facts.width + 18)
    name += f", {found.bits} bit" if found.bits < 8 else ""
    if beside:
        name += f" beside linear n-grams ≤ {rows:,}"
        beside = [*_with_rows(tuple(beside), rows, facts)]
    return Filled((student, taught, *beside, stored), around + found.bytes + own, name)


def _allocated_knobs(facts: Facts) -> Mapping[str, Knob | None]:
    chosen = ("depth", "heads", "ffn", "rank", "taken")
    own: dict[str, Knob | None] = {f"small-transformer.{name}": None for name in chosen}
    # the time of a proposal's n-grams is that of as many words as `literal_steps` lets them read
    return {**own, **_untaught(facts), "beside-ngrams.max_words": None}


def _convnet_knobs(facts: Facts) -> Mapping[str, Knob | None]:
    own: dict[str, Knob | None] = {"distill.hidden": None}  # narrower than any teacher, it learns relations
    return {**own, **_untaught(facts)} | ({"distill.alpha": None} if facts.vectors else {})


def _stack_starts(facts: Facts, budget: Budget) -> list[Start]:
    """Encoders that see texts as the teacher does, each with linear n-grams beside it that learn the labels with it."""
    size = budget.max_size
    made = [Start(_stack(one.steps[0], facts), size) for one in _ladder(facts, size)]
    made = [replace(one, size=all_.expected_bytes) for one in made if (all_ := _stack_filled(one.steps, facts, size))]
    if budget.max_latency is not None:
        return [replace(one, ladder="stack") for one in made]
    return [made[0], *made[2:3]] if size is None and made else made[-1:]


def _stack(student: SmallTransformer, facts: Facts) -> Steps:
    return (
        replace(student, dropout=0.0), Imitate(facts.epochs(IMITATED_TEXTS)), BesideNgrams(BESIDE_BUCKETS), Solve(),
        PruneRows(), Solve(rarities=(), leads=()), Quantize(bits=8),
    )  # fmt: skip


def _stack_filled(steps: Steps, facts: Facts, size: int | None) -> Filled | None:
    student, taught, *beside, stored = steps
    a_row, labels = linear_row(facts, 8), 16 * facts.labels
    pinned = facts.pinned.get("prune-rows.rows")
    there = facts.rows_of(beside[0].ngrams(), labelled=True)
    own = BESIDE_BYTES if size is None else min(BESIDE_BYTES, round(BESIDE_SHARE * size))
    rows = pinned or min(there, max(LEAST_ROWS, int((own - labels) / a_row)))
    own = round(min(rows, there) * a_row + labels)
    inner = _transformer_filled((student, stored), facts, None if size is None else size - own)
    if inner is None:
        return None
    filled = inner.steps[0], taught, *_with_rows(tuple(beside), rows, facts), stored
    return Filled(filled, inner.expected_bytes + own, f"{inner.name} beside linear n-grams ≤ {rows:,}")


def _stack_knobs(facts: Facts) -> Mapping[str, Knob | None]:
    own = {"quantize.bits": None, "beside-ngrams.max_words": words_knob(facts)}
    return {**_transformer_knobs(facts), **own}


CUT = (SmallTransformer, Distill, Quantize)
BESIDE = (SmallTransformer, Imitate, BesideNgrams, Solve, PruneRows, Quantize)
ALLOTTED = (SmallTransformer, Distill, BesideNgrams, Solve, PruneRows, Weigh, Quantize)
# Of these a proposal has its own.
PROPOSAL = frozenset(
    f"small-transformer.{name}" for name in ("depth", "heads", "ffn", "rank", "layers", "width", "taken")
)
STATIC = Family(
    "static", _static_starts, _static_filled, _static_knobs, 0, (StaticEmbeddings, Distill, Quantize),
    without=frozenset(("distill.beta", "distill.hidden")),
)  # fmt: skip
CONVNET = Family("convnet", _convnet_starts, _convnet_filled, _convnet_knobs, 1, (SmallConvnet, Distill, Quantize))
TRANSFORMER = Family("transformer", _transformer_starts, _transformer_filled, _transformer_knobs, 2, CUT)
ALLOCATED = Family(
    "allocated", _allocated_starts, _allocated_filled, _allocated_knobs, 3, ALLOTTED, chosen=PROPOSAL,
    without=frozenset(("solve.words", "solve.heads")),
)  # fmt: skip
STACK = Family(
    "stack", _stack_starts, _stack_filled, _stack_knobs, 2, BESIDE, without=frozenset(("solve.words", "solve.heads"))
)
