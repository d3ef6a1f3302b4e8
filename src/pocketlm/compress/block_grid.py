"""Scales and minima of blocks of ggml's types, searched so that weighted squared errors are least; and codes on them.

A scale is tried that puts the largest weight on the outermost level, or somewhat within or beyond it; of each try the
scale (and minimum) by least squares for its codes counts, and the best of all is kept. Where sub-blocks have whole
numbers for scales, those are found in the same way from the sub-blocks' own: a scale's error costs Σ h · level² of its
sub-block. Every number is rounded as the file will hold it before the next is chosen by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pocketlm.model.block_weight import BlockWeight, sub_steps
from pocketlm.model.ggml_types import BlockType

# How many levels beyond the outermost one the largest weight may lie.
TRIES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
# Where both ends may be clipped: the share of it at the lower one.
SIDES = (0.0, 0.5, 1.0)
# Turns of codes and least squares after the search.
TURNS = 3
# Weights whose scales are searched together: they stay in the processor's cache through all tries.
CACHED = 1 << 16
LARGEST = 65504.0


@dataclass(frozen=True)
class BlockGrid:
    """Scales and minima as stored, in float32: (rows, blocks); of sub-blocks, whole numbers: (rows, sub-blocks)."""

    kind: BlockType
    scales: Tensor
    minima: Tensor | None = None
    sub_scales: Tensor | None = None
    sub_minima: Tensor | None = None

    @property
    def parts(self) -> dict[str, Tensor]:
        """Those that the type has."""
        found = {name: getattr(self, name) for name in ("scales", "minima", "sub_scales", "sub_minima")}
        return {name: one for name, one in found.items() if one is not None}

    def steps(self) -> tuple[Tensor, Tensor | None]:
        """Scale and minimum of every sub-block: (rows, sub-blocks)."""
        return sub_steps(self.kind, self.scales, self.minima, self.sub_scales, self.sub_minima)

    def codes(self, matrix: Tensor) -> Tensor:
        """The nearest codes of (rows, columns), as uint8."""
        scale, minimum = self.steps()
        parts = matrix.view(len(matrix), -1, self.kind.sub)
        return nearest(self.kind, parts, scale[..., None], _last(minimum)).flatten(1).to(torch.uint8)

    def weight(self, codes: Tensor) -> BlockWeight:
        """Codes on this grid as a weight."""
        types = {"scales": torch.float16, "minima": torch.float16}
        return BlockWeight(self.kind, codes, **{k: one.to(types.get(k, torch.int8)) for k, one in self.parts.items()})


def joined(grids: list[BlockGrid]) -> BlockGrid:
    """The grid of blocks that lie side by side."""
    return BlockGrid(grids[0].kind, **{k: torch.cat([one.parts[k] for one in grids], 1) for k in grids[0].parts})


def _last(values: Tensor | None) -> Tensor | None:
    return None if values is None else values[..., None]


def inverse(scale: Tensor) -> Tensor:
    """1 / scale, and 0 where that is 0: every code then stands for the same, and any does."""
    return torch.where(scale == 0, torch.zeros_like(scale), 1 / scale)


def middles(levels: tuple[int, ...]) -> Tensor:
    """Where between two neighbouring levels the nearer one changes."""
    values = torch.tensor(levels, dtype=torch.float32)
    return (values[1:] + values[:-1]) / 2


def nearest(kind: BlockType, values: Tensor, scale: Tensor, minimum: Tensor | None) -> Tensor:
    """Codes, as floats, of the levels nearest to values; scale and minimum broadcast to them."""
    scaled = (values if minimum is None else values - minimum) * inverse(scale)
    return _nearest(scaled, kind.levels, kind.even)


def _nearest(scaled: Tensor, levels: tuple[int, ...], even: bool) -> Tensor:
    if even:
        return scaled.round_().clamp_(levels[0], levels[-1]).sub_(levels[0])
    return torch.bucketize(scaled, middles(levels)).to(scaled.dtype)


def _at(codes: Tensor, levels: tuple[int, ...], even: bool) -> Tensor:
    """What codes stand for before scaling; even ones are changed in place."""
    return codes.add_(levels[0]) if even else torch.tensor(levels, dtype=torch.float32)[codes.int()]


def halved(values: Tensor) -> Tensor:
    """The nearest float16 numbers, in float32."""
    return values.clamp(-LARGEST, LARGEST).half().float()


def grid_for_blocks(matrix: Tensor, kind: BlockType, weights: Tensor) -> BlockGrid:
    """The grid of every block of (rows, columns), for squared errors that count by their columns' weights: (columns,).

    columns: a multiple of the type's block.
    """
    parts = matrix.view(len(matrix), -1, kind.sub)
    h = (weights / weights.mean().clamp(min=1e-30)).clamp(min=1e-6).view(1, -1, kind.sub)
    rows = max(1, CACHED // matrix.shape[1])
    found = [_grid(part, kind, h) for part in torch.split(parts, rows)]
    return BlockGrid(kind, **{k: torch.cat([one.parts[k] for one in found]) for k in found[0].parts})


def _grid(parts: Tensor, kind: BlockType, h: Tensor) -> BlockGrid:
    if not kind.minimum:
        scale = best_scale(parts, kind.levels, h)
        if kind.scale_range is None:
            return BlockGrid(kind, halved(scale))
        levels = _at(nearest(kind, parts, scale[..., None], None), kind.levels, kind.even)
        scales, subs = _whole(scale, (h * levels.square()).sum(-1), kind, kind.scale_range)
        return BlockGrid(kind, scales, sub_scales=subs)
    scale, minimum = _best_pair(parts, kind, h)
    if kind.scale_range is None or kind.minimum_range is None:
        scale = halved(scale)
        return BlockGrid(kind, scale, halved(_rest(parts, kind, h, scale, minimum)))
    codes = nearest(kind, parts, scale[..., None], minimum[..., None])
    scales, subs = _whole(scale, (h * codes.square()).sum(-1), kind, kind.scale_range)
    rounded, _ = sub_steps(kind, scales, None, subs, None)
    away = kind.minimum * _rest(parts, kind, h, rounded, minimum).clamp(max=0)
    minima, sub_minima = _whole(away, h.sum(-1).expand_as(away), kind, kind.minimum_range)
    return BlockGrid(kind, scales, minima, subs, sub_minima)


def _rest(parts: Tensor, kind: BlockType, h: Tensor, scale: Tensor, minimum: Tensor) -> Tensor:
    """The minimum by least squares, once the scale is rounded."""
    codes = nearest(kind, parts, scale[..., None], minimum[..., None])
    return (h * (parts - scale[..., None] * codes)).sum(-1) / h.sum(-1)


def _whole(values: Tensor, weights: Tensor, kind: BlockType, limits: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A number a block and a whole number a sub-block, whose products are near values (rows, sub-blocks)."""
    groups = (len(values), -1, kind.length // kind.sub)
    values = values.view(groups)
    found = halved(best_scale(values, tuple(range(limits[0], limits[1] + 1)), weights.reshape(groups)))
    whole = (values * inverse(found)[..., None]).round().clamp(*limits)
    return found, whole.flatten(1)


def best_scale(values: Tensor, levels: tuple[int, ...], h: Tensor) -> Tensor:
    """The scale (rows, groups) by which levels come nearest to values (rows, groups, many), errors weighted by h."""
    even = len(levels) == levels[-1] - levels[0] + 1
    half = len(levels) / 2 if levels[0] < 0 else len(levels) - 1
    extreme = values.gather(-1, values.abs().argmax(-1, keepdim=True))[..., 0]
    weighted, best = h * values, torch.zeros_like(extreme)
    gained = torch.zeros_like(extreme)

    def attempt(scale: Tensor) -> None:
        nonlocal best, gained
        at = _at(_nearest(values * inverse(scale)[..., None], levels, even), levels, even)
        along, size = (weighted * at).sum(-1), (h * at.square()).sum(-1)
        fitted = along * inverse(size)
        gain = along * fitted  # by how much the error is less than that of zeros
        better = gain > gained
        gained, best = torch.where(better, gain, gained), torch.where(better, fitted, best)

    for edge in {levels[0], levels[-1]} - {0}:
        for beyond in TRIES:
            attempt(extreme / edge / ((half + beyond) / half))
    for _ in range(TURNS):
        attempt(best)
    return best


def _best_pair(parts: Tensor, kind: BlockType, h: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and minimum (rows, sub-blocks) with the least weighted error; the minimum at most 0 where it is taken off.

    parts: (rows, sub-blocks, many).
    """
    low, high = parts.amin(-1), parts.amax(-1)
    if kind.minimum < 0:
        low, high = low.clamp(max=0), high.clamp(min=0)
    top, a, d = kind.levels[-1], h.sum(-1), (h * parts).sum(-1)
    best, lowest = (high - low) / top, low
    least = torch.full_like(low, float("inf"))

    def attempt(scale: Tensor, minimum: Tensor) -> None:
        nonlocal best, lowest, least
        codes = nearest(kind, parts, scale[..., None], minimum[..., None])
        hc = h * codes
        b, c, e = hc.sum(-1), (hc * codes).sum(-1), (hc * parts).sum(-1)
        determinant = a * c - b.square()
        sound = determinant > 1e-6 * a * c
        safe = torch.where(sound, determinant, torch.ones_like(determinant))
        found = torch.where(sound, (a * e - b * d) / safe, scale)
        offset = torch.where(sound, (c * d - b * e) / safe, minimum)
        if kind.minimum < 0:
            above = offset > 0
            found = torch.where(above, e * inverse(c), found)
            offset = torch.where(above, torch.zeros_like(offset), offset)
        # less what no choice changes
        loss = found * (found * c + 2 * offset * b - 2 * e) + offset * (offset * a - 2 * d)
        better = (loss < least) & (found >= 0)
        least, best = torch.where(better, loss, least), torch.where(better, found, best)
        lowest = torch.where(better, offset, lowest)

    for beyond in TRIES:
        scale = (high - low) / max(top + beyond, 1.0)
        for side in SIDES if beyond > 0 else SIDES[:1]:
            attempt(scale, low + side * beyond * scale)
    for _ in range(TURNS):
        attempt(best, lowest)
    return best, lowest
