import pytest
import torch

from pocketlm.compress.factors import Root, cost, product_of, rank_for, root_of, spectrum, truncated


@pytest.fixture
def given():
    """A matrix (12, 8), its inputs (500, 8), far from white, and gradients of its outputs (300, 12)."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator)

    return drawn(12, 8), drawn(500, 8) @ drawn(8, 8), drawn(300, 12) @ drawn(12, 12)


def lost(matrix, found, inputs):
    return float(((matrix - found) @ inputs.t()).double().square().sum())


def test_a_root_is_one_and_undoes_itself(given):
    matrix, inputs, _ = given
    s = inputs.t() @ inputs
    root = root_of(s, 0.0)
    assert torch.allclose(root.half @ root.half.t(), s.double(), rtol=1e-6)
    wide = matrix.double()
    assert torch.allclose(root.undo_right(root.right(wide)), wide)
    assert torch.allclose(root.undo_left(root.left(wide.t())), wide.t())
    diagonal = root_of(s.diagonal(), 0.0)
    full = Root(diagonal.half.diag())
    assert torch.allclose(diagonal.right(wide), full.right(wide))
    assert torch.allclose(diagonal.undo_left(wide.t()), full.undo_left(wide.t()))


def test_moments_of_fewer_tokens_than_features_have_a_root():
    few = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    root = root_of(few.t() @ few, 0.0)
    assert bool(root.half.isfinite().all())
    assert torch.allclose(root.undo_right(root.right(torch.eye(16).double())), torch.eye(16).double(), atol=1e-4)
    assert bool(root_of(torch.zeros(4, 4), 0.01).half.isfinite().all())


@pytest.mark.parametrize("tall", [True, False])
def test_dropping_a_singular_value_costs_its_square(given, tall):
    matrix, inputs, _ = given
    if not tall:
        matrix = matrix[:5]
    right = root_of(inputs.t() @ inputs, 0.0)
    squares = spectrum(matrix, right)
    for rank in range(1, min(matrix.shape)):
        first, second = truncated(matrix, rank, right)
        assert lost(matrix, first @ second, inputs) == pytest.approx(float(squares[rank:].sum()), rel=1e-3)


def test_with_gradients_it_is_the_loss_of_the_two_sided_metric(given):
    matrix, inputs, gradients = given
    right, left = root_of(inputs.t() @ inputs, 0.0), root_of(gradients.t() @ gradients, 0.0)
    squares = spectrum(matrix, right, left)
    first, second = truncated(matrix, 5, right, left)
    change = (matrix - first @ second).double()
    found = (gradients.double() @ change @ inputs.double().t()).square().sum()
    assert float(found) == pytest.approx(float(squares[5:].sum()), rel=1e-4)


@pytest.mark.parametrize("sides", ["plain", "whitened", "kronecker"])
def test_full_rank_is_the_matrix_and_error_falls_with_rank(given, sides):
    matrix, inputs, gradients = given
    right = None if sides == "plain" else root_of(inputs.t() @ inputs, 0.0)
    left = root_of(gradients.t() @ gradients, 0.0) if sides == "kronecker" else None
    first, second = truncated(matrix, 8, right, left)
    assert torch.allclose(first @ second, matrix, atol=1e-4)
    squares = spectrum(matrix, right, left)
    assert bool((squares[:-1] >= squares[1:]).all()) and len(squares) == 8


def test_whitened_is_never_worse_than_plain_for_what_comes_out(given):
    matrix, inputs, _ = given
    right = root_of(inputs.t() @ inputs, 0.0)
    for rank in range(1, 8):
        plain, white = truncated(matrix, rank), truncated(matrix, rank, right)
        assert lost(matrix, white[0] @ white[1], inputs) <= lost(matrix, plain[0] @ plain[1], inputs) * (1 + 1e-6)


@pytest.mark.parametrize("rank", [1, 5, 8])
def test_pivots_change_how_a_product_is_stored_and_not_what_it_is(given, rank):
    first, second = truncated(given[0], rank)
    plain, pivoted = product_of(first, second, False), product_of(first, second, True)
    assert torch.allclose(plain.matrix(), pivoted.matrix(), atol=1e-5)
    assert pivoted.rank == rank
    for pivoting, product in ((False, plain), (True, pivoted)):
        assert sum(one.numel() for one in product.state_dict().values()) == cost((12, 8), rank, pivoting)
    assert float(pivoted.left.inner.values.abs().max()) < 10  # partial pivoting keeps combinations tame


def test_the_rank_for_a_budget_is_the_greatest_that_fits():
    for pivoted in (False, True):
        for weights in (100, 5000, 30_000):
            rank = rank_for((300, 100), weights, pivoted)
            assert rank == 1 or cost((300, 100), rank, pivoted) <= weights
            assert cost((300, 100), rank + 1, pivoted) > weights or rank == 99
    assert rank_for((300, 100), 20_000, True, multiple=16) % 16 == 0
    assert cost((300, 100), 100, True) == 300 * 100 + 300  # full rank costs what the matrix does, and the places
