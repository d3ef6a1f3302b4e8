"""The pass ggml-quantize on whole small models: nearer than rounded, types by layer, ties, folders, wrong widths."""

import pytest
import torch

from pocketlm.compress.block_feedback import nearest_blocks
from pocketlm.compress.context import Context
from pocketlm.compress.ggml import GgmlQuantize
from pocketlm.compress.journal import broken
from pocketlm.compress.passes import PASSES
from pocketlm.compress.targets import pack_layer, share_ties
from pocketlm.errors import RecipeError
from pocketlm.model.ggml_types import BLOCK_TYPES
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json


def quantized(model, calibration, **settings):
    context = Context(calibration=calibration, fast=False)
    return GgmlQuantize(**settings)(model.copy(), context), context.journal


def logits(model, calibration):
    return model.module(**dict(calibration.batches[0])).logits


def far(made, model, calibration):
    """The mean squared difference of logits."""
    return float((logits(made, calibration) - logits(model, calibration)).square().mean())


def rounded(model, kind):
    made = model.copy()
    for layer in made.layers:
        one = pack_layer(made.module, layer.name)
        one.stored = nearest_blocks(one.weight, BLOCK_TYPES[kind], torch.ones(one.stored.shape[1]))
    share_ties(made)
    return made


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "IQ4_NL", "Q8_0"])
def test_the_model_is_nearer_than_rounded_and_reloads_to_the_same_bits(family, calibrated, tmp_path, kind):
    model = family("qwen2")  # whose head has a matrix of its own
    calibration = calibrated(model)
    made, journal = quantized(model, calibration, type=kind)
    for layer in made.layers:
        assert made.module.get_submodule(layer.name).stored.kind.name == kind
    assert far(made, model, calibration) < 0.8 * far(rounded(model, kind), model, calibration)
    assert all(one.error <= one.facts.get("rounded_error", 1) for one in journal.layers.values())
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert torch.equal(logits(again, calibration), logits(made, calibration))
    assert not broken(again, journal.promises)
    assert again.parameters == model.parameters


def test_a_matrix_that_is_looked_up_too_is_not_fitted_to_logits_alone(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    outer = {"type": "Q4_0", "layers": ("embeddings", "head")}
    alone, both = (quantized(model, calibration, tied=one, **outer)[0] for one in (0.0, 1.0))
    assert far(both, model, calibration) < far(alone, model, calibration)
    assert far(both, model, calibration) < far(rounded(model, "Q4_0"), model, calibration)


def test_each_layer_may_have_a_type_of_its_own_and_a_promise_of_another_is_broken(family, calibrated):
    model = family("llama")
    made, journal = quantized(
        model, calibrated(model), type={"*": "Q4_0", "*.down_proj": "Q5_1", "*embed_tokens": "Q8_0", "lm_head": "Q8_0"}
    )
    types = {one.name: made.module.get_submodule(one.name).stored.kind.name for one in made.layers}
    for name, kind in types.items():
        wanted = "Q5_1" if name.endswith("down_proj") else "Q4_0" if ".layers." in name else "Q8_0"
        assert kind == wanted, name
    assert made.module.lm_head.stored is made.module.model.embed_tokens.stored
    assert not broken(made, journal.promises)
    made.module.lm_head.stored = made.module.get_submodule("model.layers.0.mlp.down_proj").stored
    assert [one.layer for one in broken(made, journal.promises)] == ["lm_head"]


def test_a_matrix_of_two_types_is_refused(family, calibrated):
    model = family("llama")
    with pytest.raises(RecipeError, match=r"embed_tokens as Q8_0.* are one matrix, which has one type"):
        quantized(model, calibrated(model), type={"*": "Q4_0", "*embed_tokens": "Q8_0"})


def test_a_block_that_does_not_divide_a_width_is_refused_before_any_work(family, calibrated):
    model = family("llama")
    with pytest.raises(RecipeError, match=r"Q4_K has blocks of 256 .* width of 32; those that do: Q4_0, Q4_1, Q5_0"):
        quantized(model, calibrated(model), type={"*": "Q4_0", "*.q_proj": "Q4_K"})


def test_pruned_zeros_stay_and_types_without_a_zero_are_refused(family, calibrated):
    model = family("llama")
    context = Context(calibration=calibrated(model), fast=False)
    made = compress(model, Recipe([PASSES["prune"](sparsity=0.5), GgmlQuantize(type="Q5_0", refine=1)]), context)
    assert float((made.module.get_submodule("model.layers.0.mlp.up_proj").weight == 0).float().mean()) >= 0.5
    with pytest.raises(RecipeError, match=r"is pruned, and Q4_1 has no 0; those that do: Q4_0, Q5_0, Q8_0, Q3_K, Q6_K"):
        compress(model, Recipe([PASSES["prune"](sparsity=0.5), GgmlQuantize(type="Q4_1")]), context)


def test_settings_that_mean_nothing_are_refused():
    for why, value in (("correct", 2.0), ("damping", -1.0), ("refine", -1), ("tied", -1.0)):
        with pytest.raises(ValueError, match=why):
            GgmlQuantize(**{why: value})
    with pytest.raises(RecipeError, match="type 'Q4_2': is no block type; there is Q4_0"):
        pass_from_json({"pass": "ggml-quantize", "type": "Q4_2"}, PASSES)


def test_a_recipe_with_it_keeps_its_promises(family, calibrated):
    model = family("qwen2")
    made = compress(model, Recipe([GgmlQuantize(type="Q5_0")]), Context(calibration=calibrated(model), fast=False))
    records = {one["name"]: one for one in made.records[0]["layers"]}
    assert {one["type"] for one in records.values() if one["done"] == "quantized"} == {"Q5_0"}
