"""Regularized least squares on sparse rows, with what it would have said of each row without that row.

minimize Σ_i ‖y_i − W x_i‖² + λ ‖W‖² over W (labels, features). W = AᵀX with (X Xᵀ + λI) A = Y. With few rows one
eigendecomposition of K = X Xᵀ gives, for every λ, A and the held-out scores of all rows (Rifkin and Lippert 2007,
"Notes on Regularized Least Squares", MIT-CSAIL-TR-2007-025); with many rows A comes by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Sparse = Any  # scipy.sparse.csr_matrix, (rows, features)

# Beyond so many rows the eigendecomposition takes longer than conjugate gradients for every penalty.
MOST_ROWS = 2_500
STEPS = 60
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Solved:
    """duals: A, (rows, labels). held_out: scores of each row by the solution of all others, (rows, labels)."""

    duals: Floats
    held_out: Floats


def products(rows: Sparse) -> Floats:
    """K: the products of every two rows, (rows, rows)."""
    found: Floats = (rows @ rows.T).toarray().astype(np.float32)
    return found


def solve_by_products(gram: Floats, targets: Floats, penalties: Sequence[float]) -> list[Solved]:
    """One solution for each penalty λ, with the scores y_i − a_i / (K + λI)⁻¹_ii. targets: Y, (rows, labels)."""
    values, vectors = np.linalg.eigh(gram)
    turned = vectors.T @ targets
    found = []
    for penalty in penalties:
        shrunk = 1 / (np.maximum(values, 0) + np.float32(penalty))
        duals = vectors @ (shrunk[:, None] * turned)
        diagonal = np.square(vectors) @ shrunk
        found.append(Solved(duals, targets - duals / diagonal[:, None]))
    return found


def solve_by_steps(rows: Sparse, targets: Floats, penalty: float) -> Floats:
    """A by conjugate gradients, for all labels at once (Hestenes and Stiefel 1952)."""
    columns = rows.T.tocsr()
    duals, rest = np.zeros_like(targets), targets.copy()
    step, energy = rest.copy(), np.square(rest).sum(axis=0)
    goal = TOLERANCE**2 * energy
    for _ in range(STEPS):
        product = rows @ (columns @ step) + np.float32(penalty) * step
        length = energy / np.maximum((step * product).sum(axis=0), 1e-30)
        duals += length * step
        rest -= length * product
        before, energy = energy, np.square(rest).sum(axis=0)
        if (energy <= goal).all():
            break
        step = rest + energy / np.maximum(before, 1e-30) * step
    return duals
