import pytest
import torch

from pocketlm.compress.awq import ActivationAware, Rounder, search_scales
from pocketlm.compress.context import Context
from pocketlm.compress.moments import Moments
from pocketlm.compress.passes import PASSES
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.weights import ScaledWeight
from pocketlm.tables import pass_from_json, pass_to_json


def uneven(tokens=200, width=64):
    """Inputs of which a few channels are far larger, as language models have them."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(tokens, width, generator=generator)
    inputs[:, ::16] *= 30
    moments = Moments.empty(width)
    moments.add(inputs)
    return inputs, moments, torch.randn(48, width, generator=generator)


@pytest.mark.parametrize("bits", [3, 4])
def test_scales_lower_the_error_of_the_outputs_themselves(bits):
    inputs, moments, matrix = uneven()
    rounder = Rounder(32, False)
    scales = search_scales([(matrix, bits)], moments, rounder, None, 10)

    def lost(scales):
        found = rounder.weight(matrix * scales, bits, moments, False).matrix() / scales
        return float(((matrix - found) @ inputs.t()).square().sum())

    ones = torch.ones(64)
    assert lost(scales) < 0.6 * lost(ones)
    assert lost(scales) == pytest.approx(rounder.error(matrix, bits, moments, scales, False), rel=1e-2)
    assert rounder.error(matrix, bits, moments, scales, True) <= rounder.error(matrix, bits, moments, ones, True)
    assert scales[::16].min() > scales[1::16].max()  # what carries much is given finer steps


def test_where_no_scales_help_there_are_none():
    moments = Moments.empty(64)
    moments.add(torch.eye(64).repeat(10, 1))
    codes = torch.randint(16, (8, 64), generator=torch.Generator().manual_seed(1)).float()
    codes[:, ::32], codes[:, 1::32] = 0, 15
    matrix = (codes - 7) * 0.25  # lies on a grid already
    assert torch.equal(search_scales([(matrix, 4)], moments, Rounder(32, False), None, 5), torch.ones(64))


@pytest.mark.parametrize(("name", "kept"), [("bert", True), ("gpt2", True), ("llama", False), ("t5", True)])
def test_scales_are_folded_or_kept_and_the_journal_says_which(family, calibrated, name, kept, tmp_path):
    model = family(name)
    context = Context(calibration=calibrated(model), fast=False)
    made = ActivationAware(bits=4, group_size=16)(model.copy(), context)
    records = {one.name: one for one in context.journal.layers.values()}
    for layer in model.layers:
        if not layer.block or layer.kind == "embedding":
            continue
        stored = made.module.get_submodule(layer.name).stored
        where = records[layer.name].facts["scales"]
        assert isinstance(stored, ScaledWeight if where == "beside the weight" else GridWeight)
    assert ("beside the weight" in {one.facts.get("scales") for one in records.values()}) == kept
    assert "folded" in {one.facts.get("scales") for one in records.values()}
    batch = context.calibration.batches[0]
    with torch.no_grad():
        before, after = model.module(**batch)[0], made.module(**batch)[0]
    assert float((before - after).square().mean() / before.square().mean()) < 0.05
    save_model(made, tmp_path / "model")
    assert torch.allclose(load_model(tmp_path / "model").module(**batch)[0], after, rtol=2e-2, atol=2e-2)


def test_without_keeping_nothing_lies_beside_a_weight_and_twice_is_the_same(family, calibrated):
    model, step = family("bert"), ActivationAware(bits=3, group_size=16, keep=False, steps=4)
    assert pass_from_json(pass_to_json(step), PASSES) == step
    context = Context(calibration=calibrated(model), fast=False)
    states = [step(model.copy(), context).module.state_dict() for _ in range(2)]
    assert not any(name.endswith("column_scales") for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_pruned_zeros_stay_exact_zeros(family, calibrated):
    model = family("llama")
    weight = model.module.model.layers[0].mlp.down_proj.weight
    with torch.no_grad():
        weight.mul_(weight.abs() > weight.abs().median())
    made = ActivationAware(bits=4, group_size=16, steps=4)(
        model.copy(), Context(calibration=calibrated(model), fast=False)
    )
    assert not made.module.model.layers[0].mlp.down_proj.weight[weight == 0].any()


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"group_size": -1}, {"steps": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        ActivationAware(**wrong)
