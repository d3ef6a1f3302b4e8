import pytest
from families import calibrated, deep  # noqa: F401

from pocketlm.compress.allocate import Allocation
from pocketlm.compress.context import Context
from pocketlm.compress.options import Option
from pocketlm.errors import BudgetError
from pocketlm.recipe.choice import recipe_of
from pocketlm.recipe.compress import compress

CONTEXT = Context(fast=False)


def test_a_choice_as_passes_names_layers_as_they_are_then(deep, calibrated):  # noqa: F811
    model = deep()
    chosen = {
        layer.name: Option("keep", layer.parameters * 2)
        for layer in model.layers
        if layer.block != "model.layers.1" and layer.name != "lm_head"
    }
    chosen["model.layers.3.mlp.up_proj"] = Option(
        "low-rank", 900, {"low-rank": 0.1, "grid": 0.2}, {"share": 0.4, "bits": 4}
    )
    chosen["model.layers.0.mlp.up_proj"] = Option("prune", 900, {"prune": 0.1}, {"sparsity": 0.5})
    chosen["model.embed_tokens"] = Option("grid", 2000, {"grid": 0.1}, {"bits": 6})
    recipe = recipe_of(Allocation(chosen, ("model.layers.1",)), model)
    assert list(recipe.to_json()[0]["blocks"]) == [1]
    steps = {one["pass"]: one for one in recipe.to_json()}
    assert list(steps) == ["drop-layers", "low-rank", "sparsegpt", "gptq"]
    assert steps["low-rank"]["share"] == {"model.layers.2.mlp.up_proj": 0.4}
    assert steps["sparsegpt"]["sparsity"] == {"model.layers.0.mlp.up_proj": 0.5}
    assert steps["gptq"]["bits"] == {"model.embed_tokens": 6, "lm_head": 6, "model.layers.2.mlp.up_proj": 4}
    made = compress(model, recipe, Context(calibrated(model), fast=False))
    assert made.spec.kept["model.layers"] == (0, 2, 3)
    assert made.module.lm_head.stored is made.module.model.embed_tokens.stored


def test_units_go_before_factors_and_bits(deep, calibrated):  # noqa: F811
    model = deep()
    chosen = {layer.name: Option("keep", 10) for layer in model.layers if layer.name != "lm_head"}
    part = [f"model.layers.2.mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")]
    units = next(layer.shape[1] for layer in model.layers if layer.name == part[2])
    share = 8 / units
    for name in part:
        losses = {"entropy-coded": 0.1} | ({"width": 0.2} if name == part[2] else {})
        chosen[name] = Option("entropy-coded", 900, losses, {"bits": 3, "width": share})
    recipe = recipe_of(Allocation(chosen), model)
    steps = recipe.to_json()
    assert [one["pass"] for one in steps] == ["prune-ffn", "entropy-coded"]
    assert steps[0]["share"] == {part[2]: share} and list(steps[0]["layers"]) == [part[2]]
    weights = sum(layer.parameters for layer in model.layers if layer.name in part) * (1 - share)
    assert steps[1]["bits"] == pytest.approx(max(1, 8 * 2700 / weights), abs=1e-3)
    made = compress(model, recipe, Context(calibrated(model), fast=False))
    shapes = {layer.name: layer.shape for layer in made.layers}
    assert shapes[part[2]][1] == shapes[part[0]][0] == shapes[part[1]][0] == units - 8


def test_coded_layers_share_one_mean_and_groups_go_by_their_word(deep):  # noqa: F811
    model = deep()
    chosen = {
        layer.name: Option("entropy-coded", layer.parameters // 4, {"entropy-coded": 0.1}, {"bits": 2})
        for layer in model.layers
        if layer.name != "lm_head"
    }
    step = recipe_of(Allocation(chosen), model).to_json()[0]
    assert step["bits"] == pytest.approx(2) and list(step["layers"]) == ["blocks", "embeddings", "head"]
    chosen["model.layers.0.mlp.up_proj"] = Option("keep", 4096)
    step = recipe_of(Allocation(chosen), model).to_json()[0]
    assert list(step["layers"][:2]) == ["embeddings", "head"] and len(step["layers"]) == 2 + 27


def test_nothing_to_choose_is_said(deep):  # noqa: F811
    with pytest.raises(BudgetError, match="meets the target as it is"):
        recipe_of(Allocation({"model.embed_tokens": Option("keep", 1)}), deep())
