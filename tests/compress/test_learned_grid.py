import pytest
import torch

from pocketlm.compress.grid import grid_for
from pocketlm.compress.learned_grid import LearnedGrid, LearnedSteps, Through, lsq
from pocketlm.model.code_weights import StepWeight
from pocketlm.model.layers import InputRounding


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("bits", "group"), [(2, 0), (3, 5), (4, 8), (8, -1)])
def test_what_is_stored_is_what_was_trained_with(bits, group, symmetric):
    torch.manual_seed(0)
    matrix = torch.randn(6, 13)
    learned = LearnedGrid(matrix, grid_for(matrix, bits, group, symmetric, True))
    with torch.no_grad():
        learned.steps.mul_(1.0371)
        learned.latent.add_(0.05 * torch.randn(6, 13))
    stored = learned.weight()
    assert torch.equal(stored.matrix(), learned.matrix())
    assert torch.equal(stored.matrix(torch.tensor([4, 1])), learned.matrix(torch.tensor([4, 1])))
    assert int(stored.codes.max()) < 2**bits
    resumed = LearnedGrid.resumed(stored)
    assert torch.allclose(resumed.matrix(), stored.matrix(), atol=1e-6)


def test_gradients_are_those_of_the_paper():
    latent = torch.tensor([[[0.26, -0.9, 3.0, -4.0, 0.0]]], requires_grad=True)
    steps = torch.tensor([[[0.5]]], requires_grad=True)
    low, high = torch.tensor([[[-4.0]]]), torch.tensor([[[3.0]]])
    given = torch.tensor([[[1.0, 2.0, -1.0, 0.5, 7.0]]])
    (lsq(latent, steps, low, high) * given).sum().backward()
    # v/s: 0.52, -1.8, 6.0, -8.0, 0
    slopes = [-0.52 + 1, 1.8 - 2, 3.0, -4.0, 0.0]
    expected = sum(slope * float(one) for slope, one in zip(slopes, given[0, 0], strict=True)) / (5 * 3) ** 0.5
    assert float(steps.grad) == pytest.approx(expected, rel=1e-5)
    assert latent.grad[0, 0].tolist() == [1.0, 2.0, 0.0, 0.0, 7.0]


def test_a_shared_step_gathers_the_gradients_of_all_rows():
    torch.manual_seed(0)
    matrix = torch.randn(3, 4)
    whole = LearnedGrid(matrix, grid_for(matrix, 3, -1, True))
    whole.matrix().square().sum().backward()
    assert whole.steps.grad.shape == (1, 1)
    assert whole.latent.grad.shape == (3, 4)


def test_rounded_inputs_let_gradients_through():
    inputs = torch.linspace(-1, 2, 7, requires_grad=True)
    out = Through(InputRounding(static=False))(inputs)
    out.sum().backward()
    assert torch.allclose(out, InputRounding(static=False)(inputs.detach()), atol=1e-6)
    assert inputs.grad.tolist() == [1.0] * 7


def test_rows_and_columns_of_steps_go_on_learning_and_are_stored_as_trained():
    torch.manual_seed(0)
    rows, columns = torch.rand(5).half() + 0.1, torch.rand(7).half() + 0.1
    stored = StepWeight(torch.randint(-9, 9, (5, 7), dtype=torch.int16), rows, columns)
    learned = LearnedSteps(stored)
    assert torch.equal(learned.matrix(), stored.matrix())
    with torch.no_grad():
        learned.latent.add_(0.3 * torch.randn(5, 7))
        learned.row_steps.mul_(1.0371)
    given = torch.randn(5, 7)
    (learned.matrix() * given).sum().backward()
    made = learned.weight()
    assert torch.equal(made.matrix(), learned.matrix())
    assert torch.equal(made.matrix(torch.tensor([3, 0])), learned.matrix(torch.tensor([3, 0])))
    assert not torch.equal(made.codes, stored.codes)
    assert torch.allclose(learned.latent.grad, given)
    row, column = made.row_steps.float()[:, None], made.column_steps.float()
    slopes = (made.codes - learned.latent.detach() / (row * column)) * given
    assert torch.allclose(learned.row_steps.grad, (slopes * column).sum(1), atol=1e-5)
    assert torch.allclose(learned.column_steps.grad, (slopes * row).sum(0), atol=1e-5)
