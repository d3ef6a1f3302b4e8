"""Blocks of every ggml type: searched grids, error feedback on them and descent keep what they promise in numbers."""

import pickle

import gguf
import pytest
import torch

from pocketlm.compress.block_descent import descended
from pocketlm.compress.block_feedback import BlockRounder, nearest_blocks, solve_blocks
from pocketlm.compress.block_grid import best_scale, grid_for_blocks
from pocketlm.compress.block_steps import can_hold_zero
from pocketlm.compress.feedback import Feedback, fed_codes, row_errors
from pocketlm.compress.gptq import GridRounder
from pocketlm.compress.grid import grid_for
from pocketlm.model.ggml_types import BLOCK_TYPES

COLUMNS = 512
REFERENCE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")  # those that the gguf package quantizes, too


def made_up(rows=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(COLUMNS, COLUMNS, generator=generator) / 20 + torch.eye(COLUMNS)
    inputs = torch.randn(1500, COLUMNS, generator=generator) @ mix
    inputs[:, ::7] *= 3
    return torch.randn(rows, COLUMNS, generator=generator) / 20, inputs.t() @ inputs


def hard():
    """Rows that are zero, hold one huge weight, are of one sign, equal, tiny, or nearly all zero."""
    matrix = made_up(8)[0]
    matrix[0] = 0
    matrix[1, 5] = 900.0
    matrix[2] = -matrix[2].abs() - 0.1
    matrix[3] = matrix[3].abs() + 2
    matrix[4] = 0.25
    matrix[5] *= 1e-7
    matrix[6, 40:] = 0
    return matrix


def feedback_for(s, kind, **settings):
    return Feedback.of(s, together=kind.length, **settings)


def decoded(weight):
    number = gguf.GGMLQuantizationType(weight.kind.number)
    return torch.from_numpy(gguf.quants.dequantize(weight.packed(), number))


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_hard_blocks_are_finite_and_decode_to_what_runs(name):
    kind, matrix, (_, s) = BLOCK_TYPES[name], hard(), made_up()
    near = nearest_blocks(matrix, kind, torch.ones(COLUMNS))
    solved = solve_blocks(matrix, kind, feedback_for(s, kind), None, 1).weight
    for weight in (near, solved):
        assert torch.isfinite(weight.matrix()).all()
        assert torch.equal(decoded(weight), weight.matrix())
        for part, high in (("codes", len(kind.levels) - 1), ("sub_scales", (kind.scale_range or (0, 0))[1])):
            values = getattr(weight, part)
            assert values is None or int(values.max()) <= high
    assert not near.matrix()[0].any()
    lost = (near.matrix() - matrix).square().sum(1) / matrix.square().sum(1).clamp(min=1e-30)
    assert bool((lost[[1, 2, 3, 4]] < 0.11).all())


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_no_row_is_worse_than_rounded_to_nearest_and_most_are_far_better(name):
    kind = BLOCK_TYPES[name]
    for seed in range(2):
        matrix, s = made_up(seed=seed)
        feedback = feedback_for(s, kind)
        near = nearest_blocks(matrix, kind, feedback.damped.diagonal())
        plain = row_errors(matrix - near.matrix(), s)
        errors = []
        for refine in (0, 1, 3):
            solved = solve_blocks(matrix, kind, feedback, None, refine)
            mine = row_errors(matrix - solved.weight.matrix(), s)
            assert bool((mine <= plain * 1.0001).all())
            assert solved.plain == pytest.approx(float(plain.sum() / row_errors(matrix, s).sum()), rel=1e-4)
            errors.append(solved.error)
        assert errors[2] < errors[1] < errors[0] < 0.8 * solved.plain


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_a_round_of_descent_never_raises_the_error_it_lowers(name):
    kind, (matrix, s) = BLOCK_TYPES[name], made_up()
    feedback = feedback_for(s, kind)
    damped, order = feedback.damped, feedback.order
    grid = grid_for_blocks(matrix, kind, torch.ones(COLUMNS))
    codes = torch.randint(0, len(kind.levels), matrix.shape, dtype=torch.uint8)  # as far off as can be
    before = row_errors(matrix - grid.weight(codes).matrix(), damped)
    for _ in range(4):
        grid, codes = descended(matrix, grid, codes, damped, order)
        after = row_errors(matrix - grid.weight(codes).matrix(), damped)
        assert bool((after <= before * (1 + 1e-4)).all())
        before = after


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_codes_are_the_nearest_on_the_grid(name):
    kind, matrix = BLOCK_TYPES[name], made_up(4)[0]
    grid = grid_for_blocks(matrix, kind, torch.ones(COLUMNS))
    codes = grid.codes(matrix)
    least = (grid.weight(codes).matrix() - matrix).abs()
    for code in range(0, len(kind.levels), 3):
        other = (grid.weight(torch.full_like(codes, code)).matrix() - matrix).abs()
        assert bool((least <= other + 1e-6).all())


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_without_correlation_feedback_is_rounding_to_nearest(name):
    kind, matrix = BLOCK_TYPES[name], made_up()[0]
    s = torch.eye(COLUMNS) * 7
    solved = solve_blocks(matrix, kind, feedback_for(s, kind), None, 0)
    assert torch.equal(solved.weight.matrix(), nearest_blocks(matrix, kind, torch.ones(COLUMNS)).matrix())


@pytest.mark.parametrize("name", REFERENCE)
def test_searched_scales_are_better_than_those_by_the_largest_weight(name):
    kind, matrix = BLOCK_TYPES[name], made_up(64)[0]
    number = gguf.GGMLQuantizationType(kind.number)
    theirs = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(matrix.numpy(), number), number))
    mine = nearest_blocks(matrix, kind, torch.ones(COLUMNS)).matrix()
    assert float((mine - matrix).square().sum()) < 0.97 * float((theirs - matrix).square().sum())


def test_importance_decides_what_a_scale_is_fitted_to():
    kind, matrix = BLOCK_TYPES["Q4_0"], made_up(64)[0]
    weights = torch.ones(COLUMNS)
    weights[::4] = 100
    plain, weighted = (nearest_blocks(matrix, kind, one).matrix() for one in (torch.ones(COLUMNS), weights))
    assert float(((weighted - matrix).square() * weights).sum()) < float(((plain - matrix).square() * weights).sum())


def test_the_best_scale_is_that_of_a_fine_scan():
    values, levels, h = torch.randn(30, 1, 32), tuple(range(-4, 4)), torch.rand(1, 1, 32) + 0.1
    found = best_scale(values, levels, h)

    def loss(scale):
        codes = (values / scale[..., None]).round().clamp(-4, 3)
        return (h * (codes * scale[..., None] - values).square()).sum(-1)

    scan = torch.stack([loss(torch.full_like(found, sign * one / 300)) for one in range(20, 400) for sign in (1, -1)])
    assert float((loss(found) / scan.amin(0)).mean()) < 1.02


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_pruned_zeros_stay_where_the_type_has_a_zero(name):
    kind, (matrix, s) = BLOCK_TYPES[name], made_up()
    assert can_hold_zero(kind) == (name in ("Q4_0", "Q5_0", "Q8_0", "Q3_K", "Q6_K"))
    if not can_hold_zero(kind):
        return
    frozen = torch.rand(matrix.shape) < 0.5
    matrix = matrix.masked_fill(frozen, 0)
    solved = solve_blocks(matrix, kind, feedback_for(s, kind), frozen, 2)
    assert not solved.weight.matrix()[frozen].any()
    assert solved.error <= solved.plain


def test_whole_blocks_are_reordered_and_their_grids_put_back():
    kind, (matrix, s) = BLOCK_TYPES["Q4_K"], made_up()
    s[300:, 300:] *= 4  # the second block is to come first
    feedback = feedback_for(s, kind)
    assert feedback.order.tolist() == [*range(256, 512), *range(256)]
    rounder = BlockRounder(kind, torch.ones(COLUMNS))
    codes = fed_codes(matrix, rounder, feedback.upper, feedback.order, block=kind.length)
    lost = matrix - rounder.grid(feedback.order).weight(codes).matrix()
    assert float(lost.square().sum() / matrix.square().sum()) < 0.05


def test_feedback_is_that_of_any_rounder():
    matrix, s = made_up()
    feedback, grid = Feedback.of(s), grid_for(matrix, 4, 32, True)
    codes = fed_codes(matrix, GridRounder(grid, matrix.shape, feedback.order), feedback.upper, feedback.order)
    plain = row_errors(matrix - grid.weight(grid.codes(matrix)).matrix(), s).sum()
    assert float(row_errors(matrix - grid.weight(codes).matrix(), s).sum()) < 0.7 * float(plain)


def test_a_result_crosses_to_another_process():
    kind, (matrix, s) = BLOCK_TYPES["Q6_K"], made_up(4)
    solved = solve_blocks(matrix, kind, feedback_for(s, kind))
    again = pickle.loads(pickle.dumps(solved))
    assert torch.equal(again.weight.matrix(), solved.weight.matrix()) and again.error == solved.error
