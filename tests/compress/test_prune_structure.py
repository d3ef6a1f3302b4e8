"""A share of all blocks' parameters: heads and units of all layers compete."""

import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.heads import HeadStep
from pocketlm.compress.journal import Journal
from pocketlm.compress.passes import PASSES
from pocketlm.compress.prune_structure import Options, PruneStructure, block_parameters, cheapest, together
from pocketlm.compress.sublayers import Sublayer
from pocketlm.errors import RecipeError
from pocketlm.model.families import FeedForward
from pocketlm.model.pretrained import load_model, save_model, settle
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama", "qwen2", "qwen3", "t5", "mixtral")


def outputs(model, batch):
    with torch.no_grad():
        return model.module(**batch)[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_share_goes_and_the_folder_reloads(family, calibrated, tmp_path, name):
    model = family(name)
    context = Context(calibrated(model), fast=False)
    made = settle(PruneStructure(share=0.25, rounds=2)(model.copy(), context))
    gone = 1 - block_parameters(made) / block_parameters(model)
    assert 0.25 <= gone < 0.25 + 0.1  # the last step of so small a model is large
    assert all(layer.shape[0] % 8 == 0 for layer in made.layers if layer.role.endswith(("o_proj", "dense")))
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    batch = context.calibration.batches[0]
    assert torch.equal(outputs(again, batch), outputs(made, batch))
    if made.spec.kind != "encoder":
        ids = torch.tensor([[5, 6, 7, 8, 9]])
        texts = [
            one.module.generate(ids, max_new_tokens=8, do_sample=False, use_cache=use).tolist()
            for one, use in ((made, True), (again, True), (again, False))
        ]
        assert texts[0] == texts[1] == texts[2]


def test_removing_nothing_changes_nothing(family, calibrated):
    model = family("llama")
    context = Context(calibrated(model), fast=False)
    before = outputs(model, context.calibration.batches[0])
    assert torch.equal(outputs(PruneStructure(share=0.0)(model, context), context.calibration.batches[0]), before)


@pytest.mark.parametrize("settings", [{}, {"correct": 0.0}, {"compensate": False}, {"rounds": 3}])
def test_parts_that_do_nothing_go_first(family, calibrated, settings):
    """A third of the units and half the heads write nothing: no more than they are asked for."""
    model = family("gpt2")
    context = Context(calibrated(model), fast=False)
    with torch.no_grad():
        for block in model.module.transformer.h:
            block.mlp.c_proj.weight[:, 48:] = 0
            block.attn.c_proj.weight[:, 16:] = 0
    before = outputs(model, context.calibration.batches[0])
    made = PruneStructure(**{"share": 0.45, "rounds": 1, **settings})(model, context)
    assert torch.allclose(outputs(made, context.calibration.batches[0]), before, atol=2e-3)


def test_what_is_made_up_for_comes_nearer_to_the_whole_model_on_its_calibration(family, calibrated):
    model = family("llama")
    context = Context(calibrated(model), fast=False)
    lost = {}
    for name, settings in {"none": {"compensate": False}, "own": {"correct": 0.0}, "all": {"correct": 1.0}}.items():
        made = PruneStructure(share=0.3, rounds=1, score="output", **settings)(model.copy(), context)
        states = [one.module.model(**batch).last_hidden_state for one in (made, model) for batch in
                  context.calibration.batches]  # fmt: skip
        half = len(states) // 2
        lost[name] = sum(float((a - b).square().mean()) for a, b in zip(states[:half], states[half:], strict=True))
    assert lost["all"] < lost["own"] < lost["none"]


@pytest.mark.parametrize("name", ["llama", "bert"])
def test_with_nothing_lost_the_whole_model_is_what_layers_are_fitted_to(family, calibrated, name):
    """Units that write nothing go from the last block only: all other layers stay as they were."""
    model = family(name)
    context = Context(calibrated(model), fast=False)
    output = next(one.name for one in reversed(model.layers) if one.shape[1] == 64)
    with torch.no_grad():
        model.module.get_submodule(output).weight[:, 32:] = 0
    before = outputs(model, context.calibration.batches[0])
    made = PruneStructure(share=0.05, rounds=1, correct=1.0, layers=(output,), most=0.5)(model, context)
    assert made.module.get_submodule(output).weight.shape[1] < 64
    assert torch.allclose(outputs(made, context.calibration.batches[0]), before, atol=1e-4)


def test_steps_of_several_rounds_are_one_step():
    first, then = HeadStep(((1, 2), (5, 6)), 10, 1.0), HeadStep(((0,), (3,)), 5, 2.0)
    assert together(first, then) == HeadStep(((1,), (6,)), 15, 3.0)
    assert together(None, then) == then and together(None, 8) == 8 and together(16, 8) == 24


def test_the_cheapest_parts_are_taken_along_the_hulls():
    def options(name, costs, size=10):
        part = Sublayer(name, FeedForward(("in",), "out"))
        counts = tuple(range(1, len(costs) + 1))
        return Options(part, counts, tuple(size * one for one in counts), tuple(costs))

    cheap, dear = options("cheap", [1.0, 2.0, 9.0]), options("dear", [4.0, 5.0, 30.0])
    assert cheapest([cheap, dear], 20) == {"cheap.out": 2}
    assert cheapest([cheap, dear], 40) == {"cheap.out": 2, "dear.out": 2}  # 2.5 a step on the hull, not 4
    assert cheapest([cheap, dear], 41) == {"cheap.out": 3, "dear.out": 2}


def test_a_share_out_of_reach_is_refused(family, calibrated):
    model = family("llama")
    with pytest.raises(RecipeError, match="at most 30% of each part go; a share of 60% cannot"):
        PruneStructure(share=0.6, most=0.3, rounds=1)(model, Context(calibrated(model), fast=False))


@pytest.mark.parametrize("rounds", [1, 2])
def test_rounds_together_take_no_more_of_a_part_than_asked(family, calibrated, rounds):
    model = family("llama")
    with torch.no_grad():
        model.module.get_submodule("model.layers.0.mlp.down_proj").weight.mul_(1e-3)  # its units go first
    made = PruneStructure(share=0.3, most=0.5, rounds=rounds)(
        model.copy(), Context(calibrated(model), fast=False, allow_no_effect=True)
    )
    before = {layer.name: layer.shape for layer in model.layers}
    assert any(layer.shape != before[layer.name] for layer in made.layers)
    for layer in made.layers:
        assert all(now * 2 >= was for now, was in zip(layer.shape, before[layer.name], strict=True)), layer.name


def test_records_and_the_same_bytes_twice(family, calibrated, tmp_path):
    model = family("llama")
    for place in ("one", "two"):
        made = compress(model, Recipe([PruneStructure(share=0.25)]), Context(calibrated(model)))
        save_model(made, tmp_path / place)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    assert "of 18,432 parameters of blocks removed" in made.records[0]["notes"][0]
    assert {one["done"] for one in made.records[0]["layers"]} >= {"shrunk", "left"}


def test_a_step_of_heads_counts_them():
    assert HeadStep(((0, 2), (4, 5)), 100, 1.0).count == 4 and not Journal().changed


def test_settings_round_trip_and_wrong_ones_are_refused():
    step = PruneStructure(share=0.3, rounds=4, correct=0.25)
    assert pass_from_json(pass_to_json(step), PASSES) == step
    for wrong in ({"share": 1.0}, {"rounds": 0}, {"multiple": 0}, {"correct": 1.5}, {"score": "x"}, {"most": 1.0}):
        with pytest.raises(ValueError, match="got"):
            PruneStructure(**wrong)
