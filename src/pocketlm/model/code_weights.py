"""Weights held as codes, a whole number each: on a uniform grid, as multiples of steps, by a codebook.

Each is a form as `model.weights` has them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _spread(values: Tensor, group_size: int, columns: int) -> Tensor:
    """A value a group as a value a column: (rows, groups) to (rows, columns), or as it is where it broadcasts."""
    return values if values.shape[1] == 1 else values.repeat_interleave(group_size, 1)[:, :columns]


class GridWeight(nn.Module):
    """Uniform codes: (code - zero) · scale, one scale (and zero) a group of `group_size` columns of a row.

    codes: uint8 (rows, columns), below 2^bits. scales: float16 (rows or 1, groups). zeros: the code of 0, as uint8
    or, where it need not be a whole number, float16, of the scales' shape; absent, it is 2^(bits-1).
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor | None

    def __init__(self, codes: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, group_size: int) -> None:
        super().__init__()
        self.bits, self.group_size = bits, group_size
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.codes.shape[0], self.codes.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """(codes - zeros) · scales."""
        codes, scales, zeros = self.codes, self.scales, self.zeros
        if rows is not None:
            codes = codes[rows]
            scales = scales[rows] if len(scales) > 1 else scales
            zeros = zeros[rows] if zeros is not None and len(zeros) > 1 else zeros
        columns = codes.shape[1]
        centre = 2 ** (self.bits - 1) if zeros is None else _spread(zeros.float(), self.group_size, columns)
        return (codes.float() - centre) * _spread(scales.float(), self.group_size, columns)

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ."""
        return F.linear(inputs, self.matrix().to(inputs.dtype))

    def settings(self) -> dict[str, Any]:
        """Kind, shape, bits, group size, and of what the zeros are."""
        return {
            "kind": "grid", "shape": list(self.shape), "bits": self.bits, "group_size": self.group_size,
            "scales": list(self.scales.shape), "zeros": None if self.zeros is None else str(self.zeros.dtype)[6:],
        }  # fmt: skip

    @classmethod
    def empty(
        cls, shape: tuple[int, int], bits: int, group_size: int, scales: tuple[int, int], zeros: str | None
    ) -> GridWeight:
        """A matrix still to be filled."""
        offsets = None if zeros is None else torch.zeros(scales, dtype=getattr(torch, zeros))
        return cls(
            torch.zeros(shape, dtype=torch.uint8), torch.ones(scales, dtype=torch.float16), offsets, bits, group_size
        )


class StepWeight(nn.Module):
    """Whole multiples of a step of its own for every row and column: codes · row_steps · column_steps.

    codes: int16 (rows, columns), any range: made to be stored by entropy coding, which charges a code by how rare
    it is. row_steps: float16 (rows,). column_steps: float16 (columns,).
    """

    codes: Tensor
    row_steps: Tensor
    column_steps: Tensor

    def __init__(self, codes: Tensor, row_steps: Tensor, column_steps: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("row_steps", row_steps)
        self.register_buffer("column_steps", column_steps)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.codes.shape[0], self.codes.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """Codes · row_steps · column_steps."""
        codes = self.codes if rows is None else self.codes[rows]
        steps = self.row_steps if rows is None else self.row_steps[rows]
        return codes.float() * steps.float()[:, None] * self.column_steps.float()

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ, with the steps on inputs and outputs: where they learn, no gradient of W itself is needed."""
        kind = inputs.dtype
        out = F.linear(inputs * self.column_steps.to(kind), self.codes.to(kind))
        return out * self.row_steps.to(kind)

    def settings(self) -> dict[str, Any]:
        """Kind and shape."""
        return {"kind": "steps", "shape": list(self.shape)}

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> StepWeight:
        """A matrix still to be filled."""
        half = torch.float16
        return cls(
            torch.zeros(shape, dtype=torch.int16), torch.ones(shape[0], dtype=half), torch.ones(shape[1], dtype=half)
        )


class CodebookWeight(nn.Module):
    """Codes that look up levels: levels[code] · scale, one scale a group of `group_size` columns of a row.

    codes: uint8 (rows, columns). levels: float16 (1 or rows, 2^bits). scales: float16 (rows or 1, groups).
    """

    codes: Tensor
    levels: Tensor
    scales: Tensor

    def __init__(self, codes: Tensor, levels: Tensor, scales: Tensor, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.register_buffer("codes", codes)
        self.register_buffer("levels", levels)
        self.register_buffer("scales", scales)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.codes.shape[0], self.codes.shape[1]

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return (self.levels.shape[1] - 1).bit_length()

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """levels[codes] · scales."""
        codes, scales, levels = self.codes, self.scales, self.levels.float()
        if rows is not None:
            codes = codes[rows]
            scales = scales[rows] if len(scales) > 1 else scales
            levels = levels[rows] if len(levels) > 1 else levels
        values = levels.expand(codes.shape[0], -1).gather(1, codes.long())
        return values * _spread(scales.float(), self.group_size, codes.shape[1])

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ."""
        return F.linear(inputs, self.matrix().to(inputs.dtype))

    def settings(self) -> dict[str, Any]:
        """Kind, shape, group size, shapes of levels and scales."""
        return {
            "kind": "codebook", "shape": list(self.shape), "group_size": self.group_size,
            "levels": list(self.levels.shape), "scales": list(self.scales.shape),
        }  # fmt: skip

    @classmethod
    def empty(
        cls, shape: tuple[int, int], group_size: int, levels: tuple[int, int], scales: tuple[int, int]
    ) -> CodebookWeight:
        """A matrix still to be filled."""
        half = torch.float16
        return cls(
            torch.zeros(shape, dtype=torch.uint8), torch.zeros(levels, dtype=half), torch.ones(scales, dtype=half),
            group_size,
        )  # fmt: skip
