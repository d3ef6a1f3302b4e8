"""Refinement of rounded weights: against plain loops, and never worse."""

import pytest
import torch

from pocketlm.compress.gptq import Feedback, row_errors, solve
from pocketlm.compress.grid import grid_for
from pocketlm.compress.refine import descended, refined, refitted


def made_up(rows=12, columns=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator)
    inputs = torch.randn(200, columns, generator=generator) @ mix
    return torch.randn(rows, columns, generator=generator), inputs.t() @ inputs


def one_by_one(target, grid, codes, s):
    """Each code in turn by the definition: of all values the one with the least error, the others as they are."""
    scale, zero = (one.expand(target.shape) for one in grid.columns(target.shape[1]))
    found = codes.float().clone()
    for row in range(len(target)):
        for column in torch.argsort(s.diagonal(), descending=True, stable=True).tolist():
            tried = found[row].repeat(2**grid.bits, 1)
            tried[:, column] = torch.arange(2.0**grid.bits)
            lost = target[row] - (tried - zero[row]) * scale[row]
            found[row, column] = float(row_errors(lost.double(), s.double()).argmin())
    return found.to(torch.uint8)


@pytest.mark.parametrize("block", [8, 128])
def test_descent_takes_each_code_to_its_best_value(block, monkeypatch):
    monkeypatch.setattr("pocketlm.compress.refine.BLOCK", block)
    target, s = made_up()
    grid = grid_for(target, 3, 16, False)
    found = descended(target, grid, grid.codes(target), s)
    assert float((found == one_by_one(target, grid, grid.codes(target), s)).float().mean()) > 0.99


def test_scales_are_those_of_least_squares():
    target, s = made_up()
    grid = grid_for(target, 3, 16, False)
    codes = grid.codes(target)
    centred = codes.float() - grid.columns(40)[1]
    root = torch.linalg.cholesky(s.double())
    found = refitted(target, grid, codes, s).scales
    for row in range(len(target)):
        parts = torch.zeros(40, 3).double()
        for column in range(40):
            parts[column, column // 16] = float(centred[row, column])
        expected = torch.linalg.lstsq(root.t() @ parts, (root.t() @ target[row].double())[:, None]).solution[:, 0]
        assert torch.allclose(found[row].double(), expected, rtol=2e-3)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(("group_size", "symmetric"), [(16, False), (16, True), (0, False), (-1, True)])
def test_rounds_lower_the_error_of_gptq(bits, group_size, symmetric):
    for seed in range(3):
        target, s = made_up(seed=seed)
        grid = grid_for(target, bits, group_size, symmetric, True)
        feedback = Feedback.of(s, damping=1e-4)
        errors = [solve(target, grid, feedback, refine=rounds).error for rounds in (0, 1, 3)]
        assert errors[0] > errors[1] >= errors[2] * 0.999


def test_zeros_of_a_mask_stay():
    target, s = made_up()
    frozen = torch.rand(target.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    target = target.masked_fill(frozen, 0.0)
    grid = grid_for(target, 3, 16, False)
    made = solve(target, grid, Feedback.of(s), frozen, refine=2).weight.matrix()
    assert bool((made[frozen] == 0).all())
    assert int((made != 0).sum()) > target.numel() / 4


def test_groups_without_codes_keep_their_scale():
    target, s = made_up()
    target[:, 16:32] = 0
    grid = grid_for(target, 3, 16, False)
    found, codes = refined(target, grid, grid.codes(target), s * 0 + torch.diag(s.diagonal()), rounds=1)
    assert torch.equal(found.scales[:, 1], grid.scales[:, 1])
    assert bool((found.weight(codes).matrix()[:, 16:32] == 0).all())
