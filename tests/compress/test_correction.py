import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.correction import LowRankCorrection, left_fit
from pocketlm.compress.depth import DropLayers
from pocketlm.compress.factors import root_of, truncated
from pocketlm.compress.low_rank import LowRank
from pocketlm.compress.passes import PASSES
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import NoEffect, RecipeError
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.weights import DenseWeight, SumWeight
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

ROUNDED = RoundToNearest(bits=2, group_size=16)


def blocks(model):
    return [model.module.get_submodule(one.name) for one in model.layers if one.block and one.kind == "linear"]


def corrected(model, calibration, before=ROUNDED, **settings):
    step = LowRankCorrection(**{"rank": 8, **settings})
    return compress(model, Recipe([before, step]), Context(calibration=calibration, fast=False))


def lost(model, made, calibration):
    with torch.no_grad():
        return sum(
            float((model.module(**batch)[0] - made.module(**batch)[0]).square().mean()) for batch in calibration.batches
        )


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_a_correction_brings_every_family_nearer_and_says_what_it_weighs(family, calibrated, name):
    model = family(name)
    calibration = calibrated(model)
    rounded = compress(model, Recipe([ROUNDED]), Context(calibration=calibration))
    made = corrected(model, calibration)
    assert lost(model, made, calibration) < 0.8 * lost(model, rounded, calibration)
    assert all(isinstance(layer.stored, SumWeight) for layer in blocks(made))
    record = made.records[1]
    assert "bytes" in record["notes"][0]
    assert record["size_bytes"][1] > record["size_bytes"][0]
    for one in record["layers"]:
        assert one["done"] == "left" or (one["error"] < one["error_before"] and one["rank"] == 8)


def test_full_rank_with_plain_factors_is_the_teacher(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    made = corrected(model, calibration, rank=64, bits=0, update="none", damping=1e-4)
    for layer, whole in zip(blocks(made), blocks(model), strict=True):
        assert torch.allclose(layer.weight, whole.weight, atol=5e-3)  # factors are stored in half precision


def test_error_falls_with_rank_and_whitened_is_nearer_than_plain(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)

    def total(**settings):
        made = corrected(model, calibration, update="none", damping=1e-6, **settings)
        return sum(one["error"] for one in made.records[1]["layers"] if one["done"] == "corrected")

    errors = [total(rank=rank) for rank in (2, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert total(rank=8, bits=0) <= total(rank=8, bits=0, method="svd")
    assert total(rank=8, bits=8) < 1.1 * total(rank=8, bits=0) + 1e-3


def test_the_left_fit_makes_up_for_the_rounding_of_the_right_factor():
    generator = torch.Generator().manual_seed(0)
    rest, inputs = torch.randn(6, 8, generator=generator), torch.randn(99, 8, generator=generator)
    right = root_of(inputs.t() @ inputs, 0.0)
    first, second = truncated(rest, 3, right)
    assert torch.allclose(left_fit(rest, second, right), first, atol=1e-4)
    coarse = (second * 4).round() / 4
    plain = ((rest - first @ coarse) @ inputs.t()).square().sum()
    assert ((rest - left_fit(rest, coarse, right) @ coarse) @ inputs.t()).square().sum() <= plain


def test_rounds_never_raise_a_layers_error(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)

    def first_error(rounds):
        made = corrected(model, calibration, update="none", rounds=rounds)
        return next(one["error"] for one in made.records[1]["layers"] if one["done"] == "corrected")

    assert first_error(3) <= first_error(0)


def test_the_base_keeps_its_bits_and_factors_have_their_own(family, calibrated):
    model = family("llama")
    for layer in blocks(corrected(model, calibrated(model), rounds=1, bits=6)):
        assert isinstance(layer.stored.base, GridWeight) and layer.stored.base.bits == 2
        assert layer.stored.correction.left.bits == layer.stored.correction.right.bits == 6
    plain = corrected(model, calibrated(model), bits=0)
    assert isinstance(blocks(plain)[0].stored.correction.left, DenseWeight)


def test_the_same_twice_and_after_a_folder(family, calibrated, tmp_path):
    model = family("llama")
    made = [corrected(model, calibrated(model), method="kronecker", rounds=1) for _ in range(2)]
    save_model(made[0], tmp_path / "model")
    again = load_model(tmp_path / "model").module.state_dict()
    other = made[1].module.state_dict()
    for name, tensor in made[0].module.state_dict().items():
        assert torch.equal(tensor, other[name]) and torch.equal(tensor, again[name]), name


def test_layers_that_are_not_quantized_are_left_with_the_reason(family, calibrated):
    model = family("llama")
    context = Context(calibration=calibrated(model), fast=False)
    with pytest.raises(NoEffect, match="is not quantized"):
        compress(model, Recipe([LowRankCorrection()]), context)
    with pytest.raises(NoEffect, match="is not quantized"):
        compress(model, Recipe([LowRank(share=0.5), LowRankCorrection()]), context)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"rank": 0}, "at least 1"), ({"method": "x"}, "whitened"), ({"bits": 9}, "2 to 8"), ({"rounds": -1}, "least 0")],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        pass_from_json({"pass": "low-rank-correction", **settings}, PASSES)


def test_settings_survive_as_data():
    step = LowRankCorrection(rank={"*": 3}, bits=0)
    assert pass_from_json(pass_to_json(step), PASSES) == step


def test_blocks_that_were_dropped_do_not_shift_what_a_layer_is_corrected_to(family, calibrated):
    model = family("llama")
    context = Context(calibrated(model), teacher=model, fast=False)
    steps = [DropLayers(stack="model.layers", blocks=(0,), protect=0), RoundToNearest(bits=2, group_size=16)]
    rough = compress(model, Recipe(steps), context)
    made = compress(rough, Recipe([LowRankCorrection(rank=30, bits=0)]), context)
    name, first = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"
    whole = model.module.get_submodule(first).weight
    lost = [float((one.module.get_submodule(name).weight - whole).norm()) for one in (made, rough)]
    assert lost[0] < 0.5 * lost[1]
    assert any("blocks or experts of the teacher are gone" in note for note in made.records[-1]["notes"])
