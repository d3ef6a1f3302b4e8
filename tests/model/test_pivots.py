import pytest
import torch

from pocketlm.model.pivots import PivotWeight
from pocketlm.model.weights import DenseWeight, weight_from_settings


@pytest.fixture
def weight():
    torch.manual_seed(0)
    places = torch.randperm(7).to(torch.int16)
    return PivotWeight(DenseWeight(torch.randn(4, 3)), places)


def test_it_is_unit_rows_and_the_inner_rows_in_another_order(weight):
    whole = torch.cat([torch.eye(3), weight.inner.values])
    assert weight.shape == (7, 3)
    assert torch.equal(weight.matrix(), whole[weight.places.long()])
    rows = torch.tensor([6, 0, 0, 3])
    assert torch.equal(weight.matrix(rows), weight.matrix()[rows])


def test_times_is_times_the_matrix(weight):
    inputs = torch.randn(2, 5, 3)
    assert torch.allclose(weight.times(inputs), inputs @ weight.matrix().t(), atol=1e-6)


def test_settings_rebuild_it(weight):
    again = weight_from_settings(weight.settings())
    again.load_state_dict(weight.state_dict())
    assert torch.equal(again.matrix(), weight.matrix())
