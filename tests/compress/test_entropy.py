"""Entropy-coded quantization of whole models: the bits asked for, and what is stored."""

import math

import pytest
import torch

from pocketlm.compress.calibration import calibration_from_text
from pocketlm.compress.context import Context
from pocketlm.compress.entropy import EntropyCoded, near_one
from pocketlm.compress.journal import Journal
from pocketlm.compress.passes import PASSES
from pocketlm.compress.targets import pack_layer
from pocketlm.model.code_weights import StepWeight
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.weights import DenseWeight
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json


def test_the_scale_of_the_loss_does_not_matter():
    energy = {"a": torch.rand(8) * 1e-7, "b": torch.rand(4) * 1e-6}
    far = {name: one * 4.0**20 for name, one in energy.items()}
    near = near_one(energy)
    assert 0.25 < sum(float(one.mean()) for one in near.values()) / 2 < 4
    assert all(torch.equal(near[name], one) for name, one in near_one(far).items())


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
