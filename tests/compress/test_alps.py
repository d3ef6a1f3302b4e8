import pytest
import torch

from pocketlm.compress.alps import Alps, alps, refit, support
from pocketlm.compress.masks import Few, Plan, Tiles, damped, tile_sums
from pocketlm.compress.moments import Moments
from pocketlm.compress.prune import CRITERIA
from pocketlm.compress.sparsegpt import SparseGPT, sparsegpt
from pocketlm.compress.targets import relative_error


def layer(seed=0, rows=48, columns=64, tokens=400):
    """A matrix and the moments of inputs that go together, some much larger than others."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator) * torch.rand(columns, generator=generator)[:, None] ** 3
    moments = Moments.empty(columns)
    moments.add(torch.randn(tokens, columns, generator=generator) @ (mix + 0.3 * torch.eye(columns)))
    return torch.randn(rows, columns, generator=generator), moments


def errors(plan, seed):
    weight, moments = layer(seed)
    s = moments.s
    found = [
        weight * Plan(plan.sparsity, plan.pattern).mask(CRITERIA["wanda"](weight, s)),
        sparsegpt(weight, s, plan, block=32),
        alps(weight, s, plan),
    ]
    for one in found:
        assert int((one == 0).sum()) == round(plan.sparsity * weight.numel())
    return [relative_error(weight, one, moments) for one in found]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("plan", [Plan(0.5), Plan(0.75), Plan(0.5, Few(2, 4)), Plan(0.75, Few(1, 4))])
def test_alps_loses_less_than_sparsegpt_and_that_less_than_wanda(plan, seed):
    wanda, second_order, admm = errors(plan, seed)
    assert admm < second_order < wanda


@pytest.mark.parametrize("solve", [sparsegpt, alps])
def test_patterns_hold_exactly(solve):
    weight, moments = layer()
    few = solve(weight, moments.s, Plan(0.5, Few(2, 4)))
    assert ((few.view(48, 16, 4) != 0).sum(-1) == 2).all()
    tiles = solve(weight, moments.s, Plan(0.5, Tiles(4, 8)))
    sums = tile_sums((tiles != 0).float(), Tiles(4, 8))
    assert int((sums == 0).sum()) == 48
    assert int((sums == 32).sum()) == 48


@pytest.mark.parametrize("solve", [sparsegpt, alps])
def test_nothing_pruned_is_the_layer_itself(solve):
    weight, moments = layer()
    assert torch.allclose(solve(weight, moments.s, Plan(0.0)), weight, atol=1e-4)


@pytest.mark.parametrize("solve", [sparsegpt, alps])
def test_zeros_that_were_there_stay(solve):
    weight, moments = layer()
    zeros = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    for pattern in (None, Few(2, 4), Tiles(4, 8)):
        assert not solve(weight * ~zeros, moments.s, Plan(0.5, pattern, zeros=zeros))[zeros].any()


def test_a_refit_on_all_weights_gives_the_layer_from_any_start():
    weight, moments = layer()
    s = damped(moments.s)
    full = torch.ones_like(weight, dtype=torch.bool)
    found = refit(weight, s, full, steps=200, start=torch.zeros_like(weight))
    assert torch.allclose(found, weight, atol=1e-2)


def test_a_refit_is_the_least_squares_solution_of_every_row():
    weight, moments = layer(rows=6)
    s = damped(moments.s).double()
    mask = Plan(0.5).mask(weight.square())
    found = refit(weight.double(), s, mask, steps=100)
    for row, kept, got in zip(weight.double(), mask, found, strict=True):
        exact = torch.linalg.solve(s[kept][:, kept], s[kept] @ row)
        assert torch.allclose(got[kept], exact, atol=1e-5)
        assert not got[~kept].any()


def test_every_step_of_a_refit_lowers_the_error():
    weight, moments = layer()
    s, mask = damped(moments.s), Plan(0.6).mask(weight.square())
    lost = [relative_error(weight, refit(weight, s, mask, steps), moments) for steps in (0, 1, 2, 4, 8, 16)]
    assert lost == sorted(lost, reverse=True)


def test_where_inputs_do_not_go_together_the_support_is_nearly_the_best():
    weight, moments = layer()
    s = torch.diag(moments.s.diagonal())
    scores = CRITERIA["wanda"](weight, s)  # then it is the error of each weight, and the least are best
    best = float(scores[~Plan(0.5).mask(scores, whole=True)].sum())
    assert best <= float(scores[~support(weight, s, Plan(0.5))].sum()) < 1.05 * best


def test_inputs_that_never_occur_do_no_harm():
    weight, moments = layer()
    moments.s[:, 5] = moments.s[5] = 0
    for solve in (sparsegpt, alps):
        found = solve(weight, moments.s, Plan(0.5))
        assert found.isfinite().all()
        assert int((found == 0).sum()) >= weight.numel() // 2


@pytest.mark.parametrize("wrong", [{"damping": 0}, {"steps": 0}, {"refits": -1}, {"sparsity": 1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Alps(**wrong)
    with pytest.raises(ValueError, match="block"):
        SparseGPT(block=0)
