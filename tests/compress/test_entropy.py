"""Entropy-coded quantization: an oracle, what steps and thrift are for, and bytes on whole models."""

import math
from dataclasses import replace

import pytest
import torch

from pocketlm.compress.calibration import calibration_from_text
from pocketlm.compress.context import Context
from pocketlm.compress.entropy import (
    EntropyCoded,
    Stock,
    entropy_bits,
    near_one,
    refitted,
    step_codes,
    steps_for,
    thrifty,
)
from pocketlm.compress.journal import Journal
from pocketlm.compress.passes import PASSES
from pocketlm.compress.targets import pack_layer
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.tensors import encode_tensor
from pocketlm.model.weights import DenseWeight, StepWeight
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json


def made_up(rows=48, columns=40, tokens=400, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(tokens, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    matrix, energy = torch.randn(rows, columns, generator=generator), torch.rand(rows, generator=generator) + 0.1
    return matrix, inputs.t() @ inputs / tokens, energy


def loss(matrix, found, s, energy):
    lost = matrix - found
    return float((((lost @ s) * lost).sum(1) * energy).sum())


def rounded(matrix, s, energy, scale, thrift=0.0, plain=False):
    steps = steps_for(s, energy, 0.01)
    if plain:  # one step for all weights, of the same entropy as nearly as a search finds
        steps = replace(steps, columns=torch.ones_like(steps.columns), rows=torch.ones_like(steps.rows))
    rows = steps.rows * scale
    codes = step_codes(matrix, rows, steps, thrift)
    return codes, codes * rows[:, None] * steps.columns


def test_codes_are_those_of_a_slow_oracle():
    matrix, s, energy = made_up(6, 10)
    steps = steps_for(s, energy, 0.01)
    rows, left = steps.rows * 0.3, steps.order.tolist()
    work, codes = matrix.double().clone(), torch.zeros(matrix.shape)
    damped = s.double() + 0.01 * s.double().diagonal().mean() * torch.eye(10).double()
    while left:
        inverse = torch.linalg.inv(damped[left][:, left])
        step = rows.double() * steps.columns[left[0]].double()
        codes[:, left[0]] = (work[:, left[0]] / step).round().float()
        error = (work[:, left[0]] - codes[:, left[0]].double() * step) / inverse[0, 0]
        work[:, left[1:]] -= error[:, None] * inverse[0, 1:]
        left = left[1:]
    assert torch.equal(step_codes(matrix, rows, steps, 0.0, block=3), codes)


def test_finer_steps_lose_less_and_take_more_bits():
    matrix, s, energy = made_up()
    found = [rounded(matrix, s, energy, 2.0**-rung) for rung in range(1, 7)]
    losses = [loss(matrix, one, s, energy) for _, one in found]
    bits = [entropy_bits(codes) for codes, _ in found]
    assert losses == sorted(losses, reverse=True)
    assert bits == sorted(bits)
    assert losses[-1] < 1e-3 * loss(matrix, torch.zeros_like(matrix), s, energy)


def test_steps_by_what_the_loss_feels_beat_one_step_at_the_same_entropy():
    matrix, s, energy = made_up(256, 64, seed=1)
    energy = energy**4  # rows that differ much
    mine, other = rounded(matrix, s, energy, 0.5), None
    wanted = entropy_bits(mine[0])
    for rung in torch.linspace(-6, 4, 200):
        tried = rounded(matrix, s, energy, float(2**rung), plain=True)
        if entropy_bits(tried[0]) <= wanted:
            break
        other = tried
    assert entropy_bits(other[0]) > wanted  # the rival even has more bits
    assert loss(matrix, mine[1], s, energy) < loss(matrix, other[1], s, energy)


def test_thrift_takes_the_lower_neighbour_only_where_that_is_near():
    wanted = torch.tensor([0.4, 0.55, 0.9, -1.55, -0.52, 2.0])
    assert thrifty(wanted, 0.0).tolist() == wanted.round().tolist()
    assert thrifty(wanted, 0.15).tolist() == [0.0, 0.0, 1.0, -1.0, 0.0, 2.0]


def test_refitted_steps_never_lose_more():
    matrix, s, energy = made_up()
    steps = steps_for(s, energy, 0.01)
    rows = steps.rows * 0.5
    codes = step_codes(matrix, rows, steps, 0.15)
    better = refitted(matrix, codes, rows, steps.columns, s)
    ones = torch.ones_like(energy)
    before, after = (loss(matrix, codes * one[:, None] * steps.columns, s, ones) for one in (rows, better))
    assert after <= before


def test_zeros_stay():
    matrix, s, energy = made_up()
    frozen = torch.rand(matrix.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    matrix = matrix.masked_fill(frozen, 0.0)
    steps = steps_for(s, energy, 0.01)
    assert not step_codes(matrix, steps.rows * 0.3, steps, 0.1, frozen)[frozen].any()


def test_the_stock_finds_the_step_of_a_wanted_entropy():
    matrix, s, energy = made_up(64, 64)
    steps, stock = steps_for(s, energy, 0.01), Stock()
    stock.add(matrix, steps, 0.0)
    scale = stock.step_for(3.0)
    codes = (matrix / (steps.rows[:, None] * steps.columns * scale)).round()
    assert entropy_bits(codes) / codes.numel() == pytest.approx(3.0, abs=0.15)


def test_the_scale_of_the_loss_does_not_matter():
    energy = {"a": torch.rand(8) * 1e-7, "b": torch.rand(4) * 1e-6}
    far = {name: one * 4.0**20 for name, one in energy.items()}
    near = near_one(energy)
    assert 0.25 < sum(float(one.mean()) for one in near.values()) / 2 < 4
    assert all(torch.equal(near[name], one) for name, one in near_one(far).items())


def test_stored_bytes_are_near_the_entropy():
    codes = (torch.randn(256, 512, generator=torch.Generator().manual_seed(0)) * 2).round().to(torch.int16)
    assert len(encode_tensor(codes).data) * 8 == pytest.approx(entropy_bits(codes), rel=0.02)


@pytest.fixture(scope="module", params=["llama", "bert", "gpt2", "t5", "mixtral"])
def small(request, family_folder):
    model = load_model(family_folder(request.param))
    text = "\n".join("turn on the red lamp in the kitchen and dim the white one" for _ in range(60))
    calibration = calibration_from_text(text, model, windows=8, length=16, batch_size=4)
    return model, calibration


def test_a_whole_model_takes_the_bits_asked_for_and_reloads(small, tmp_path):
    model, calibration = small
    context = Context(calibration=calibration, fast=False)
    made = compress(model, Recipe([EntropyCoded(bits=3.0)]), context)
    layers = made.records[-1]["layers"]
    assert all(one["done"] == "quantized" or one["why"] for one in layers)
    for one in layers:
        if one["done"] == "quantized":
            assert isinstance(made.module.get_submodule(one["name"]).stored, StepWeight)
    save_model(made, tmp_path / "small")
    again = load_model(tmp_path / "small")
    batch = calibration.batches[0]
    with torch.no_grad():
        assert torch.equal(made.module(**batch)[0], again.module(**batch)[0])
    twice = compress(model, Recipe([EntropyCoded(bits=3.0)]), context)
    for name, tensor in made.module.state_dict().items():
        assert torch.equal(tensor, twice.module.state_dict()[name])


def test_more_bits_are_nearer_to_the_model(small):
    model, calibration = small
    batch, gaps = calibration.batches[0], []
    for bits in (2.0, 4.0, 6.0):
        made = compress(model, Recipe([EntropyCoded(bits=bits)]), Context(calibration=calibration, fast=False))
        with torch.no_grad():
            gaps.append(float((made.module(**batch)[0] - model.module(**batch)[0]).square().mean()))
    assert gaps == sorted(gaps, reverse=True)
    assert all(math.isfinite(gap) for gap in gaps)


def test_factors_are_quantized_too(small):
    model, calibration = small
    own = model.copy()
    layer = next(one for one in own.layers if one.block and one.kind == "linear")
    from pocketlm.model.weights import ProductWeight

    matrix = pack_layer(own.module, layer.name).stored.matrix()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    pack_layer(own.module, layer.name).stored = ProductWeight(DenseWeight(left * values), DenseWeight(right))
    context = Context(calibration=calibration, fast=False, journal=Journal())
    made = EntropyCoded(bits=4.0, layers=(layer.name,))(own, context)
    stored = made.module.get_submodule(layer.name).stored
    assert isinstance(stored.left, StepWeight)
    assert isinstance(stored.right, StepWeight)


def test_settings_round_trip_and_are_checked():
    step = EntropyCoded(bits=2.5, correct=0.5)
    assert pass_from_json(pass_to_json(step), PASSES) == step
    for wrong in ({"bits": 0.5}, {"bits": 9}, {"thrift": 2}, {"correct": -1}, {"gradients": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            EntropyCoded(**wrong)
