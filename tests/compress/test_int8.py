import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.int8 import Int8, Seen, saturated_pairs, scale_and_zero
from pocketlm.compress.passes import PASSES
from pocketlm.compress.smooth import Smooth
from pocketlm.model.layers import InputRounding
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json


def test_saturation_is_counted_as_a_plain_loop_counts_it():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(256, (5, 9), generator=generator)
    weights = torch.randint(-128, 128, (7, 9), generator=generator)
    count = 0
    for x in inputs.tolist():
        for w in weights.tolist():
            for place in range(0, 8, 2):
                total = x[place] * w[place] + x[place + 1] * w[place + 1]
                count += not -32768 <= total <= 32767
    assert saturated_pairs(inputs, weights) == count > 0


def test_seven_bits_cannot_saturate_and_eight_can():
    inputs = torch.full((1, 2), 255)
    for extreme in (-64, 63):
        assert saturated_pairs(inputs, torch.full((1, 2), extreme)) == 0
    assert saturated_pairs(inputs, torch.full((1, 2), 127)) == saturated_pairs(inputs, torch.full((1, 2), -128)) == 1


def test_static_rounding_is_off_by_half_a_step_at_most_and_zero_is_exact():
    inputs = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) * 3 + 1
    low, high = min(0.0, float(inputs.min())), max(0.0, float(inputs.max()))
    for rounding in (InputRounding(True, *scale_and_zero(low, high)), InputRounding(False)):
        found = rounding(inputs)
        assert float((found - inputs).abs().max()) <= (high - low) / 255 / 2 * 1.01 + (high - low) / 255 * 0.5
        assert rounding(torch.tensor([low, 0.0, high]))[1] == 0
        assert len(found.unique()) <= 256


def test_a_percentile_leaves_the_outliers_out():
    seen = Seen()
    inputs = torch.randn(100, 16, generator=torch.Generator().manual_seed(0))
    inputs[0, 0] = 1000
    seen.add(inputs)
    assert seen.bounds(100)[1] == 1000 and seen.bounds(99)[1] < 5
    assert Seen([0.5], [2.0]).bounds(100) == (0.0, 2.0)  # 0 is always within


@pytest.mark.parametrize("activations", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_a_whole_model_stays_near_and_survives_its_folder(family, calibrated, tmp_path, name, activations):
    model = family(name)
    context = Context(calibration=calibrated(model), fast=False)
    batch = context.calibration.batches[0]
    made = Int8(activations=activations)(model.copy(), context)
    with torch.no_grad():
        before, after = model.module(**batch)[0], made.module(**batch)[0]
        assert 0 < float((before - after).square().mean() / before.square().mean()) < 0.01
        save_model(made, tmp_path / "model")
        assert torch.equal(load_model(tmp_path / "model").module(**batch)[0], after)
    assert "target any: 0 16-bit sums" in context.journal.notes[0]
    roundings = [one for one in made.module.modules() if isinstance(one, InputRounding)]
    assert len(roundings) == {"bert": 12, "gpt2": 8, "llama": 14}[name]
    assert all(one.static == (activations == "static") for one in roundings)


def test_a_target_with_vnni_uses_all_eight_bits_and_says_what_would_saturate_elsewhere(family, calibrated):
    model = family("llama")
    errors = {}
    for target in ("any", "vnni"):
        context = Context(calibration=calibrated(model), fast=False)
        made = Int8(target=target)(model.copy(), context)
        errors[target] = sum(one.error for one in context.journal.layers.values())
        assert made.module.model.layers[0].mlp.up_proj.stored.bits == {"any": 7, "vnni": 8}[target]
        assert f"target {target}" in context.journal.notes[0]
    assert errors["vnni"] < errors["any"] / 3


def test_smoothing_before_it_helps_a_model_with_outliers(family, calibrated):
    model = family("llama")
    with torch.no_grad():
        for block in model.module.model.layers:
            block.input_layernorm.weight[::8] *= 60
            for one in ("q_proj", "k_proj", "v_proj"):
                block.self_attn.get_submodule(one).weight[:, ::8] /= 60
    context = Context(calibration=calibrated(model), fast=False)
    batch = context.calibration.batches[0]
    with torch.no_grad():
        whole = model.module(**batch)[0]
        plain = Int8()(model.copy(), context).module(**batch)[0]
        smooth = Int8()(Smooth()(model.copy(), context), context).module(**batch)[0]
    assert (smooth - whole).square().sum() < (plain - whole).square().sum() / 3


def test_a_recipe_of_both_and_embeddings_in_eight_bits(family, calibrated):
    steps = [Smooth(), Int8(layers=("all",))]
    assert [pass_from_json(pass_to_json(one), PASSES) for one in steps] == steps
    model = family("llama")
    made = compress(model, Recipe(steps), Context(calibration=calibrated(model)))
    assert made.module.lm_head.stored is made.module.model.embed_tokens.stored
    assert made.module.lm_head.stored.bits == 8 and made.module.lm_head.rounding is None
    assert not [one for one in made.records[1]["layers"] if one["done"] == "left"]


@pytest.mark.parametrize("wrong", [{"activations": "none"}, {"percentile": 20}, {"percentile": 101}, {"target": "arm"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        Int8(**wrong)
