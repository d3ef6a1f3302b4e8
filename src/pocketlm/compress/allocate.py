"""One budget for all layers and all methods: each layer's choice, so that the predicted loss is least.

A multiple-choice knapsack as a mixed-integer linear program (Kellerer, Pferschy and Pisinger 2004, Knapsack Problems,
chapter 11), solved by HiGHS through `scipy.optimize.milp`: of every layer exactly one option, or its whole block goes;
the layers of a feed-forward lose the same units; the bytes of all are at most the budget. Pure functions on plain
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pocketlm.compress.options import Option, Survey, front
from pocketlm.errors import BudgetError
from pocketlm.units import format_size

# The most seconds of the solver, and how far its answer may be from the best one, as a share.
SECONDS, GAP = 30.0, 1e-6
# What a kind of option must save of the predicted loss to be used: predictions are no surer than that.
WORTH = 0.05
# Of a stack's blocks this share may go: what several lose together is far more than the sum.
MOST_DROPPED = 0.25


@dataclass(frozen=True)
class Allocation:
    """A choice for every layer. chosen: by the first name of each matrix that is kept. dropped: paths of blocks.

    bytes: of all matrices, as predicted. losses: the predicted rise of the loss by kind, not scaled.
    """

    chosen: Mapping[str, Option]
    dropped: tuple[str, ...] = ()
    bytes: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)

    def loss(self, scales: Mapping[str, float] | None = None) -> float:
        """The predicted rise of the loss, each kind's part times its scale."""
        return sum(value * (scales or {}).get(kind, 1.0) for kind, value in self.losses.items())


def offers(table: Survey, kinds: Sequence[str] | None, scales: Mapping[str, float] | None) -> dict[str, list[Option]]:
    """By layer, the options worth choosing: of the kinds allowed, none beaten by another in both bytes and loss.

    Of a layer whose feed-forward may lose units, those for each share of them: with `width` among the settings.
    """
    found = {}
    for layer in table.layers:
        allowed = [one for one in layer.options if kinds is None or set(one.losses) <= {*kinds}]
        found[layer.name] = front([layer.keep, *allowed], scales)
    for units in table.widths if kinds is None or "width" in kinds else ():
        for name in units.members:
            whole = found[name]
            for share, rise in units.steps:
                found[name] = found[name] + [
                    _narrower(one, share, rise if name == units.name else None) for one in whole
                ]
    return found


def _narrower(option: Option, share: float, rise: float | None) -> Option:
    """An option of a matrix that has lost this share of its units. rise: what that costs, if it is counted here."""
    losses = {kind: value * (1 - share) for kind, value in option.losses.items()}
    losses |= {} if rise is None else {"width": rise}
    return Option(option.kind, round(option.bytes * (1 - share)), losses, {**option.settings, "width": share})


def least_bytes(table: Survey, kinds: Sequence[str] | None = None) -> int:
    """The fewest bytes that any choice for the matrices has."""
    sizes = {name: min(option.bytes for option in found) for name, found in offers(table, kinds, None).items()}
    total = sum(sizes.values())
    if kinds is not None and "drop" not in kinds:
        return total
    for stack, blocks in droppable(table).items():
        saved = sorted(sum(sizes[one.name] for one in table.layers if one.block == block) for block in blocks)
        most = most_dropped(table, stack)
        total -= sum(saved[len(saved) - min(most, len(saved)) :])
    return total


def droppable(table: Survey) -> dict[str, list[str]]:
    """Blocks that may go, by their stack."""
    found: dict[str, list[str]] = {}
    for block in table.drops:
        found.setdefault(block.rpartition(".")[0], []).append(block)
    return found


def most_dropped(table: Survey, stack: str) -> int:
    """How many blocks of a stack may go."""
    blocks = {one.block for one in table.layers if one.block.rpartition(".")[0] == stack}
    return int(MOST_DROPPED * len(blocks))


def allocate(
    table: Survey,
    budget_bytes: int,
    scales: Mapping[str, float] | None = None,
    kinds: Sequence[str] | None = None,
) -> Allocation:
    """The choice with the least predicted loss whose matrices take at most `budget_bytes`.

    scales: by which the predicted losses of a kind are multiplied. kinds: that may be used; all without. Raises
    BudgetError where no choice is small enough, with the least size that is.
    """
    least = least_bytes(table, kinds)
    if least > budget_bytes:
        raise BudgetError(
            f"{format_size(budget_bytes)} for the weight matrices is out of reach: the least that any choice takes is "
            f"{format_size(least)} ({least:,} bytes)"
        )
    offered = offers(table, kinds, scales)
    drops = [] if kinds is not None and "drop" not in kinds else list(table.drops)
    picked = _solve(table, offered, drops, budget_bytes, scales)
    dropped = tuple(block for block in drops if picked[block])
    chosen = {
        one.name: offered[one.name][picked[one.name]] for one in table.layers if one.block not in dropped
    }  # fmt: skip
    losses: dict[str, float] = {}
    for option in chosen.values():
        for kind, value in option.losses.items():
            losses[kind] = losses.get(kind, 0.0) + value
    if dropped:
        losses["drop"] = sum(table.drops[block] for block in dropped)
    return Allocation(chosen, dropped, sum(one.bytes for one in chosen.values()), losses)


def allocate_few(
    table: Survey, budget_bytes: int, scales: Mapping[str, float] | None = None, kinds: Sequence[str] | None = None
) -> Allocation:
    """As `allocate`, without kinds that are not worth it: each is one more pass over the whole model.

    Kinds that buy least go first, as long as the predicted loss stays within WORTH of the least one.
    """
    best = allocate(table, budget_bytes, scales, kinds)
    most = (1 + WORTH) * best.loss(scales)
    while len(best.losses) > 1:
        found = []
        for kind in best.losses:
            with suppress(BudgetError):
                found.append(allocate(table, budget_bytes, scales, [one for one in best.losses if one != kind]))
        fewer = min(found, key=lambda one: one.loss(scales), default=best)
        if fewer is best or fewer.loss(scales) > most:
            break
        best = fewer
    return best


def _solve(
    table: Survey, offered: Mapping[str, list[Option]], drops: list[str], budget: int,
    scales: Mapping[str, float] | None,
) -> dict[str, int]:  # fmt: skip
    """The place of each layer's option, and 1 or 0 for each block that may be dropped."""
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    columns = [(name, place) for name, found in offered.items() for place in range(len(found))]
    losses = [offered[name][place].loss(scales) for name, place in columns]
    sizes = [float(offered[name][place].bytes) for name, place in columns]
    losses += [table.drops[block] * (scales or {}).get("drop", 1.0) for block in drops]
    sizes += [0.0] * len(drops)
    entries = _rows(table, columns, drops)
    shape = (len(table.layers), len(sizes))
    ones = coo_array((np.ones(len(entries)), tuple(zip(*entries, strict=True))), shape=shape)
    size, rise = max(1.0, max(sizes)), max(1e-30, max(losses))  # scaled: the solver's tolerances are absolute
    limits = [LinearConstraint(ones, 1, 1), LinearConstraint(np.array([sizes]) / size, -np.inf, budget / size)]
    if same := _alike(table, columns, offered):
        entries = [(row, column) for row, found in enumerate(same) for column in found]
        values = [sign for found in same for sign in found.values()]
        matrix = coo_array((values, tuple(zip(*entries, strict=True))), shape=(len(same), len(sizes)))
        limits.append(LinearConstraint(matrix, 0, 0))
    for stack, blocks in droppable(table).items():
        if drops:
            row = [0.0] * len(columns) + [float(one in blocks) for one in drops]
            limits.append(LinearConstraint(np.array([row]), -np.inf, most_dropped(table, stack)))
    result: Any = milp(
        np.array(losses) / rise, constraints=limits, integrality=np.ones(len(sizes)), bounds=Bounds(0, 1),
        options={"time_limit": SECONDS, "mip_rel_gap": GAP},
    )  # fmt: skip
    if result.x is None:
        raise BudgetError(f"no choice of {budget:,} bytes was found: {result.message}")
    taken = result.x > 0.5
    found = {name: place for (name, place), yes in zip(columns, taken[: len(columns)], strict=True) if yes}
    return found | {block: int(yes) for block, yes in zip(drops, taken[len(columns) :], strict=True)}


def _alike(
    table: Survey, columns: list[tuple[str, int]], offered: Mapping[str, list[Option]]
) -> list[dict[int, float]]:
    """Equations by which the layers of a feed-forward lose the same share of units: columns with their signs."""
    by_share: dict[tuple[str, float], list[int]] = {}
    for column, (name, place) in enumerate(columns):
        if (share := offered[name][place].settings.get("width")) is not None:
            by_share.setdefault((name, share), []).append(column)
    found = []
    for units in table.widths:
        for name in units.members:
            for share, _ in units.steps:
                own, first = by_share.get((name, share), []), by_share.get((units.name, share), [])
                if name != units.name and own:
                    found.append({**dict.fromkeys(own, 1.0), **dict.fromkeys(first, -1.0)})
    return found


def _rows(table: Survey, columns: list[tuple[str, int]], drops: list[str]) -> list[tuple[int, int]]:
    """Where a layer's equation has a one: at each of its options, and at the dropping of its block."""
    places = {one.name: row for row, one in enumerate(table.layers)}
    found = [(places[name], column) for column, (name, _) in enumerate(columns)]
    numbers = {block: len(columns) + number for number, block in enumerate(drops)}
    return found + [(row, numbers[one.block]) for row, one in enumerate(table.layers) if one.block in numbers]
