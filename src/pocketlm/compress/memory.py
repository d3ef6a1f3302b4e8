"""How much memory a compression will take, worked out before it begins.

Peak ≈ weights (twice, 4 bytes each: the model, and all that passes put in its place) + one block's moments (4 · in²
bytes a distinct input, and six times the widest for solving) + activations of the calibration tokens (4 bytes a
feature: at the widest stop of a block every token waits with three hidden states and that layer's input; or none of
them with `disk`, where one batch at a time is run). Passes that fit layers to what the uncompressed model gives hold
its hidden states, and what its layers read in one block, besides, on disk or not. Only the first term grows with
depth.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from pocketlm.errors import ModelError
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model
from pocketlm.units import format_size

# Interpreter, libraries and activations of one batch.
BASE_BYTES = 900_000_000
# Matrices of a layer's width squared that are there at once while it is solved.
SOLVING = 6


@dataclass(frozen=True)
class Needed:
    """Bytes a compression will take at its peak, and what of it is what."""

    weights: int
    moments: int
    hidden: int

    @property
    def total(self) -> int:
        """All of it, with the interpreter's own."""
        return self.weights + self.moments + self.hidden + BASE_BYTES


def needed(model: Model, tokens: int, on_disk: bool = False, paired: bool = False) -> Needed:
    """What compressing the model with so many calibration tokens takes; paired: beside the uncompressed model."""
    blocks: dict[str, list[LayerInfo]] = {}
    for layer in model.layers:
        if layer.block:
            blocks.setdefault(layer.block, []).append(layer)
    widths = max((_inputs(one) for one in blocks.values()), key=lambda one: sum(x**2 for x in one), default=[0])
    widest = max(widths)
    moments = 4 * sum(width**2 for width in widths) + SOLVING * 4 * widest**2
    hidden = 0 if on_disk else 4 * tokens * (3 * min(widths) + widest)
    if paired:
        hidden += 4 * tokens * (3 * min(widths) + sum(widths))
    return Needed(2 * 4 * sum(layer.parameters for layer in model.layers), moments, hidden)


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


def is_paired(step: object) -> bool:
    """Whether a pass follows the uncompressed model beside the one it changes."""
    return bool(
        getattr(step, "follows", False)
        or getattr(step, "correct", 0)
        or getattr(step, "tune_epochs", 0)
        or getattr(step, "update", "") == "sequential"
    )


def foresee(model: Model, tokens: int, on_disk: bool = False, paired: bool = False, limit: int | None = None) -> Needed:
    """What it takes. Raises ModelError, with the number, where that is more than `limit` or the machine has."""
    amount, there = needed(model, tokens, on_disk, paired), limit if limit is not None else available()
    # the model itself is loaded already: only the rest must still fit
    still = amount.total - amount.weights // 2
    if there is not None and still > there:
        how = "fewer --windows" if on_disk else "--disk FOLDER or fewer --windows"
        raise ModelError(
            f"model {model.spec.source}: compressing it needs about {format_size(still)} more memory (weights "
            f"{format_size(amount.weights // 2)}, moments {format_size(amount.moments)}, activations "
            f"{format_size(amount.hidden)}) and {format_size(there)} are free; {how}, or a larger machine, would do"
        )
    return amount
