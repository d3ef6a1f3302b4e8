"""Least squares against plain solutions of numpy."""

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from pocketlm.students.least_squares import products, solve_by_products, solve_by_steps


@pytest.fixture(scope="module")
def problem():
    rows = random_sparse(40, 200, density=0.2, format="csr", dtype=np.float32, random_state=0)
    return rows, np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)


def plain(rows, targets, penalty):
    """W (features, labels) from the normal equations in feature space."""
    dense = rows.toarray().astype(np.float64)
    return np.linalg.solve(dense.T @ dense + penalty * np.eye(dense.shape[1]), dense.T @ targets)


@pytest.mark.parametrize("penalty", [0.1, 2.0])
def test_both_ways_give_the_weights_of_the_normal_equations(problem, penalty):
    rows, targets = problem
    (by_products,) = solve_by_products(products(rows), targets, [penalty])
    expected = plain(rows, targets, penalty)
    np.testing.assert_allclose(rows.T @ by_products.duals, expected, atol=2e-4)
    np.testing.assert_allclose(rows.T @ solve_by_steps(rows, targets, penalty), expected, atol=1e-2)


def test_held_out_scores_are_those_of_solutions_without_the_row(problem):
    rows, targets = problem
    (found,) = solve_by_products(products(rows), targets, [0.5])
    for place in (0, 7, 39):
        others = np.arange(40) != place
        weights = plain(rows[others], targets[others], 0.5)
        np.testing.assert_allclose(found.held_out[place], (rows[place] @ weights).ravel(), atol=2e-3)


def test_a_larger_penalty_makes_smaller_weights(problem):
    rows, targets = problem
    sizes = [np.abs(rows.T @ one.duals).sum() for one in solve_by_products(products(rows), targets, [0.01, 0.1, 1, 10])]
    assert sizes == sorted(sizes, reverse=True)
