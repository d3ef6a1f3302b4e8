import pytest
import torch
from families import calibrated  # noqa: F401

from pocketlm.compress.allocate import Allocation
from pocketlm.compress.context import Context
from pocketlm.compress.options import Option
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import BudgetError
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.target import Try, plan_for, recipe_for, recipe_of

CONTEXT = Context(fast=False)
KINDS = ("grid", "low-rank")


@pytest.fixture(scope="module")
def deep(teacher_folder, tmp_path_factory):
    """deep() is a fresh Llama of four blocks."""
    from families import make_family
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    folder = make_family("llama", tmp_path_factory.mktemp("deep"), tokenizer, num_hidden_layers=4)
    return lambda: load_model(folder)


def test_the_saved_folder_meets_the_target(deep, calibrated, tmp_path):  # noqa: F811
    model = deep()
    calibration = calibrated(model)
    whole = save_model(model, tmp_path / "whole")
    target = round(0.72 * whole)  # not near the least size, where a record's length decides
    plan = plan_for(model, calibration, target, CONTEXT, kinds=KINDS, rounds=1, cache=tmp_path)
    size = save_model(plan.best.model, tmp_path / "small")
    assert size == plan.best.bytes
    assert 0.95 * target <= size <= target
    context = Context(calibration, fast=False, allow_no_effect=True)
    again = compress(model, Recipe(plan.recipe.steps), context)
    state = again.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plan.best.model.module.state_dict().items())
    assert set(plan.best.measured) <= set(KINDS) and plan.best.rise > 0
    assert f"{len(plan.tries)} choices tried" in plan.text
    assert plan.best.predicted.keys() == plan.best.allocation.losses.keys()


def test_a_target_out_of_reach_names_the_least_size(deep, calibrated, tmp_path):  # noqa: F811
    with pytest.raises(BudgetError, match=r"target size 5 kB is out of reach.*is about \d+"):
        recipe_for(deep(), calibrated(deep()), 5_000, CONTEXT, kinds=("grid",), cache=tmp_path)


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


def test_coded_layers_share_one_mean_and_groups_go_by_their_word(deep):
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


def test_nothing_to_choose_is_said(deep):
    with pytest.raises(BudgetError, match="meets the target as it is"):
        recipe_of(Allocation({"model.embed_tokens": Option("keep", 1)}), deep())


def test_a_pass_that_lowers_the_loss_again_counts_in_the_rise():
    tried = Try(Recipe([RoundToNearest()]), Allocation({}), {}, {"prune": 0.5, "entropy-coded": -0.2}, 100, None)
    assert tried.rise == pytest.approx(0.3)
