"""How much memory a compression will take, worked out before it begins.

Peak ≈ weights (twice, 4 bytes each: the model, and all that passes put in its place) + one block's moments (4 · in²
bytes a distinct input, and six times the widest for solving) + activations of the calibration tokens (4 bytes a
feature: at the widest stop of a block every token waits with three hidden states and that layer's input; or none of
them with `disk`, where one batch at a time is run). Passes that fit layers to what the uncompressed model gives hold
its hidden states, and what its layers read in one block, besides, where the others are. Passes that go backward through
the whole model hold what its layers read and put out for some tokens (4 bytes a feature, a quarter more for what lies
between, three times the logits), those that keep sums of all layers 4 · (in² + out²) each, and those that train a
gradient and two moments of every weight; this at another time than the block's activations. Of a pass that only goes
forward the first term alone grows with depth.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.errors import ModelError
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model
from pocketlm.units import format_size

# Interpreter, libraries and activations of one batch.
BASE_BYTES = 900_000_000
# Matrices of a layer's width squared that are there at once while it is solved.
SOLVING = 6


# Tokens of a backward pass that measures: see `gradients.CHUNK` and `curvature.SEQUENCES`.
MEASURED = 1024
# Bytes a weight that training takes by what it trains: gradient and two moments; the matrix of codes and its gradient.
TRAINED = {"all": 12, "scales": 8, "norms": 0}


@dataclass(frozen=True)
class Work:
    """What a recipe does besides measuring inputs block by block.

    paired: it follows the uncompressed model. backward: tokens it goes back through the whole model for at a time.
    sums: it keeps products of what all layers read and of their gradients. trained: bytes a weight that training takes.
    """

    paired: bool = False
    backward: int = 0
    sums: bool = False
    trained: int = 0


# Of a search for a size: any pass may be in its recipe.
SEARCH = Work(paired=True, backward=MEASURED, sums=True)


@dataclass(frozen=True)
class Needed:
    """Bytes a compression will take at its peak, and what of it is what. backward: passes through the whole model."""

    weights: int
    moments: int
    hidden: int
    backward: int = 0

    @property
    def total(self) -> int:
        """All of it, with the interpreter's own."""
        return self.weights + max(self.moments + self.hidden, self.backward) + BASE_BYTES


def needed(model: Model, tokens: int, on_disk: bool = False, work: Work | None = None) -> Needed:
    """What compressing the model with so many calibration tokens takes."""
    work = work or Work()
    blocks: dict[str, list[LayerInfo]] = {}
    for layer in model.layers:
        if layer.block:
            blocks.setdefault(layer.block, []).append(layer)
    widths = max((_inputs(one) for one in blocks.values()), key=lambda one: sum(x**2 for x in one), default=[0])
    widest = max(widths)
    moments = 4 * sum(width**2 for width in widths) + SOLVING * 4 * widest**2
    hidden = 0 if on_disk else 4 * tokens * (3 * min(widths) + widest)
    if work.paired and not on_disk:
        hidden += 4 * tokens * (3 * min(widths) + sum(widths))
    weights = sum(layer.parameters for layer in model.layers)
    return Needed(2 * 4 * weights, moments, hidden, _backward(model, work) + work.trained * weights)


def _backward(model: Model, work: Work) -> int:
    """Bytes of activations on the way back, and of sums that are kept of all layers."""
    inside = [layer.shape for layer in model.layers if layer.block]
    logits = 0 if (head := model.module.get_output_embeddings()) is None else int(head.weight.shape[0])
    states = work.backward * (5 * sum(map(sum, inside)) // 4 + 3 * logits)
    sums = sum(rows**2 + columns**2 for rows, columns in inside) if work.sums else 0
    return 4 * (states + sums)


def _inputs(layers: list[LayerInfo]) -> list[int]:
    """Widths of the distinct inputs of a block's layers: of one module's layers of one width, up to three share one."""
    groups = Counter((layer.name.rpartition(".")[0], layer.shape[1]) for layer in layers)
    return [width for (_, width), count in groups.items() for _ in range(-(-count // 3))]


def available() -> int | None:
    """Bytes that this machine can still give, where it says so."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file}
        return found["MemAvailable"]
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def work_of(steps: Sequence[Any], length: int) -> Work:
    """What passes do, the most of each; length: tokens of the longest row of calibration."""
    found = [_work_of(step, length) for step in steps]
    return Work(
        any(one.paired for one in found), max((one.backward for one in found), default=0),
        any(one.sums for one in found), max((one.trained for one in found), default=0),
    )  # fmt: skip


def _work_of(step: Any, length: int) -> Work:
    said = vars(step)
    corrects = said.get("correct") and said.get("update", "sequential") == "sequential"
    paired = bool(corrects or said.get("tune_epochs"))
    healing = {"batch": 8, "train": "all", **said["heal"]} if "heal" in said else said
    if "scale_rate" in said or "heal" in said:
        # scales stand before and after a product, so that twice as much waits for the way back
        tokens = healing["batch"] * length * (2 if healing["train"] == "scales" else 1)
        return Work(paired, tokens, False, TRAINED[healing["train"]])
    sums = said.get("method") == "kronecker" or said.get("allocation") == "loss"
    measures = sums or said.get("score") == "fisher" or said.get("method") == "fisher" or "gradients" in said
    return Work(paired, MEASURED if measures or said.get("allocation") == "sensitivity" else 0, sums)


def foresee(
    model: Model, tokens: int, on_disk: bool = False, work: Work | None = None, limit: int | None = None
) -> Needed:
    """What it takes. Raises ModelError, with the number, where that is more than `limit` or the machine has."""
    amount, there = needed(model, tokens, on_disk, work), limit if limit is not None else available()
    # the model itself is loaded already: only the rest must still fit
    still = amount.total - amount.weights // 2
    if there is not None and still > there:
        how = "fewer --windows" if on_disk else "--disk FOLDER or fewer --windows"
        back = f", the way back {format_size(amount.backward)}" if amount.backward else ""
        raise ModelError(
            f"model {model.spec.source}: compressing it needs about {format_size(still)} more memory (weights "
            f"{format_size(amount.weights // 2)}, moments {format_size(amount.moments)}, activations "
            f"{format_size(amount.hidden)}{back}) and {format_size(there)} are free; {how}, or a larger machine, "
            "would do"
        )
    return amount
