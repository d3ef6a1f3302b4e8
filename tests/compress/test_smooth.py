import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.moments import Moments
from pocketlm.compress.passes import PASSES
from pocketlm.compress.smooth import Smooth, migration_scales
from pocketlm.compress.walk import walk
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json


def test_half_makes_inputs_and_weights_equally_large():
    activity, weights = torch.rand(8) * 50 + 1, torch.randn(4, 8)
    scales = migration_scales(activity, weights, 0.5)
    assert torch.allclose(activity / scales, (weights * scales).abs().amax(0), rtol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_ends_even_out_one_side_whole(alpha):
    activity, weights = torch.rand(8) * 50 + 1, torch.randn(4, 8)
    scales = migration_scales(activity, weights, alpha)
    evened = activity / scales if alpha else (weights * scales).abs().amax(0)
    assert torch.allclose(evened, torch.ones(8), rtol=1e-4)


@pytest.mark.parametrize(("name", "smoothed", "left"), [("llama", 14, 0), ("gpt2", 6, 2), ("bert", 2, 10)])
def test_outputs_stay_and_every_layer_is_accounted_for(family, calibrated, name, smoothed, left):
    model = family(name)
    context = Context(calibration=calibrated(model), fast=False)
    batch = context.calibration.batches[0]
    with torch.no_grad():
        before = model.module(**batch)[0]
        after = Smooth()(model.copy(), context).module(**batch)[0]
    assert torch.allclose(before, after, atol=2e-5 * float(before.abs().max()), rtol=1e-4)
    done = [one.done for one in context.journal.layers.values()]
    assert (done.count("smoothed"), done.count("left")) == (smoothed, left)


def test_outliers_of_inputs_shrink(family, calibrated):
    model = family("llama")
    with torch.no_grad():
        model.module.model.layers[0].input_layernorm.weight[::8] *= 60
    context = Context(calibration=calibrated(model), fast=False)
    peaks = []
    for one in (model, Smooth()(model.copy(), context)):
        found: list[Moments] = []
        walk(
            one,
            context.calibration,
            lambda view, found=found: found.append(view.statistics[view.name + ".self_attn.q_proj"]),
        )
        peaks.append(float(found[0].absmax.max() / found[0].absmax.median()))
    assert peaks[1] < peaks[0] / 4


def test_it_runs_in_a_recipe_and_needs_no_smaller_file(family, calibrated):
    step = Smooth(alpha=0.7)
    assert pass_from_json(pass_to_json(step), PASSES) == step
    model = family("gpt2")
    made = compress(model, Recipe([step]), Context(calibration=calibrated(model)))
    assert made.records[0]["pass"] == "smooth"
    with pytest.raises(ValueError, match=r"got 1\.5"):
        Smooth(alpha=1.5)
