"""GPTQ against a slow oracle and round-to-nearest, alone and on whole models of several families."""

from dataclasses import replace

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.feedback import Feedback, row_errors, upper_factor
from pocketlm.compress.gptq import Gptq, feedback_codes, solve
from pocketlm.compress.grid import grid_for
from pocketlm.compress.journal import Journal
from pocketlm.compress.passes import PASSES
from pocketlm.compress.stages import _Relay as Relay
from pocketlm.compress.targets import pack_layer
from pocketlm.errors import ModelError
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.weights import DenseWeight, ProductWeight
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json


def made_up(rows=24, columns=40, tokens=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator)
    inputs = torch.randn(tokens, columns, generator=generator) @ mix
    return torch.randn(rows, columns, generator=generator), inputs.t() @ inputs


def oracle(matrix, grid, s, damping, order, frozen=None):
    """Column by column, with the inverse made anew for what is left: as the method's derivation has it."""
    work, codes = matrix.double().clone(), torch.zeros(matrix.shape, dtype=torch.uint8)
    scale, zero = (one.expand(matrix.shape).double() for one in grid.columns(matrix.shape[1]))
    damped = s.double() + damping * s.double().diagonal().mean() * torch.eye(len(s)).double()
    left = list(order)
    while left:
        inverse = torch.linalg.inv(damped[left][:, left])
        column, rest = left[0], left[1:]
        code = (work[:, column] / scale[:, column] + zero[:, column]).round().clamp(0, 2**grid.bits - 1)
        if frozen is not None:
            code = torch.where(frozen[:, column], zero[:, column], code)
        codes[:, column] = code.to(torch.uint8)
        error = (work[:, column] - (code - zero[:, column]) * scale[:, column]) / inverse[0, 0]
        work[:, rest] -= error[:, None] * inverse[0, 1:]
        left = rest
    return codes


def context_of(calibration):
    return Context(calibration=calibration, fast=False)


def quantized(model, calibration, **settings):
    context = context_of(calibration)
    return Gptq(**settings)(model.copy(), context), context.journal


@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize("block", [7, 128])
def test_blocked_solve_agrees_with_the_column_by_column_oracle(act_order, block):
    matrix, s = made_up()
    grid = grid_for(matrix, 3, 16, False, True, s.diagonal())
    feedback = Feedback.of(s, act_order, 0.01)
    found = feedback_codes(matrix, grid, feedback.upper, feedback.order, block=block)
    expected = oracle(matrix, grid, s, 0.01, feedback.order.tolist())
    assert float((found == expected).float().mean()) > 0.999  # float32 may break a tie another way


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_no_row_is_worse_than_rounded_to_nearest(bits, symmetric):
    for seed in range(5):
        matrix, s = made_up(seed=seed)
        grid = grid_for(matrix, bits, 16, symmetric, True)
        solved = solve(matrix, grid, Feedback.of(s))
        mine = row_errors(matrix - solved.weight.matrix(), s)
        plain = row_errors(matrix - grid.weight(grid.codes(matrix)).matrix(), s)
        assert bool((mine <= plain).all())
        assert solved.error <= solved.plain


def test_feedback_pays_where_inputs_go_together():
    matrix, s = made_up(64, 64, 1000)
    solved = solve(matrix, grid_for(matrix, 3, 16, False, True), Feedback.of(s))
    assert solved.error < 0.7 * solved.plain


def test_what_is_on_the_grid_already_stays_as_it_is():
    matrix, s = made_up()
    grid = grid_for(matrix, 8, 16, False)
    on_grid = grid.weight(grid.codes(matrix)).matrix()
    solved = solve(on_grid, grid, Feedback.of(s))
    assert torch.equal(solved.weight.matrix(), on_grid)
    assert solved.error == 0


def test_without_correlation_it_is_rounding_to_nearest():
    matrix, _ = made_up()
    grid = grid_for(matrix, 4, 16, False)
    assert torch.equal(solve(matrix, grid, Feedback.of(torch.eye(40) * 7)).codes, grid.codes(matrix))


def test_pruned_zeros_stay_and_their_neighbours_still_make_up_for_errors():
    matrix, s = made_up()
    matrix = matrix * (matrix.abs() > 0.6)
    frozen = matrix == 0
    grid = grid_for(matrix, 3, 16, False, True)
    feedback = Feedback.of(s)
    solved = solve(matrix, grid, feedback, frozen)
    assert not solved.weight.matrix()[frozen].any()
    assert solved.error <= solved.plain
    expected = oracle(matrix, grid, s, 0.01, feedback.order.tolist(), frozen)
    found = feedback_codes(matrix, grid, feedback.upper, feedback.order, frozen)
    assert float((found == expected).float().mean()) > 0.999


def test_the_factor_is_that_of_the_inverse_and_damping_rises_where_it_must():
    _, s = made_up()
    upper, damping = upper_factor(s, 0.01)
    damped = s.double() + 0.01 * s.double().diagonal().mean() * torch.eye(40).double()
    assert damping == 0.01
    assert torch.allclose(upper.double().t() @ upper.double() @ damped, torch.eye(40).double(), atol=1e-2)
    flat = torch.ones(40, 40) - 0.01 * torch.eye(40)
    raised = upper_factor(flat, 0.001)
    assert raised[1] > 0.001
    assert bool(raised[0].isfinite().all())
    assert bool(upper_factor(torch.zeros(8, 8), 0.01)[0].isfinite().all())  # inputs that are always zero


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "mixtral"])
def test_every_block_matrix_of_a_family_is_quantized_and_promises_hold(family, calibrated, name):
    model = family(name)
    made = compress(model, Recipe([Gptq(bits=4, group_size=32)]), context_of(calibrated(model)))
    records = {one["name"]: one for one in made.records[0]["layers"]}
    for layer in model.layers:
        expected = layer.block and layer.kind in ("linear", "expert")
        assert records[layer.name]["done"] == ("quantized" if expected else "left"), layer.name
        if expected and "rounded_error" in records[layer.name]:
            assert records[layer.name]["error"] <= records[layer.name]["rounded_error"]


@pytest.mark.parametrize("settings", [{}, {"correct": 0.0}, {"refine": 0}])
def test_the_model_is_nearer_than_rounded_and_the_same_twice(family, calibrated, settings):
    model = family("llama")
    calibration = calibrated(model)
    batch = dict(calibration.batches[0])
    made, _ = quantized(model, calibration, bits=3, group_size=16, **settings)
    again, _ = quantized(model, calibration, bits=3, group_size=16, **settings)
    rounded = PASSES["round-to-nearest"](bits=3, group_size=16)(model.copy(), context_of(calibration))
    whole, mine, twin, plain = (one.module(**batch).logits for one in (model, made, again, rounded))
    assert torch.equal(mine, twin)
    assert float((mine - whole).square().mean()) < float((plain - whole).square().mean())


def test_each_layer_may_have_bits_of_its_own(family, calibrated):
    model = family("llama")
    made, _ = quantized(model, calibrated(model), bits={"*": 2, "*.down_proj": 5}, group_size=16)
    blocks = [one for one in made.layers if one.block]
    bits = {one.role: made.module.get_submodule(one.name).stored.bits for one in blocks}
    assert {value for role, value in bits.items() if role.endswith("down_proj")} == {5}
    assert {value for role, value in bits.items() if not role.endswith("down_proj")} == {2}


def test_a_tied_head_is_solved_and_shared(family, calibrated, tmp_path):
    model = family("llama")
    made, journal = quantized(model, calibrated(model), bits=4, group_size=16, layers=("blocks", "embeddings", "head"))
    assert made.module.lm_head.stored is made.module.model.embed_tokens.stored
    assert journal.layers["lm_head"].error <= journal.layers["lm_head"].facts["rounded_error"]
    save_model(made, tmp_path / "model")
    batch = dict(calibrated(model).batches[0])
    assert torch.equal(load_model(tmp_path / "model").module(**batch).logits, made.module(**batch).logits)


def test_factors_of_a_low_rank_layer_are_each_quantized(family, calibrated):
    model = family("llama").copy()
    name = "model.layers.0.mlp.down_proj"
    layer = pack_layer(model.module, name)
    left, middle, right = torch.linalg.svd(layer.weight, full_matrices=False)
    layer.stored = ProductWeight(DenseWeight(left[:, :16] * middle[:16]), DenseWeight(right[:16]))
    made, journal = quantized(model, calibrated(model), bits=4, group_size=16)
    stored = made.module.get_submodule(name).stored
    assert isinstance(stored.left, GridWeight)
    assert isinstance(stored.right, GridWeight)
    assert {f"{name}/left", f"{name}/right"} <= set(journal.layers)
    _, journal = quantized(made, calibrated(model), bits=3, group_size=16)
    assert journal.layers[name].why == "is quantized already"


def test_an_error_while_a_block_runs_comes_out_and_no_pass_is_left_waiting(family, calibrated, monkeypatch):
    from pocketlm.compress import stages

    model = family("llama")
    calibration = calibrated(model)
    relays = []
    monkeypatch.setattr(stages, "_Relay", lambda *args: relays.append(relay := Relay(*args)) or relay)

    class Broken(Journal):
        def layer(self, *args, **kwargs):
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        Gptq(group_size=16)(model.copy(), replace(context_of(calibration), journal=Broken()))
    assert relays
    assert all(one.dead for relay in relays for one in relay.passes)
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("settings", [{"damping": -0.1}, {"correct": 2.0}, {"refine": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Gptq(**settings)


def test_settings_survive_a_recipe():
    step = Gptq(bits={"*": 3}, group_size=32, correct=0.5, layers=("blocks", "head"))
    assert pass_from_json(pass_to_json(step), PASSES) == step


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_moments_that_are_not_finite_end_in_an_error_and_not_in_more_damping_for_ever(value):
    s = torch.eye(4)
    s[1, 1] = value
    with pytest.raises(ModelError, match="NaN or infinite"):
        upper_factor(s, 0.01)
