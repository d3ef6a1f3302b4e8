import pytest
import torch

from pocketlm.compress.grid import grid_for, split_groups
from pocketlm.model.weights import weight_from_settings

MATRIX = torch.randn(24, 70, generator=torch.Generator().manual_seed(0))


def error(**settings):
    grid = grid_for(MATRIX, **{"bits": 4, "group_size": 32, "symmetric": False, **settings})
    return float((grid.weight(grid.codes(MATRIX)).matrix() - MATRIX).square().mean())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [32, 0, -1])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_nothing_is_further_than_half_a_step_away(bits, group_size, symmetric):
    grid = grid_for(MATRIX, bits, group_size, symmetric)
    scale, zero = grid.columns(MATRIX.shape[1])
    found = grid.weight(grid.codes(MATRIX)).matrix()
    low, high = -zero * scale, (2**bits - 1 - zero) * scale
    inside = (low <= MATRIX) & (high >= MATRIX)
    assert inside.float().mean() > 0.6
    half = scale.expand_as(MATRIX) / 2
    assert bool(((MATRIX - found).abs() <= half * 1.001)[inside].all())
    # outside, the nearest end of the grid
    assert bool(torch.isclose(found, MATRIX.clamp(low, high), atol=float(half.max()) * 1.001)[~inside].all())


@pytest.mark.parametrize("symmetric", [True, False])
def test_error_falls_with_bits_and_with_smaller_groups(symmetric):
    by_bits = [error(bits=bits, symmetric=symmetric) for bits in range(2, 9)]
    assert by_bits == sorted(by_bits, reverse=True) and by_bits[0] > 100 * by_bits[-1]
    by_group = [error(group_size=size, symmetric=symmetric) for size in (-1, 0, 32, 8)]
    assert by_group == sorted(by_group, reverse=True)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_clipping_never_adds_error_and_helps_at_few_bits(bits):
    assert error(bits=bits, clip=True) < error(bits=bits)


def test_clipping_by_importance_serves_the_important_columns():
    importance = torch.ones(70)
    importance[:8] = 1e4
    lost = {}
    for name, given in (("plain", None), ("weighted", importance)):
        grid = grid_for(MATRIX, 2, 0, False, clip=True, importance=given)
        found = grid.weight(grid.codes(MATRIX)).matrix()
        lost[name] = float(((found - MATRIX).square() * importance).sum())
    assert lost["weighted"] < lost["plain"]


@pytest.mark.parametrize(
    ("group_size", "shape"), [(-1, (1, 1)), (0, (24, 1)), (32, (24, 3)), (35, (24, 2)), (99, (24, 1))]
)
def test_scales_have_a_value_a_group_and_a_last_group_may_be_short(group_size, shape):
    grid = grid_for(MATRIX, 4, group_size, False)
    assert grid.scales.shape == shape and grid.zeros.shape == shape
    assert grid.weight(grid.codes(MATRIX)).matrix().shape == MATRIX.shape


def test_a_short_last_group_is_as_if_it_were_alone():
    whole, alone = grid_for(MATRIX, 4, 32, False), grid_for(MATRIX[:, 64:], 4, 6, False)
    assert torch.equal(whole.scales[:, 2:], alone.scales) and torch.equal(whole.zeros[:, 2:], alone.zeros)
    assert split_groups(MATRIX, 32).shape == (24, 3, 32) and not split_groups(MATRIX, 32)[:, 2, 6:].any()


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_zero_stays_exactly_zero(bits, symmetric, clip):
    pruned = MATRIX * (MATRIX.abs() > 0.7)
    pruned[3] = 0
    pruned[4] = pruned[4].abs() + 1.0 * (pruned[4] != 0)  # only positive values and zeros
    grid = grid_for(pruned, bits, 32, symmetric, clip)
    assert not grid.weight(grid.codes(pruned)).matrix()[pruned == 0].any()


def test_a_matrix_that_lies_on_a_grid_comes_back_unchanged():
    codes = torch.randint(16, (8, 64), generator=torch.Generator().manual_seed(1)).float()
    codes[:, ::32], codes[:, 1::32] = 0, 15
    matrix = (codes - 7) * 0.25
    grid = grid_for(matrix, 4, 32, False)
    assert torch.equal(grid.weight(grid.codes(matrix)).matrix(), matrix)


def test_a_weight_is_rebuilt_from_its_settings_and_buffers():
    for symmetric in (True, False):
        weight = grid_for(MATRIX, 3, 32, symmetric).weight(grid_for(MATRIX, 3, 32, symmetric).codes(MATRIX))
        again = weight_from_settings(weight.settings())
        again.load_state_dict(weight.state_dict())
        assert torch.equal(again.matrix(), weight.matrix())
        assert torch.equal(again.matrix(torch.tensor([5, 2])), weight.matrix()[[5, 2]])
