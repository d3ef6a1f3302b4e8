"""A matrix whose pivot rows are unit rows: the left factor of a product that stores nothing twice.

A rank-r matrix W (rows, columns) is fixed by r of its rows, R = W[pivots], and the combinations C of them that the
other rows are: r·columns + (rows − r)·r numbers instead of r·(rows + columns), so that a product of full rank costs
what the plain matrix does (pivoting factorization, Zhao et al. 2025, arXiv:2501.19090).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class PivotWeight(nn.Module):
    """[1; C] with its rows in another order.

    inner: C, a weight of any form, (rows − rank, rank). places: int16 or int32 (rows,): which row of [1; C] each is.
    """

    inner: Any
    places: Tensor

    def __init__(self, inner: nn.Module, places: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("places", places)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.places.shape[0], self.inner.shape[1]

    def matrix(self, rows: Tensor | None = None) -> Tensor:
        """Unit rows at the pivots, rows of C elsewhere."""
        rank = self.inner.shape[1]
        places = (self.places if rows is None else self.places[rows]).long()
        found: Tensor = self.inner.matrix((places - rank).clamp(min=0))
        pivots = (places < rank).nonzero()[:, 0]
        found[pivots] = 0
        found[pivots, places[pivots]] = 1
        return found

    def times(self, inputs: Tensor) -> Tensor:
        """Inputs as they are, beside inputs Cᵀ."""
        return torch.cat([inputs, self.inner.times(inputs).to(inputs.dtype)], -1).index_select(-1, self.places.long())

    def settings(self) -> dict[str, Any]:
        """Kind, rows, what is inside."""
        kind = str(self.places.dtype)[6:]
        return {"kind": "pivoted", "inner": self.inner.settings(), "rows": len(self.places), "places": kind}

    @classmethod
    def empty(cls, inner: Mapping[str, Any], rows: int, places: str) -> PivotWeight:
        """A matrix still to be filled."""
        from pocketlm.model.weights import weight_from_settings

        return cls(weight_from_settings(inner), torch.zeros(rows, dtype=getattr(torch, places)))
