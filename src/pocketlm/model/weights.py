"""How a weight matrix is held: plain, on a grid, in blocks of ggml's, by a codebook, as a product, as a sum.

Every form is a small module whose buffers are what is stored, with `matrix()` giving the float32 matrix they
stand for, `times(x)` giving x Wᵀ, and `settings()` the plain data that rebuild it before its buffers are filled.
Forms nest: a product's factors may lie on grids, a sum's parts too. Those of codes are in `model.code_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.code_weights import CodebookWeight, GridWeight, StepWeight
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
