import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.low_rank import LowRank
from pocketlm.compress.passes import PASSES
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import RecipeError
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.weights import ProductWeight
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

BEST = {"method": "kronecker", "allocation": "loss", "update": "sequential"}


def shrunk(model, calibration, **settings):
    return compress(model, Recipe([LowRank(**settings)]), Context(calibration=calibration, fast=False))


def blocks(model):
    return {
        one.name: model.module.get_submodule(one.name)
        for one in model.layers
        if one.block and one.kind in ("linear", "expert")
    }


def lost(model, made, calibration):
    total = 0.0
    with torch.no_grad():
        for batch in calibration.batches:
            total += float((model.module(**batch)[0] - made.module(**batch)[0]).square().mean())
    return total


@pytest.mark.parametrize("settings", [{}, {"method": "svd"}, {"method": "fisher"}, BEST, {"update": "sequential"}])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_the_share_goes_and_ranks_are_promised(family, calibrated, name, settings):
    model = family(name)
    made = shrunk(model, calibrated(model), share=0.3, **settings)
    whole = sum(one.weight.numel() for one in blocks(model).values())
    assert made.parameters <= model.parameters - 0.3 * whole
    assert made.parameters >= model.parameters - 0.45 * whole
    facts = {one["name"]: one for one in made.records[0]["layers"]}
    for layer, module in blocks(made).items():
        if isinstance(module.stored, ProductWeight):
            assert module.stored.rank == facts[layer]["rank"]
        else:
            assert facts[layer]["done"] == "left" and facts[layer]["why"]


@pytest.mark.parametrize("name", ["gpt2", "t5", "mixtral", "whisper"])
def test_every_family_is_factorized(family, calibrated, name):
    model = family(name)
    calibration = None if name == "whisper" else calibrated(model)
    settings = {"method": "svd"} if name == "whisper" else {"update": "sequential"}
    made = shrunk(model, calibration, share=0.4, **settings)
    done = {one["name"]: one["done"] for one in made.records[0]["layers"]}
    assert sum(done[layer] == "factorized" for layer in blocks(model)) > 0.9 * len(blocks(model))


@pytest.mark.parametrize("settings", [{}, {"method": "kronecker"}, {"update": "sequential"}])
def test_a_rank_that_stores_no_less_leaves_the_layer_as_it_is(family, calibrated, settings):
    model = family("llama")
    context = Context(calibration=calibrated(model), fast=False, allow_no_effect=True)
    made = compress(model, Recipe([LowRank(rank=32, **settings)]), context)
    assert lost(model, made, context.calibration) == 0
    reasons = {one["name"]: one.get("why", "") for one in made.records[0]["layers"]}
    assert all("stores no less" in reasons[name] for name in blocks(model))


def test_nearly_full_rank_is_nearly_the_model_and_error_falls_with_the_share(family, calibrated):
    model = family("bert")
    calibration = calibrated(model)
    errors = [lost(model, shrunk(model, calibration, share=share), calibration) for share in (0.1, 0.4, 0.8)]
    assert errors == sorted(errors)
    assert errors[0] < 0.1 * errors[-1]


def test_whitened_is_nearer_than_plain_and_pivots_nearer_than_none(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    plain, unpivoted, whitened = (
        lost(model, shrunk(model, calibration, share=0.4, **settings), calibration)
        for settings in ({"method": "svd", "pivoted": False}, {"pivoted": False}, {})
    )
    assert whitened < unpivoted < plain


def test_the_update_brings_the_model_nearer(family, calibrated):
    model = family("gpt2")
    calibration = calibrated(model)
    alone, updated, trained = (
        lost(model, shrunk(model, calibration, share=0.5, damping=1e-3, **settings), calibration)
        for settings in ({}, {"update": "sequential"}, {"update": "sequential", "tune_epochs": 15, "tune_rate": 1e-3})
    )
    assert updated < alone
    assert trained < updated


def test_the_same_twice_and_after_a_folder(family, calibrated, tmp_path):
    model = family("llama")
    made = [shrunk(model, calibrated(model), share=0.4, tune_epochs=1, **BEST) for _ in range(2)]
    save_model(made[0], tmp_path / "model")
    again = load_model(tmp_path / "model")
    for name, tensor in made[0].module.state_dict().items():
        assert torch.equal(tensor, made[1].module.state_dict()[name]), name
        assert torch.equal(tensor, again.module.state_dict()[name]), name
    assert again.parameters == made[0].parameters


@pytest.mark.parametrize("then", [{"pass": "round-to-nearest"}, {"pass": "gptq"}])
def test_factors_are_quantized_afterwards(family, calibrated, then):
    model = family("llama")
    recipe = Recipe([LowRank(share=0.4), pass_from_json({**then, "bits": 4, "group_size": 16}, PASSES)])
    made = compress(model, recipe, Context(calibration=calibrated(model), fast=False))
    for module in blocks(made).values():
        assert isinstance(module.stored.right, GridWeight)
        assert isinstance(module.stored.left.inner, GridWeight)


def test_rounded_or_pruned_weights_are_not_factorized_afterwards(family, calibrated):
    model = family("llama")
    with pytest.raises(RecipeError, match="factorize first"):
        compress(model, Recipe([RoundToNearest(), LowRank()]), Context(calibration=calibrated(model)))


def test_ranks_by_pattern(family, calibrated):
    model = family("llama")
    made = shrunk(model, calibrated(model), rank={"*": 4, "*.down_proj": 8})
    for name, module in blocks(made).items():
        assert module.stored.rank == (8 if name.endswith("down_proj") else 4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "qr"}, "svd, whitened"),
        ({"share": 1.0}, "below 1"),
        ({"rank": 0}, "at least 1"),
        ({"allocation": "loss", "rank": 3}, "chooses ranks itself"),
        ({"allocation": "loss", "method": "svd"}, "needs method"),
        ({"correct": 2}, "from 0 to 1"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        pass_from_json({"pass": "low-rank", **settings}, PASSES)


def test_settings_survive_as_data():
    step = LowRank(share=0.1, rank={"*": 3}, multiple=8)
    assert pass_from_json(pass_to_json(step), PASSES) == step
