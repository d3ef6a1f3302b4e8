from itertools import pairwise

import pytest
import torch

from pocketlm.compress.codebook import Codebook, fit_codebook, lloyd, nearest, normal_levels
from pocketlm.compress.context import Context
from pocketlm.compress.passes import PASSES
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.tables import pass_from_json, pass_to_json

# Dettmers et al. 2023, appendix E.
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
MATRIX = torch.randn(16, 96, generator=torch.Generator().manual_seed(0))


def lost(bits=3, levels="kmeans", rows=False, group_size=32, importance=None, matrix=MATRIX):
    weight = fit_codebook(matrix, bits, levels, rows, group_size, importance)
    h = torch.ones(matrix.shape[1]) if importance is None else importance
    return float(((weight.matrix() - matrix).square() * h).sum())


def test_four_bits_are_the_published_levels():
    assert torch.allclose(normal_levels(4), torch.tensor(NF4), atol=2e-4)


@pytest.mark.parametrize("bits", range(2, 9))
def test_normal_levels_rise_from_minus_one_to_one_through_zero(bits):
    levels = normal_levels(bits)
    assert len(levels) == 2**bits and bool((levels.diff() > 0).all())
    assert levels[0] == -1 and levels[-1] == 1 and 0 in levels.tolist()


def test_lloyd_never_raises_the_error_and_finds_levels_that_are_there():
    values = torch.randn(3, 500, generator=torch.Generator().manual_seed(1))
    weights = torch.rand(3, 500, generator=torch.Generator().manual_seed(2))
    levels, errors = torch.linspace(-2, 2, 8).expand(3, -1), []
    for _ in range(12):
        held = levels.gather(1, nearest(values, levels))
        errors.append(float((weights * (values - held).square()).sum()))
        levels = lloyd(values, weights, levels, keep_zero=False, iterations=1)
    assert all(after <= before + 1e-4 for before, after in pairwise(errors)) and errors[-1] < errors[0]
    truth = torch.tensor([[-3.0, -1.0, 0.5, 4.0]])
    found = lloyd(truth.repeat(1, 50), torch.ones(1, 200), torch.tensor([[-2.0, -1.5, 1.0, 2.0]]), keep_zero=False)
    assert torch.allclose(found, truth)


def test_nearest_is_the_nearest():
    levels = torch.tensor([[-1.0, -0.2, 0.0, 0.7]])
    plain = (MATRIX[:, :, None] - levels[:, None]).abs().argmin(-1)
    assert torch.equal(nearest(MATRIX, levels), plain)


def test_learnt_levels_beat_fixed_ones_and_more_bits_beat_fewer():
    assert lost(levels="kmeans") < lost(levels="nf")
    by_bits = [lost(bits=bits) for bits in range(2, 9)]
    assert by_bits == sorted(by_bits, reverse=True) and by_bits[0] > 100 * by_bits[-1]


def test_levels_of_each_row_beat_levels_of_all_where_rows_differ():
    mixed = torch.cat([MATRIX[:8].sign() * (1 + 0.1 * MATRIX[:8]), MATRIX[8:]])
    assert lost(bits=2, rows=True, group_size=0, matrix=mixed) < lost(bits=2, group_size=0, matrix=mixed)


def test_weighted_errors_are_lower_where_weights_say_so():
    importance = torch.ones(96)
    importance[::7] = 1000.0
    weighted = fit_codebook(MATRIX, 2, "kmeans", False, 96, importance).matrix()
    plain = fit_codebook(MATRIX, 2, "kmeans", False, 96, None).matrix()
    assert ((weighted - MATRIX).square() * importance).sum() < ((plain - MATRIX).square() * importance).sum()


@pytest.mark.parametrize("levels", ["nf", "kmeans"])
@pytest.mark.parametrize("group_size", [-1, 0, 32, 40])
def test_zeros_stay_exact_and_shapes_are_said_truly(levels, group_size):
    pruned = MATRIX * (MATRIX.abs() > 0.8)
    weight = fit_codebook(pruned, 3, levels, False, group_size, None)
    assert not weight.matrix()[pruned == 0].any()
    assert weight.scales.shape == {-1: (1, 1), 0: (16, 1), 32: (16, 3), 40: (16, 3)}[group_size]
    assert weight.bits == 3 and int(weight.codes.max()) < 8


@pytest.mark.parametrize("weighted", [False, True])
def test_a_whole_model_survives_its_folder(family, calibrated, tmp_path, weighted):
    model = family("llama")
    step = Codebook(bits=3, weighted=weighted, layers=("blocks", "embeddings"))
    assert pass_from_json(pass_to_json(step), PASSES) == step
    batch = calibrated(model).batches[0]
    outputs = []
    for _ in range(2):
        made = step(model.copy(), Context(calibration=calibrated(model) if weighted else None, fast=False))
        outputs.append(made.module(**batch).logits)
    assert torch.equal(*outputs)
    save_model(made, tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model").module(**batch).logits, outputs[0])


@pytest.mark.parametrize(
    "wrong", [{"bits": 1}, {"levels": "af"}, {"scope": "group"}, {"levels": "nf", "weighted": True}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"got|need"):
        Codebook(**wrong)
