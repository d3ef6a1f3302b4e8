import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.grid import grid_for, split_groups
from pocketlm.compress.hqq import HalfQuadratic, half_quadratic, shrink
from pocketlm.compress.passes import PASSES
from pocketlm.tables import pass_from_json, pass_to_json

MATRIX = torch.randn(16, 70, generator=torch.Generator().manual_seed(0)) * 0.02
MATRIX[::3, ::9] *= 6  # outliers, which is what the method is for


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("clip", [False, True])
def test_no_group_is_worse_than_rounding_and_most_are_better(bits, clip):
    start = grid_for(MATRIX, bits, 32, False, clip)
    made = half_quadratic(MATRIX, start, 0.7, 20)

    def lost(grid):
        errors = MATRIX - grid.weight(grid.codes(MATRIX)).matrix()
        return split_groups(errors, 32).abs().pow(0.7).sum(-1)

    before, after = lost(start), lost(made)
    assert bool((after <= before * 1.0001).all()) and float((after < before).float().mean()) > 0.5
    assert torch.equal(made.scales, start.scales)


def test_the_unit_of_the_weights_does_not_matter():
    zeros = [half_quadratic(MATRIX * unit, grid_for(MATRIX * unit, 4, 32, False), 0.7, 20).zeros for unit in (1, 8)]
    assert torch.allclose(*zeros, atol=1e-3)


def test_shrinking_is_the_proximal_step_of_the_power():
    errors = torch.tensor([-1.0, -0.1, 0.0, 0.1, 1.0])
    found = shrink(errors, 10.0, 0.7)
    assert found[2] == 0 and torch.allclose(found, -found.flip(0))
    assert torch.allclose(found[4], torch.tensor(0.9)) and 0 <= found[3] < 0.1
    assert torch.allclose(shrink(errors, 10.0, 1.0)[4], torch.tensor(0.9))  # soft thresholding


def test_a_whole_model_with_zeros_that_are_no_whole_numbers(family):
    step = HalfQuadratic(bits=3, group_size=32)
    assert pass_from_json(pass_to_json(step), PASSES) == step
    context = Context()
    made = step(family("gpt2"), context)
    stored = made.module.transformer.h[0].mlp.c_fc.stored
    assert stored.zeros.dtype == torch.float16 and stored.bits == 3
    assert context.journal.changed == 8


def test_pruned_zeros_stay_exact_zeros(family):
    model = family("bert")
    weight = model.module.encoder.layer[0].output.dense.weight
    with torch.no_grad():
        weight.mul_(weight.abs() > weight.abs().median())
    made = HalfQuadratic(bits=3)(model.copy(), Context())
    assert not made.module.encoder.layer[0].output.dense.weight[weight == 0].any()


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"group_size": -1}, {"p": 0.0}, {"p": 2.0}, {"iterations": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        HalfQuadratic(**wrong)
