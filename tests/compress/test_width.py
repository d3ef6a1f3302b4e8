"""Hidden width: features leave every layer at once."""

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.passes import PASSES
from pocketlm.compress.width import PruneWidth, width_places
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import load_model, save_model, settle
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

FAMILIES = ("bert", "bert-words", "bert-classes", "roberta", "distilbert", "gpt2", "llama", "mistral", "qwen2", "qwen3")


def outputs(model, batch):
    with torch.no_grad():
        return model.module(**batch)[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_narrows_and_the_folder_reloads(family, calibrated, tmp_path, name):
    model = family(name)
    context = Context(calibrated(model), fast=False)
    made = settle(PruneWidth(share=0.25)(model.copy(), context))
    for before, after in zip(model.layers, made.layers, strict=True):
        if before.name == "classifier":
            continue  # it reads a layer of its own, whose outputs stay as many
        assert 32 not in after.shape or before.shape.count(32) > after.shape.count(32), before.name
    assert made.parameters < 0.85 * model.parameters
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    batch = context.calibration.batches[0]
    assert torch.equal(outputs(again, batch), outputs(made, batch))
    if made.spec.kind == "decoder":
        ids = torch.tensor([[5, 6, 7, 8, 9]])
        texts = [
            again.module.generate(ids, max_new_tokens=8, do_sample=False, use_cache=use).tolist()
            for use in (True, False)
        ]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_tied_heads_stay_tied(family, calibrated, name):
    made = PruneWidth(share=0.25)(family(name), Context(calibrated(family(name)), fast=False))
    table = made.module.get_input_embeddings()
    assert made.module.lm_head.weight is table.weight and table.weight.shape[1] == 24


@pytest.mark.parametrize("name", FAMILIES)
def test_removing_nothing_changes_nothing(family, calibrated, name):
    model = family(name)
    context = Context(calibrated(model), fast=False)
    before = outputs(model, context.calibration.batches[0])
    assert torch.equal(outputs(PruneWidth(share=0.0)(model, context), context.calibration.batches[0]), before)


def test_features_that_are_always_zero_are_not_missed(family, calibrated):
    """A feature that nothing writes is nothing but a share in the norms' mean, which their gains make up for."""
    model = family("llama")
    context = Context(calibrated(model), fast=False)
    places = width_places(model, "prune-width")
    with torch.no_grad():
        for name in places.writers:
            model.module.get_submodule(name).weight[8:16] = 0
        for name in places.embeddings:
            model.module.get_submodule(name).weight[:, 8:16] = 0
    before = outputs(model, context.calibration.batches[0])
    made = PruneWidth(share=0.25)(model, context)
    assert torch.allclose(outputs(made, context.calibration.batches[0]), before, rtol=1e-3, atol=1e-3)


def test_making_up_for_features_brings_outputs_nearer(family, calibrated):
    model = family("gpt2")
    context = Context(calibrated(model, windows=8), fast=False)
    with torch.no_grad():  # features that go by others can be guessed from them
        for name in (*width_places(model, "x").writers,):
            layer = model.module.get_submodule(name)
            layer.weight[16:] = layer.weight[:16]
            layer.bias[16:] = layer.bias[:16]
        for name in width_places(model, "x").embeddings:
            table = model.module.get_submodule(name)
            table.weight[:, 16:] = table.weight[:, :16]
    before = outputs(model, context.calibration.batches[0])
    lost = {}
    for compensate in (True, False):
        made = PruneWidth(share=0.25, compensate=compensate)(model.copy(), context)
        lost[compensate] = float((outputs(made, context.calibration.batches[0]) - before).square().mean())
    assert lost[True] < lost[False]


def test_records_same_bytes_twice(family, calibrated, tmp_path):
    model = family("bert")
    for place in ("one", "two"):
        made = compress(model, Recipe([PruneWidth(share=0.25)]), Context(calibrated(model)))
        save_model(made, tmp_path / place)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    assert all(one["done"] == "shrunk" for one in made.records[0]["layers"])


@pytest.mark.parametrize("name", ["t5", "whisper", "marian", "mixtral"])
def test_other_families_are_refused_by_name(family, name):
    model = family(name)
    with pytest.raises(RecipeError, match=f"{model.spec.model_type} cannot be pruned; of bert, .*llama"):
        PruneWidth()(model, Context())


def test_settings_round_trip_and_wrong_ones_are_refused():
    step = PruneWidth(share=0.2, multiple=16)
    assert pass_from_json(pass_to_json(step), PASSES) == step
    for wrong in ({"share": 1.0}, {"multiple": 0}):
        with pytest.raises(ValueError, match="got"):
            PruneWidth(**wrong)
