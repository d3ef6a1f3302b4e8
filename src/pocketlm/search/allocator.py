"""What a student of so many bytes keeps of its teacher, by one sensitivity pass and what this machine takes for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from pocketlm.budget import Budget
from pocketlm.measure.device import Device
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.facts import Allocator, Facts
from pocketlm.search.family import A_PIECE, FRAME, GRAPH
from pocketlm.search.piece_families import literal_filled, literal_steps
from pocketlm.search.work import ATTENTION_NODES, NODES, TextSize, linear_work
from pocketlm.students.allocation import Allocation, Limits, Sensitivity, allocate, sensitivity
from pocketlm.students.pieces import Pieces
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train.context import FitContext

# Part of the time allowed that a proposal takes: what is expected may be wrong. One that is expected to take less than
# the other part is not timed.
ROOM, NEAR = 0.9, 0.6
# An untrained proposal that takes at most this part is fast enough; of slower ones so many are timed, each smaller.
LARGEST, TIMED = 0.92, 3

# Milliseconds that an untrained student takes where it will run.
Timed = Callable[[Recipe], float]


def allocator(
    context: FitContext, pieces: Pieces, facts: Facts, budget: Budget, device: Device | None, text: TextSize,
    timed: Timed | None = None,
) -> Allocator | None:  # fmt: skip
    """The proposals of a job; None where students are no parts of a teacher, or time is up.

    device: where they will run. The sensitivity pass is made when the first is asked for. Where time is what binds, the
    proposal for all bytes that are allowed is timed untrained, and all are as much smaller as it takes longer than
    expected; so is that for these, until one is fast enough.
    """
    parts = context.teacher is not None and context.lesson.taught is not None
    if not parts or context.asking or context.vectors or context.deadline.passed:
        return None

    @cache
    def known() -> Sensitivity | None:
        context.progress.stage("finding what each layer of the teacher can do without")
        return sensitivity(context, pieces)

    def proposal(size: int | None, latency: float | None, bits: tuple[int, ...]) -> Allocation | None:
        found = known()
        if found is None:
            return None
        inside = None if size is None else size - FRAME - GRAPH - facts.labels * (facts.width + 18)
        if inside is not None and inside <= 0:
            return None
        return allocate(found, replace(limits_of(facts, inside, latency, device, text), bits=bits))

    @cache
    def slowness(bits: tuple[int, ...]) -> float:
        """How many times as long as expected proposals of these bits take, at least 1."""
        limit = budget.max_latency
        if timed is None or device is None or limit is None:
            return 1.0
        around = around_layers(facts, device, text, budget.max_latency)
        beside = literal_filled(limit, facts, budget.max_size, max(bits)) if facts.literal else ()
        return _slower(
            limit,
            lambda latency: proposal(budget.max_size, latency, bits),
            lambda found: found.milliseconds + around,
            lambda found: timed(Recipe((_cut(found, facts), *beside))),
        )

    @cache
    def propose(size: int | None, bits: tuple[int, ...]) -> Allocation | None:
        return proposal(size, None if budget.max_latency is None else budget.max_latency / slowness(bits), bits)

    return propose


def _cut(found: Allocation, facts: Facts) -> SmallTransformer:
    """The student that a proposal is, with all pieces."""
    return SmallTransformer(layers=found.layers, rank=found.rank, pieces=facts.pieces)


def _slower(
    limit: float, proposal: Callable[[float], Allocation | None], expected: Callable[[Allocation], float],
    took: Callable[[Allocation], float],
) -> float:  # fmt: skip
    """How many times as long as expected a proposal takes that is fast enough for the limit, at least 1.

    limit: in ms. proposal: for so many ms. expected, took: ms of one.
    """
    times = 1.0
    for already in range(TIMED):
        found = proposal(limit / times)
        if found is None or times * expected(found) < NEAR * limit:
            break
        taken = took(found)
        if already and taken <= LARGEST * limit:
            break
        before, times = times, max(times, taken / expected(found))
        if times == before:
            break
    return times


def around_layers(facts: Facts, device: Device, text: TextSize, latency: float | None) -> float:
    """Milliseconds of a text that no layer takes, those of n-grams beside them included. latency: as is allowed."""
    work = {"call": 1.0, "piece": text.cut, "node": float(NODES), "int8": float(facts.labels * facts.width)}
    if facts.literal:
        read = literal_steps(latency, facts)[0].max_words
        work = {**linear_work(min(text.words, read), facts, text), **work}
    return device.milliseconds(work)


def limits_of(facts: Facts, size: int | None, latency: float | None, device: Device | None, text: TextSize) -> Limits:
    """What layers may take. size: bytes of the layers and embeddings. latency: of a whole text, in ms."""
    if device is None or latency is None:
        return Limits(size, None, facts.pieces, A_PIECE)
    width, head, pieces = facts.width, facts.width // facts.heads, text.pieces

    def cost(weights: float, attended: float = 0.0, nodes: float = 0.0) -> float:
        work = {"int8": weights * pieces, "streamed": weights, "float32": attended, "node": nodes}
        return device.milliseconds(work)

    left = max(1e-6, ROOM * latency - around_layers(facts, device, text, latency))
    return Limits(
        size, left, facts.pieces, A_PIECE, cost(0, nodes=ATTENTION_NODES), cost(4 * width * head, 2 * pieces**2 * head),
        cost(2 * width), cost(width),
    )  # fmt: skip
