import pytest
import torch
from families import calibrated, deep  # noqa: F401

from pocketlm.compress.allocate import Allocation
from pocketlm.compress.context import Context
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import BudgetError
from pocketlm.model.pretrained import save_model
from pocketlm.recipe import target as target_module
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.target import TRIES, Try, plan_for, recipe_for

CONTEXT = Context(fast=False)
KINDS = ("grid", "low-rank")


def test_the_saved_folder_meets_the_target(deep, calibrated, tmp_path, monkeypatch):  # noqa: F811
    model = deep()
    calibration = calibrated(model)
    whole = save_model(model, tmp_path / "whole")
    target = round(0.72 * whole)  # not near the least size, where a record's length decides
    monkeypatch.setattr(target_module, "TRIED_ON", calibration.tokens // 2)
    plan = plan_for(model, calibration, target, CONTEXT, kinds=KINDS, rounds=1, cache=tmp_path)
    size = save_model(plan.best.model, tmp_path / "small")
    assert size == plan.best.cost
    assert 0.95 * target <= size <= target
    context = Context(calibration, fast=False, allow_no_effect=True)
    again = compress(model, Recipe(plan.recipe.steps), context)
    state = again.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plan.best.model.module.state_dict().items())
    assert set(plan.best.measured) <= set(KINDS) and plan.best.rise > 0
    assert f"{len(plan.tries)} choices tried" in plan.text
    assert len(plan.tries) > 1 and all(one.model is None for one in plan.tries if one is not plan.best)
    assert plan.best.predicted.keys() == plan.best.allocation.losses.keys()


def test_a_target_out_of_reach_names_the_least_size(deep, calibrated, tmp_path):  # noqa: F811
    with pytest.raises(BudgetError, match=r"target size 5 kB is out of reach.*is about \d+"):
        recipe_for(deep(), calibrated(deep()), 5_000, CONTEXT, kinds=("grid",), cache=tmp_path)


def test_a_choice_that_fits_is_not_tried_again(deep, calibrated, tmp_path):  # noqa: F811
    """Of one kind alone a correction of its losses changes no choice."""
    model = deep()
    target = round(0.72 * save_model(model, tmp_path / "whole"))
    plan = plan_for(model, calibrated(model), target, CONTEXT, kinds=("grid",), rounds=6, cache=tmp_path)
    fits = [one.allocation for one in plan.tries if 0.98 * target <= one.cost <= target - 256]
    assert len(fits) == 1 and len(plan.tries) < TRIES


def test_a_pass_that_lowers_the_loss_again_counts_in_the_rise():
    tried = Try(Recipe([RoundToNearest()]), Allocation({}), {}, {"prune": 0.5, "entropy-coded": -0.2}, 100, 90, None)
    assert tried.rise == pytest.approx(0.3)
