"""Smaller shapes of a language model, cut out of it so that they have no more weights than there is room for.

A shallower one loses blocks, a narrower one heads and feed-forward units; where the embeddings alone take too much of
the room, the stream of hidden states is narrowed first (Muralidharan et al. 2024, arXiv:2407.14679, cut language models
along the same axes and heal them by distillation).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pocketlm.compress.depth import DropLayers
from pocketlm.compress.prune_structure import PruneStructure, block_parameters
from pocketlm.compress.removal import matrix_of
from pocketlm.compress.rounding import rounded
from pocketlm.compress.width import PruneWidth
from pocketlm.export.generator import WORD_BITS
from pocketlm.model.anatomy import stacks
from pocketlm.model.families import FAMILIES
from pocketlm.model.pretrained import Model
from pocketlm.recipe.recipe import Recipe

# Bytes of a float16 scale, and columns that share one.
SCALE, GROUP = 2, 64
# Of the blocks' weights, heads and units may lose so large a share; of one part of a block a little more.
MOST_CUT, MOST_OF_PART = 0.65, 0.85
# Blocks that stay, the first and the last; and the share of the hidden width that stays.
LEAST_BLOCKS, LEAST_WIDTH = 2, 0.25
# What the hidden width is narrowed to leaves room for this share of the blocks.
KEPT_WHEN_NARROWED = 0.6
# Blocks whose absence is tried one by one; more are weighed by how much they change what they read.
FEW_BLOCKS = 12
MULTIPLE = 8
# Rows of a matrix that are enough to see how well its codes compress.
ROWS = 512


@dataclass(frozen=True)
class Sizes:
    """Weights of matrices: of all blocks, and of the embeddings and the head. vectors: of norms and biases.

    Vectors are counted as they are whatever is cut: they are few. blocks: how many there are. width: of hidden states.
    """

    inside: int
    outside: int
    vectors: int
    blocks: int
    width: int

    @classmethod
    def of(cls, model: Model) -> Sizes:
        """Of a causal language model; a matrix that two layers share counts once."""
        again = {name for group in model.spec.ties for name in group[1:]}
        outside = sum(one.parameters for one in model.layers if not one.block and one.name not in again)
        inside = block_parameters(model)
        width = int(model.module.get_input_embeddings().weight.shape[1])
        return cls(inside, outside, model.parameters - inside - outside, len(stacks(model.module)[0]), width)

    def bytes(self, bits: int, share: float = 1.0, narrowed: float = 1.0) -> int:
        """What they take in a Pocket at most. share: of the blocks that is left; narrowed: of the hidden width."""
        inside, outside = self.inside * share * narrowed, self.outside * narrowed
        coded = inside * bits / 8 + outside * WORD_BITS.get(bits, bits) / 8
        return math.ceil(coded + (inside + outside) * SCALE / GROUP + 4 * self.vectors)

    def share_within(self, room: float, bits: int, narrowed: float = 1.0) -> float:
        """The share of the blocks that fits into so many bytes; below 0 where all else does not."""
        rest = self.bytes(bits, 0.0, narrowed)
        return (room - rest) / (self.bytes(bits, 1.0, narrowed) - rest)


def code_ratio(model: Model, bits: int) -> float:
    """What a file's compression leaves of codes of so many bits, about: the larger share of a block's and of words'."""
    known = [one for one in model.layers if one.block] or model.layers
    largest = max(known, key=lambda one: (one.parameters, one.name))
    matrix = matrix_of(model.module.get_submodule(largest.name), largest.name)
    words = model.module.get_input_embeddings().weight.detach()
    return max(_code_ratio(matrix, bits), _code_ratio(words, WORD_BITS.get(bits, bits)))


def _code_ratio(matrix: Tensor, bits: int) -> float:
    """Of its first rows. Codes of more than 4 bits lie in bytes."""
    rows = matrix[:ROWS].float()
    codes = rounded(rows, bits, min(GROUP, rows.shape[1]), True, True)[0].codes
    flat = codes.reshape(-1).numpy().astype(np.uint8)
    stored = flat if bits > 4 else flat[: len(flat) // 2 * 2 : 2] | (flat[1::2] << 4)
    return min(1.0, len(zlib.compress(stored.tobytes(), 9)) / (len(flat) * bits / 8) + 0.01)


def least_bytes(model: Model, bits: int) -> int:
    """What the smallest shape that is made takes."""
    sizes = Sizes.of(model)
    return sizes.bytes(bits, _least_share(sizes), _widths(model, sizes)[-1])


def shapes(model: Model, room: float, bits: int) -> list[Recipe]:
    """Ways to cut the model so that its matrices in so many bits fit into `room` bytes; none where nothing does.

    Fewer blocks, narrower ones, and some of both, after the hidden width where that has to be narrowed.
    """
    sizes = Sizes.of(model)
    narrowed = _narrowed(model, sizes, room, bits)
    if narrowed is None:
        return []
    first: list[Any] = [] if narrowed == 1 else [PruneWidth(1 - narrowed, MULTIPLE)]
    name = "" if narrowed == 1 else f"of width {round(sizes.width * narrowed)}, "
    share = sizes.share_within(room, bits, narrowed)
    if share >= 1:
        return [Recipe(first, name.strip(", "))] if first else []
    by = "loss" if sizes.blocks <= FEW_BLOCKS else "influence"
    kept = math.floor(share * sizes.blocks)
    found = []
    if kept >= LEAST_BLOCKS:
        found.append(Recipe([*first, DropLayers(sizes.blocks - kept, by=by)], f"{name}{kept} of {sizes.blocks} blocks"))
    if 1 - share <= MOST_CUT:
        found.append(Recipe([*first, _narrower(1 - share)], f"{name}narrower blocks"))
    half = max(LEAST_BLOCKS, round((1 + share) / 2 * sizes.blocks))
    left = share * sizes.blocks / half
    if half < sizes.blocks and 0 < 1 - left <= MOST_CUT:
        steps = [*first, DropLayers(sizes.blocks - half, by=by), _narrower(1 - left)]
        found.append(Recipe(steps, f"{name}{half} of {sizes.blocks} blocks, narrower"))
    return found


def _narrower(share: float) -> PruneStructure:
    return PruneStructure(share, multiple=MULTIPLE, most=max(MOST_OF_PART, share))


def _least_share(sizes: Sizes) -> float:
    return min(1 - MOST_CUT, LEAST_BLOCKS / sizes.blocks)


def _widths(model: Model, sizes: Sizes) -> list[float]:
    """Shares of the hidden width that can be kept, from all of it down."""
    if FAMILIES[model.spec.model_type].width is None:
        return [1.0]
    least = max(MULTIPLE, math.ceil(LEAST_WIDTH * sizes.width / MULTIPLE) * MULTIPLE)
    return [1.0, *(width / sizes.width for width in range(sizes.width - MULTIPLE, least - 1, -MULTIPLE))]


def _narrowed(model: Model, sizes: Sizes, room: float, bits: int) -> float | None:
    """The largest share of the hidden width beside which enough of the blocks fits, or None where too little does."""
    widths = _widths(model, sizes)
    for narrowed in widths:
        enough = 1 - MOST_CUT if narrowed == 1 else KEPT_WHEN_NARROWED
        if sizes.share_within(room, bits, narrowed) >= enough:
            return narrowed
    return widths[-1] if sizes.share_within(room, bits, widths[-1]) >= _least_share(sizes) else None
