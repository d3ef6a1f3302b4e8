"""Whole blocks: which go, and that what is left is the model without them, reloaded too."""

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.depth import DropLayers
from pocketlm.compress.passes import PASSES
from pocketlm.compress.removal import keep_stack
from pocketlm.compress.structure import PruneHeads
from pocketlm.errors import RecipeError
from pocketlm.model.anatomy import stacks
from pocketlm.model.pretrained import load_model, save_model, settle
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

DEEP = {
    "bert": {"num_hidden_layers": 4}, "distilbert": {"n_layers": 4}, "gpt2": {"n_layer": 4},
    "llama": {"num_hidden_layers": 4}, "mistral": {"num_hidden_layers": 4}, "t5": {"num_layers": 4},
    "qwen2": {"num_hidden_layers": 4, "max_window_layers": 2, "sliding_window": 4},
    "mixtral": {"num_hidden_layers": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def deep(teacher_folder, tmp_path_factory):
    """deep("llama") is a fresh model of four blocks."""
    from families import make_family
    from transformers import AutoTokenizer

    made = {}

    def fresh(name):
        if name not in made:
            tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
            made[name] = make_family(name, tmp_path_factory.mktemp(name), tokenizer, **DEEP[name])
        return load_model(made[name])

    return fresh


def outputs(model, batch):
    with torch.no_grad():
        return model.module(**batch)[0]


def silence(model, block):
    """Make a block hand on what it is given (of a model whose blocks add to a stream)."""
    with torch.no_grad():
        for name, weight in model.module.get_submodule(block).named_parameters():
            if name.rpartition(".")[0].endswith(("c_proj", "o_proj", "down_proj", ".o", ".wo")):
                weight.zero_()


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("by", ["influence", "loss"])
def test_the_folder_reloads_without_the_dropped_blocks(deep, calibrated, tmp_path, name, by):
    model = deep(name)
    calibration = calibrated(model)
    made = DropLayers(count=2, by=by)(model, Context(calibration, fast=False))
    assert all(len(stack) == 2 for stack in stacks(made.module))
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert torch.equal(outputs(again, calibration.batches[0]), outputs(made, calibration.batches[0]))
    if made.spec.kind != "encoder":
        ids = torch.tensor([[5, 6, 7, 8, 9]])
        texts = [
            one.module.generate(ids, max_new_tokens=10, do_sample=False, use_cache=use).tolist()
            for one, use in ((made, True), (again, True), (again, False))
        ]
        assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "t5"])
def test_a_block_that_does_nothing_goes_and_is_not_missed(deep, calibrated, name):
    model = deep(name)
    calibration = calibrated(model)
    for stack in stacks(model.module):
        silence(model, stack[2])
    before = outputs(model, calibration.batches[0])
    made = DropLayers(count=1, by="influence")(model, Context(calibration, fast=False))
    assert {kept for kept in made.spec.kept.values()} == {(0, 1, 3)}
    assert torch.allclose(outputs(made, calibration.batches[0]), before, atol=1e-5)


def test_by_loss_the_block_goes_without_which_the_loss_is_least(deep, calibrated):
    model = deep("gpt2")
    calibration = calibrated(model)
    losses = {}
    for gone in (1, 2):
        made = keep_stack(model.copy(), "transformer.h", [one for one in range(4) if one != gone])
        with torch.no_grad():
            losses[gone] = sum(
                float(made.module(**batch, labels=batch["input_ids"]).loss) for batch in calibration.batches
            )
    made = DropLayers(count=1)(model, Context(calibration, fast=False))
    assert made.spec.kept["transformer.h"] == tuple(one for one in range(4) if one != min(losses, key=losses.get))


def test_blocks_keep_their_own_kind_of_attention_dropped_twice(deep, calibrated, tmp_path):
    model = deep("qwen2")
    kinds = [block.self_attn.layer_type for block in model.module.model.layers]
    assert kinds == ["full_attention"] * 2 + ["sliding_attention"] * 2
    for stack in stacks(model.module):
        silence(model, stack[1])
    context = Context(calibrated(model), fast=False)
    made = DropLayers(count=1)(DropLayers(count=1)(model, context), context)
    kept = made.spec.kept["model.layers"]
    assert kept in {(0, 2, 3), (0, 3)}
    save_model(made, tmp_path / "model")
    for one in (made, load_model(tmp_path / "model")):
        types = [block.self_attn.layer_type for block in one.module.model.layers]
        assert one.module.config.layer_types[: len(kept)] == types == [kinds[place] for place in kept]
        assert [block.self_attn.layer_idx for block in one.module.model.layers] == list(range(len(kept)))


def test_heads_removed_before_stay_removed_in_the_right_blocks(deep, calibrated, tmp_path):
    model = deep("bert")
    context = Context(calibrated(model), fast=False)
    model = PruneHeads(0.5, layers=("encoder.layer.3.*",))(model, context)
    made = settle(DropLayers(count=2)(model, context))
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert [block.attention.self.num_attention_heads for block in again.module.encoder.layer] == [4, 2]
    assert torch.equal(outputs(again, context.calibration.batches[0]), outputs(made, context.calibration.batches[0]))


def test_parameters_and_records_say_what_went(deep, calibrated):
    model = deep("llama")
    made = compress(model, Recipe([DropLayers(share=0.5, by="influence")]), Context(calibrated(model), fast=False))
    attention, feed_forward, norms = 2 * 32 * 32 + 2 * 32 * 16, 3 * 32 * 64, 2 * 32
    assert model.parameters - made.parameters == 2 * (attention + feed_forward + norms)
    dropped = [one["name"] for one in made.records[0]["layers"] if one["done"] == "dropped"]
    assert len(dropped) == 2 and "model.layers.0" not in dropped


def test_a_bias_that_all_blocks_share_stays(deep, calibrated):
    made = DropLayers(count=2, protect=0)(deep("t5"), Context(calibrated(deep("t5")), fast=False))
    assert all(kept[0] == 0 for kept in made.spec.kept.values())


def test_too_many_blocks_or_an_unknown_stack_are_refused(deep, calibrated):
    model = deep("bert")
    context = Context(calibrated(model), fast=False)
    with pytest.raises(RecipeError, match="2 blocks that are not protected; cannot drop 3"):
        DropLayers(count=3)(model, context)
    with pytest.raises(RecipeError, match="there is encoder.layer"):
        DropLayers(stack="layers")(model, context)


def test_settings_round_trip_and_wrong_ones_are_refused():
    step = DropLayers(count=3, by="influence", stack="encoder.layer")
    assert pass_from_json(pass_to_json(step), PASSES) == step
    for wrong in ({"by": "guess"}, {"share": 1.0}, {"count": -1}):
        with pytest.raises(ValueError, match="got"):
            DropLayers(**wrong)


def test_blocks_can_be_named(deep, calibrated):
    model = deep("llama")
    made = DropLayers(stack="model.layers", blocks=(2,))(model, Context())
    assert made.spec.kept["model.layers"] == (0, 1, 3)
    with pytest.raises(RecipeError, match="cannot drop 2"):
        DropLayers(blocks=(0, 1))(deep("llama"), Context())
