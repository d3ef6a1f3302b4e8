"""Calibration as single rows that may be put together anew: training shuffles what calibration sorted by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pocketlm.compress.calibration import Batch, Calibration
from pocketlm.errors import CalibrationError


@dataclass(frozen=True)
class Row:
    """One sequence: keyword arguments without the batch's dimension and without padding. label: its class, if any.

    pad: the token that fills it up beside longer ones, by which a decoder that classifies knows where it ends.
    """

    arrays: Mapping[str, Tensor]
    label: int | None = None
    pad: int = 0

    @property
    def length(self) -> int:
        """Tokens of the main input."""
        return len(next(iter(self.arrays.values())))


def rows_of(calibration: Calibration, labels: Sequence[Any] = (), pad: int = 0) -> list[Row]:
    """Every sequence of the calibration. labels: classes, a sequence of them for each batch. pad: the model's token.

    Raises CalibrationError where there are not as many labels as sequences.
    """
    if labels and [len(one) for one in labels] != [_count(batch) for batch in calibration.batches]:
        raise CalibrationError(f"{calibration.source}: needs one label a sequence, batch by batch")
    rows = []
    for number, batch in enumerate(calibration.batches):
        for place in range(_count(batch)):
            label = int(labels[number][place]) if labels else None
            rows.append(Row(_trimmed({name: values[place] for name, values in batch.items()}), label, pad))
    return rows


def _count(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _trimmed(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The arrays of one sequence without its padding, on whichever side that is."""
    found = {}
    for name, values in arrays.items():
        mask = arrays.get("decoder_attention_mask" if name.startswith("decoder_") else "attention_mask")
        own = mask is not None and values.ndim == 1 and len(values) == len(mask)
        if not name.startswith("decoder_") and "input_features" in arrays:
            own = False  # features of sound are of one length, and their mask goes with them
        found[name] = values[mask.bool()] if own and mask is not None else values
    return found


def collate(rows: Sequence[Row]) -> dict[str, Tensor]:
    """One batch of the rows, filled up on the right: ids of tokens with the padding token, all else with 0."""
    batch = {}
    for name in rows[0].arrays:
        parts = [row.arrays[name] for row in rows]
        if parts[0].ndim == 1:
            longest = max(len(part) for part in parts)
            fill = rows[0].pad if name in ("input_ids", "decoder_input_ids") else 0
            parts = [F.pad(part, (0, longest - len(part)), value=fill) for part in parts]
        batch[name] = torch.stack(parts)
    return batch


def held_out(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places to train on and places to judge by, drawn at random: at least one of each where there are two."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed + 7919)).tolist()
    apart = min(max(1, round(share * count)), max(1, count - 1))
    return sorted(order[apart:]) or sorted(order), sorted(order[:apart])
