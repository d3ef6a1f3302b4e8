"""How a weight matrix is held: plain, on a grid, in blocks of ggml's, by a codebook, as a product, as a sum.

Every form is a small module whose buffers are what is stored, with `matrix()` giving the float32 matrix they
stand for, `times(x)` giving x Wᵀ, and `settings()` the plain data that rebuild it before its buffers are filled.
Forms nest: a product's factors may lie on grids, a sum's parts too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.pivots import PivotWeight


class Weight(Protocol):
    """A matrix of `shape` (rows, columns); rows are outputs of a linear layer, or tokens of an embedding."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The float32 matrix, or only these of its rows."""
        ...

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs (…, columns) times the transpose: (…, rows)."""
        ...

    def settings(self) -> dict[str, Any]:
        """Plain data with the key "kind" that `weight_from_settings` takes."""
        ...


def _spread(values: Tensor, group_size: int, columns: int) -> Tensor:
    """A value a group as a value a column: (rows, groups) to (rows, columns), or as it is where it broadcasts."""
    return values if values.shape[1] == 1 else values.repeat_interleave(group_size, 1)[:, :columns]


class DenseWeight(nn.Module):
    """A plain float matrix. A share of exact zeros is stored as a mask and the other values."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values, requires_grad=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.values.shape[0], self.values.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The matrix in float32."""
        return (self.values if rows is None else self.values[rows]).float()

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ."""
        return F.linear(inputs, self.values.to(inputs.dtype))

    def settings(self) -> dict[str, Any]:
        """Kind and shape."""
        return {"kind": "dense", "shape": list(self.shape)}

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> DenseWeight:
        """A matrix still to be filled."""
        return cls(torch.zeros(shape))


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


class ProductWeight(nn.Module):
    """left · right: (rows, rank) times (rank, columns), each a weight of any form."""

    left: Any
    right: Any

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.left.shape[0], self.right.shape[1]

    @property
    def rank(self) -> int:
        """Columns of the left factor."""
        return int(self.left.shape[1])

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The product."""
        product: Tensor = self.left.matrix(rows) @ self.right.matrix()
        return product

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs Wᵀ by way of the rank."""
        out: Tensor = self.left.times(self.right.times(inputs))
        return out

    def settings(self) -> dict[str, Any]:
        """Kind and factors."""
        return {"kind": "product", "left": self.left.settings(), "right": self.right.settings()}

    @classmethod
    def empty(cls, left: Mapping[str, Any], right: Mapping[str, Any]) -> ProductWeight:
        """A product still to be filled."""
        return cls(weight_from_settings(left), weight_from_settings(right))


class SumWeight(nn.Module):
    """base + correction, each a weight of any form."""

    base: Any
    correction: Any

    def __init__(self, base: nn.Module, correction: nn.Module) -> None:
        super().__init__()
        self.base, self.correction = base, correction

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.base.shape[0], self.base.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """The sum."""
        total: Tensor = self.base.matrix(rows) + self.correction.matrix(rows)
        return total

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs times both parts."""
        out: Tensor = self.base.times(inputs) + self.correction.times(inputs)
        return out

    def settings(self) -> dict[str, Any]:
        """Kind and parts."""
        return {"kind": "sum", "base": self.base.settings(), "correction": self.correction.settings()}

    @classmethod
    def empty(cls, base: Mapping[str, Any], correction: Mapping[str, Any]) -> SumWeight:
        """A sum still to be filled."""
        return cls(weight_from_settings(base), weight_from_settings(correction))


class ScaledWeight(nn.Module):
    """A weight whose columns are scaled: inner · column_scales, for scales that no layer before could take."""

    inner: Any
    column_scales: Tensor

    def __init__(self, inner: nn.Module, column_scales: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("column_scales", column_scales)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.inner.shape[0], self.inner.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """Columns times their scales."""
        scaled: Tensor = self.inner.matrix(rows) * self.column_scales.float()
        return scaled

    def times(self, inputs: Tensor) -> Tensor:
        """(inputs · scales) times the inner weight."""
        out: Tensor = self.inner.times(inputs * self.column_scales.to(inputs.dtype))
        return out

    def settings(self) -> dict[str, Any]:
        """Kind and what is inside."""
        return {"kind": "scaled", "inner": self.inner.settings()}

    @classmethod
    def empty(cls, inner: Mapping[str, Any]) -> ScaledWeight:
        """A weight still to be filled."""
        made = weight_from_settings(inner)
        return cls(made, torch.ones(made.shape[1], dtype=torch.float16))


FORMS: dict[str, Callable[..., nn.Module]] = {
    "dense": DenseWeight.empty,
    "grid": GridWeight.empty,
    "blocks": BlockWeight.empty,
    "steps": StepWeight.empty,
    "codebook": CodebookWeight.empty,
    "product": ProductWeight.empty,
    "sum": SumWeight.empty,
    "scaled": ScaledWeight.empty,
    "pivoted": PivotWeight.empty,
}


def weight_from_settings(settings: Mapping[str, Any]) -> Any:
    """The weight that `settings()` described, its buffers still to be filled."""
    rest = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items() if key != "kind"}
    return FORMS[settings["kind"]](**rest)
