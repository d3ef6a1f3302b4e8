from dataclasses import replace

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.journal import Journal
from pocketlm.compress.passes import PASSES
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import ModelError, RecipeError
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json


def shrunk(model, **settings):
    return RoundToNearest(**settings)(model.copy(), Context())


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_every_block_matrix_of_every_family_is_quantized(family, name):
    model = family(name)
    made = compress(model, Recipe([RoundToNearest(bits=4, group_size=32)]))
    records = {one["name"]: one for one in made.records[0]["layers"]}
    for layer in model.layers:
        expected = "quantized" if layer.block and layer.kind in ("linear", "expert") else "left"
        assert records[layer.name]["done"] == expected, layer.name
    before, after = made.records[0]["size_bytes"]
    assert after < before / 1.3  # half of these tiny models is embeddings, left as they are


def test_more_bits_come_nearer_to_the_model_they_were_made_from(family, calibrated):
    model = family("llama")
    batch = dict(calibrated(model).batches[0])
    with torch.no_grad():
        whole = model.module(**batch).logits
        lost = [float((shrunk(model, bits=bits).module(**batch).logits - whole).square().mean()) for bits in (2, 4, 8)]
    assert lost[0] > 10 * lost[1] > 100 * lost[2]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_embeddings_and_the_head_tied_to_them_are_quantized_together(family, name, tmp_path):
    made = shrunk(family(name), layers=("embeddings",), bits=4)
    table = "model.embed_tokens" if name == "llama" else "transformer.wte"
    assert made.module.lm_head.stored is made.module.get_submodule(table).stored
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.module.lm_head.stored is again.module.get_submodule(table).stored
    assert torch.equal(again.module.lm_head.weight, made.module.lm_head.weight)
    assert again.module.lm_head.stored.bits == 4


def test_pruned_zeros_stay_exact_zeros(family):
    model = family("bert")
    weight = model.module.encoder.layer[0].intermediate.dense.weight
    with torch.no_grad():
        weight.mul_(weight.abs() > weight.abs().median())
    made = shrunk(model, bits=3)
    assert not made.module.encoder.layer[0].intermediate.dense.weight[weight == 0].any()


def test_bits_by_layer_and_settings_round_trip(family):
    step = RoundToNearest(bits={"*": 3, "*.query": 8}, layers=("blocks",), exclude=("*.output.*",))
    assert pass_from_json(pass_to_json(step), PASSES) == step
    block = step(family("bert"), Context()).module.encoder.layer[0]
    assert (block.attention.self.query.stored.bits, block.attention.self.key.stored.bits) == (8, 3)
    assert isinstance(block.output.dense, torch.nn.Linear)


def test_the_same_bytes_twice(family, tmp_path):
    for place in ("one", "two"):
        save_model(shrunk(family("gpt2")), tmp_path / place)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"bits": 9}, {"bits": 2.5}, {"bits": {"*": 0}}, {"group_size": -2}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        RoundToNearest(**wrong)


def test_a_pattern_that_fits_nothing_and_weights_that_are_not_finite_are_named(family):
    model = family("bert")
    with pytest.raises(RecipeError, match="no_such"):
        shrunk(model, layers=("no_such",))
    with torch.no_grad():
        model.module.encoder.layer[1].output.dense.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match=r"layer\.1\.output\.dense: 1 of its weights"):
        RoundToNearest()(model, replace(Context(), journal=Journal()))
