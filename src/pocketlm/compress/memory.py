"""How much memory a compression will take, worked out before it begins.

Peak ≈ weights (twice: the model and the copy that is changed, 4 bytes a weight) + one block's moments (4 · in² bytes a
distinct input, and as much again three times over for solving) + hidden states of the calibration tokens (twice, 4
bytes a feature, or none of them with `disk`). Only the first term grows with depth.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pocketlm.errors import ModelError
from pocketlm.model.pretrained import Model
from pocketlm.units import format_size

# Interpreter, libraries and activations of one batch.
BASE_BYTES = 900_000_000


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


def needed(model: Model, tokens: int, on_disk: bool = False) -> Needed:
    """What compressing the model with so many calibration tokens takes."""
    blocks: dict[str, set[int]] = {}
    for layer in model.layers:
        if layer.block:
            blocks.setdefault(layer.block, set()).add(layer.shape[1])
    widths = max(blocks.values(), key=lambda one: sum(width**2 for width in one), default={0})
    widest = max(widths)
    moments = 4 * sum(width**2 for width in widths) + 3 * 4 * widest**2
    hidden = 0 if on_disk else 2 * 4 * tokens * min(widths)
    return Needed(2 * 4 * sum(layer.parameters for layer in model.layers), moments, hidden)


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


def foresee(model: Model, tokens: int, on_disk: bool = False, limit: int | None = None) -> Needed:
    """What it takes. Raises ModelError, with the number, where that is more than `limit` or the machine has."""
    amount, there = needed(model, tokens, on_disk), limit if limit is not None else available()
    # the model itself is loaded already: only the rest must still fit
    still = amount.total - amount.weights // 2
    if there is not None and still > there:
        how = "fewer --windows" if on_disk else "--disk FOLDER or fewer --windows"
        raise ModelError(
            f"model {model.spec.source}: compressing it needs about {format_size(still)} more memory (weights "
            f"{format_size(amount.weights // 2)}, moments {format_size(amount.moments)}, hidden states "
            f"{format_size(amount.hidden)}) and {format_size(there)} are free; {how}, or a larger machine, would do"
        )
    return amount
