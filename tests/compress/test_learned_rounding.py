"""Learned rounding: it starts from GPTQ, comes nearer to the block's output, and keeps what it must."""

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.grid import grid_for
from pocketlm.compress.learned_rounding import LearnedRounding
from pocketlm.compress.offsets import Offsets
from pocketlm.compress.passes import PASSES
from pocketlm.compress.walk import Call, part_of
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

SMALL = {"bits": 3, "group_size": 16, "steps": 20, "sequences": 4}


def learned(model, calibration, **settings):
    context = Context(calibration=calibration, fast=False)
    return LearnedRounding(**{**SMALL, **settings})(model.copy(), context), context.journal


def offsets(bits=3, rows=6, columns=40, size=16):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    grid = grid_for(matrix, bits, size, False, True)
    return matrix, grid, Offsets(matrix, grid, grid.codes(matrix), None, False)


def lost(model, made, batch):
    return float((made.module(**batch).logits - model.module(**batch).logits).square().mean())


def test_what_runs_before_a_step_is_what_the_codes_stand_for():
    matrix, grid, one = offsets()
    expected = grid.weight(grid.codes(matrix)).matrix()
    assert torch.allclose(one.live.matrix(), expected)
    assert torch.equal(one.weight().matrix(), expected)


def test_steps_move_codes_against_the_gradient_and_stay_on_the_grid():
    matrix, _, one = offsets()
    goal = torch.zeros_like(matrix)
    before = float(one.weight().matrix().square().mean())
    for _ in range(80):
        (one.live.values - goal).square().sum().backward()
        one.step(0.1, 0.0)
    weight = one.weight()
    assert float(weight.matrix().square().mean()) < 0.05 * before
    assert int(weight.codes.max()) < 8
    assert torch.allclose(weight.matrix(), one.live.matrix())


def test_scales_are_learned_where_codes_do_not_move():
    _, _, one = offsets()
    goal = one.live.matrix().detach() * 1.03
    before = float((one.weight().matrix() - goal).square().sum())
    for number in range(200):
        (one.live.values - goal).square().sum().backward()
        one.step(0.0, 0.002 * (1 - number / 200))
    assert float((one.weight().matrix() - goal).square().sum()) < 0.1 * before


def test_a_snapshot_brings_everything_back():
    _, _, one = offsets()
    before, kept = one.weight(), one.snapshot()
    one.live.values.sum().backward()
    one.step(0.7, 0.1)
    assert not torch.equal(one.weight().codes, before.codes)
    one.restore(kept)
    assert torch.equal(one.weight().codes, before.codes)
    assert torch.equal(one.weight().scales, before.scales)


def test_no_steps_is_rounding_to_where_it_starts(family, calibrated):
    model = family("llama")
    made, _ = learned(model, calibrated(model), steps=0, start="nearest", correct=0.0)
    name = "model.layers.0.self_attn.q_proj"
    weight = model.module.get_submodule(name).weight
    stored = made.module.get_submodule(name).stored
    nearest = torch.round(weight / stored.scales.float().repeat_interleave(16, 1)[:, :32])
    zeros = stored.zeros.float().repeat_interleave(16, 1)[:, :32]
    assert torch.equal(stored.codes.float(), (nearest + zeros).clamp(0, 7))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5", "mixtral"])
def test_every_block_matrix_of_a_family_is_quantized(family, calibrated, name):
    model = family(name)
    context = Context(calibration=calibrated(model), fast=False)
    made = compress(model, Recipe([LearnedRounding(**{**SMALL, "steps": 3})]), context)
    records = {one["name"]: one for one in made.records[0]["layers"]}
    for layer in model.layers:
        expected = layer.block and layer.kind in ("linear", "expert")
        assert records[layer.name]["done"] == ("quantized" if expected else "left"), layer.name
    assert not any(one.requires_grad for one in made.module.parameters())


def test_learning_comes_nearer_than_gptq_and_is_the_same_twice(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    batch = dict(calibration.batches[0])
    plain = {"refine": 0, "correct": 0.0}
    made, journal = learned(model, calibration, **plain)
    again, _ = learned(model, calibration, **plain)
    start = Gptq(bits=3, group_size=16, **plain)(model.copy(), Context(calibration=calibration, fast=False))
    assert torch.equal(made.module(**batch).logits, again.module(**batch).logits)
    assert lost(model, made, batch) < lost(model, start, batch)
    assert len(journal.notes) == 2


def test_the_next_block_sees_what_was_learned(family, calibrated, monkeypatch):
    model = family("llama")
    calibration = calibrated(model)
    seen = []
    visit = LearnedRounding._visit

    def watched(self, view, *args):
        seen.append([view.inputs[place].clone() for place in range(len(view.calls))])
        visit(self, view, *args)

    monkeypatch.setattr(LearnedRounding, "_visit", watched)
    made, _ = learned(model, calibration)
    states = made.module(**dict(calibration.batches[0]), output_hidden_states=True).hidden_states
    assert torch.allclose(states[1], seen[1][0], atol=1e-5)


def test_learning_that_harms_is_undone(family, calibrated):
    model = family("llama")
    batch = dict(calibrated(model).batches[0])
    wild, journal = learned(model, calibrated(model), rate=60.0, scale_rate=20.0, norm_rate=20.0)
    still, _ = learned(model, calibrated(model), steps=0)
    assert torch.equal(wild.module(**batch).logits, still.module(**batch).logits)
    assert all("undone" in note for note in journal.notes)


def test_pruned_zeros_stay_and_bits_may_differ(family, calibrated):
    model = family("llama").copy()
    weight = model.module.model.layers[0].mlp.up_proj.weight
    with torch.no_grad():
        weight.mul_(weight.abs() > weight.abs().median())
    made, _ = learned(model, calibrated(model), bits={"*": 3, "*.down_proj": 5})
    assert not made.module.model.layers[0].mlp.up_proj.weight[weight == 0].any()
    assert made.module.model.layers[1].mlp.down_proj.stored.bits == 5
    assert made.module.model.layers[1].mlp.up_proj.stored.bits == 3


def test_it_reloads_to_the_same_model(family, calibrated, tmp_path):
    model = family("llama")
    context = Context(calibration=calibrated(model), fast=False)
    made = compress(model, Recipe([LearnedRounding(**{**SMALL, "steps": 4})]), context)
    save_model(made, tmp_path / "model")
    batch = dict(calibrated(model).batches[0])
    assert torch.equal(load_model(tmp_path / "model").module(**batch).logits, made.module(**batch).logits)


def test_rows_are_taken_of_what_is_a_batch_and_of_nothing_else():
    rows = torch.tensor([2, 0])
    mask, places = torch.arange(12).view(4, 1, 3, 1), torch.arange(4)
    got = part_of(Call((mask,), {"pair": (mask[:1], mask), "places": places, "flag": None}), rows, 4)
    assert torch.equal(got.args[0], mask[rows])
    assert torch.equal(got.kwargs["pair"][0], mask[:1])
    assert torch.equal(got.kwargs["pair"][1], mask[rows])
    assert got.kwargs["places"] is places
    assert got.kwargs["flag"] is None


@pytest.mark.parametrize(
    ("settings", "said"), [({"steps": -1}, "steps"), ({"start": "x"}, "start"), ({"group_size": -1}, "group_size")]
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        LearnedRounding(**settings)


def test_settings_survive_a_recipe():
    step = LearnedRounding(bits={"*": 3}, steps=7, layers=("blocks", "head"))
    assert pass_from_json(pass_to_json(step), PASSES) == step
