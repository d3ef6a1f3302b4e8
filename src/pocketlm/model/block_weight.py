"""A weight held in blocks of one of ggml's types: what it stands for here is what llama.cpp will compute with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.model.ggml_layout import pack_fields, unpack_fields
from pocketlm.model.ggml_types import BlockType, block_type


class BlockWeight(nn.Module):
    """levels[code] · scale + minimum, in blocks of a type of `ggml_types`, bit for bit as ggml decodes it.

    codes: uint8 (rows, columns). scales, minima: float16 (rows, blocks). sub_scales, sub_minima: int8
    (rows, sub-blocks), whole numbers that those are multiplied by. Those that the type has not are None.
    """

    codes: Tensor
    scales: Tensor
    minima: Tensor | None
    sub_scales: Tensor | None
    sub_minima: Tensor | None

    def __init__(
        self, kind: BlockType, codes: Tensor, scales: Tensor, minima: Tensor | None = None,
        sub_scales: Tensor | None = None, sub_minima: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kind = kind
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("minima", minima)
        self.register_buffer("sub_scales", sub_scales)
        self.register_buffer("sub_minima", sub_minima)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.codes.shape[0], self.codes.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The float32 matrix, or only these of its rows."""
        parts = (self.codes, self.scales, self.minima, self.sub_scales, self.sub_minima)
        codes, *rest = parts if rows is None else (None if one is None else one[rows] for one in parts)
        assert codes is not None
        scale, minimum = sub_steps(self.kind, *rest)  # type: ignore[arg-type]
        if self.kind.even:
            values = codes.float() + self.kind.levels[0]
        else:
            values = torch.tensor(self.kind.levels, dtype=torch.float32)[codes.int()]
        values = values.view(len(codes), -1, self.kind.sub).mul_(scale[..., None])
        return (values if minimum is None else values.add_(minimum[..., None])).flatten(1)

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ."""
        return F.linear(inputs, self.matrix().to(inputs.dtype))

    def packed(self) -> NDArray[np.uint8]:
        """(rows, bytes): the blocks of each row as ggml stores them."""
        rows = self.shape[0]
        parts = {name: getattr(self, name).cpu().numpy().reshape(-1, count) for name, count in self.kind.counts.items()}
        return pack_fields(self.kind.layout, parts).reshape(rows, -1)

    @classmethod
    def unpacked(cls, kind: BlockType, data: NDArray[np.uint8]) -> BlockWeight:
        """The weight whose `packed()` is `data`, (rows, bytes)."""
        found = unpack_fields(kind.layout, np.ascontiguousarray(data).reshape(-1, kind.size_bytes), kind.counts)
        types = {"codes": np.uint8, "sub_scales": np.int8, "sub_minima": np.int8}
        parts = {
            name: torch.from_numpy(one.reshape(len(data), -1).astype(types.get(name, np.float16)))
            for name, one in found.items()
        }
        return cls(kind, **parts)

    def settings(self) -> dict[str, Any]:
        """Kind, shape and type."""
        return {"kind": "blocks", "shape": list(self.shape), "type": self.kind.name}

    @classmethod
    def empty(cls, shape: tuple[int, int], type: str) -> BlockWeight:
        """A matrix still to be filled."""
        kind = block_type(type)
        blocks = shape[0] * shape[1] // kind.length
        return cls.unpacked(kind, np.zeros((shape[0], blocks // shape[0] * kind.size_bytes), np.uint8))


def sub_steps(
    kind: BlockType, scales: Tensor, minima: Tensor | None, sub_scales: Tensor | None, sub_minima: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Scale and minimum of every sub-block in float32, (rows, sub-blocks) each; None without a minimum.

    scales, minima: a block each. sub_scales, sub_minima: a sub-block each.
    """
    times = kind.length // kind.sub
    scale = _spread(scales, sub_scales, times)
    return scale, None if minima is None else _spread(minima, sub_minima, times) * kind.minimum


def _spread(values: Tensor, subs: Tensor | None, times: int) -> Tensor:
    """A value a block as one a sub-block, of which there are `times`, times the sub-block's own number."""
    spread = values.float() if times == 1 else values.float().repeat_interleave(times, 1)
    return spread if subs is None else spread * subs.float()
