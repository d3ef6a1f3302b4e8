"""The block types of ggml that llama.cpp's files store matrices in: what a code stands for, and its place in the bytes.

A row is cut into blocks. A weight is scale · levels[code] + minimum, where scale and minimum are one float16 a block,
or that float16 times a small whole number a sub-block (the K types and IQ4_XS). Every product has at most 24 bits, so
that float32 holds it exactly, in whatever order it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pocketlm.errors import RecipeError
from pocketlm.model.ggml_layout import Field, Half, Pairs, Planes, SixBits
from pocketlm.tables import did_you_mean


@dataclass(frozen=True)
class BlockType:
    """A type. number: that of ggml, as a file has it. length: weights a block. sub: weights that share a scale.

    levels: what codes stand for, ascending. minimum: 0 without one, 1 where it is added, -1 where it is taken off.
    scale_range, minimum_range: least and greatest whole number that scales a sub-block; None where it has none.
    layout: its bytes, of the parts "codes", "scales", "minima", "sub_scales" and "sub_minima".
    """

    name: str
    number: int
    length: int
    sub: int
    levels: tuple[int, ...]
    layout: tuple[Field, ...]
    minimum: int = 0
    scale_range: tuple[int, int] | None = None
    minimum_range: tuple[int, int] | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """How many values of each part a block has."""
        subs = self.length // self.sub
        found = {"codes": self.length, "scales": 1}
        found |= {"minima": 1} if self.minimum else {}
        found |= {"sub_scales": subs} if self.scale_range else {}
        return found | ({"sub_minima": subs} if self.minimum_range else {})

    @property
    def size_bytes(self) -> int:
        """Bytes of a block."""
        return sum(one.size(self.counts) for one in self.layout)

    @property
    def bits_per_weight(self) -> float:
        """Bits a weight takes, scales included."""
        return 8 * self.size_bytes / self.length

    @property
    def even(self) -> bool:
        """Whether levels are whole numbers without a gap."""
        return len(self.levels) == self.levels[-1] - self.levels[0] + 1


# The levels of IQ4_NL and IQ4_XS, closer together near 0 where most weights are.
UNEVEN = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

_SCALE, _MINIMUM = Half("scales"), Half("minima")
_NIBBLES = Planes("codes", 4, 32)
_FIFTHS = Planes("codes", 1, 8, shift=4)
_SIX = SixBits("sub_scales", "sub_minima")


def _levels(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


_ALL = (
    BlockType("Q4_0", 2, 32, 32, _levels(-8, 7), (_SCALE, _NIBBLES)),
    BlockType("Q4_1", 3, 32, 32, _levels(0, 15), (_SCALE, _MINIMUM, _NIBBLES), 1),
    BlockType("Q5_0", 6, 32, 32, _levels(-16, 15), (_SCALE, _FIFTHS, _NIBBLES)),
    BlockType("Q5_1", 7, 32, 32, _levels(0, 31), (_SCALE, _MINIMUM, _FIFTHS, _NIBBLES), 1),
    # -128 is left out, as the products of some processors cannot negate it
    BlockType("Q8_0", 8, 32, 32, _levels(-127, 127), (_SCALE, Planes("codes", 8, 1, bias=-127))),
    BlockType("IQ4_NL", 20, 32, 32, UNEVEN, (_SCALE, _NIBBLES)),
    BlockType(
        "Q2_K", 10, 256, 16, _levels(0, 3),
        (Pairs("sub_scales", "sub_minima"), Planes("codes", 2, 128), _SCALE, _MINIMUM), -1, (0, 15), (0, 15),
    ),
    BlockType(
        "Q3_K", 11, 256, 16, _levels(-4, 3),
        (Planes("codes", 1, 256, shift=2), Planes("codes", 2, 128), Planes("sub_scales", 4, 16, bias=32),
         Planes("sub_scales", 2, 16, shift=4, bias=32), _SCALE), 0, (-32, 31),
    ),
    BlockType(
        "Q4_K", 12, 256, 32, _levels(0, 15), (_SCALE, _MINIMUM, _SIX, Planes("codes", 4, 64)), -1, (0, 63), (0, 63)
    ),
    BlockType(
        "Q5_K", 13, 256, 32, _levels(0, 31),
        (_SCALE, _MINIMUM, _SIX, Planes("codes", 1, 256, shift=4), Planes("codes", 4, 64)), -1, (0, 63), (0, 63),
    ),
    BlockType(
        "Q6_K", 14, 256, 16, _levels(-32, 31),
        (Planes("codes", 4, 128), Planes("codes", 2, 128, shift=4), Planes("sub_scales", 8, 1), _SCALE), 0, (-128, 127),
    ),
    BlockType(
        "IQ4_XS", 23, 256, 32, UNEVEN,
        (_SCALE, Planes("sub_scales", 2, 4, shift=4, bias=32), Planes("sub_scales", 4, 2, bias=32), _NIBBLES),
        0, (-32, 31),
    ),
)  # fmt: skip

BLOCK_TYPES: Mapping[str, BlockType] = MappingProxyType({one.name: one for one in _ALL})


def block_type(name: object) -> BlockType:
    """The type of this name. Raises RecipeError, naming the nearest."""
    if not isinstance(name, str) or name not in BLOCK_TYPES:
        names = list(BLOCK_TYPES)
        raise RecipeError(f"type {name!r}: is no block type; there is {', '.join(names)}.{did_you_mean(name, names)}")
    return BLOCK_TYPES[name]


def fitting(columns: int) -> list[str]:
    """Names of the types whose blocks divide so many columns."""
    return [name for name, one in BLOCK_TYPES.items() if columns % one.length == 0]


def check_width(kind: BlockType, columns: int, layer: str) -> None:
    """Raises RecipeError where the type's block does not divide the layer's width, naming those that do."""
    if columns % kind.length:
        can = ", ".join(fitting(columns))
        raise RecipeError(
            f"layer {layer}: {kind.name} has blocks of {kind.length} weights, which do not divide its width of "
            f"{columns}; " + (f"those that do: {can}" if can else "no type's do, so exclude it: it stays F16")
        )
