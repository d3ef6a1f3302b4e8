"""Attention heads and feed-forward units: what is removed is gone, what is left does what it can."""

import pytest
import torch

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.columns import column_error, damped, made_up, removal_curve
from pocketlm.compress.context import Context
from pocketlm.compress.depth import DropLayers
from pocketlm.compress.gradients import output_gradients
from pocketlm.compress.passes import PASSES
from pocketlm.compress.prune_structure import PruneStructure
from pocketlm.compress.structure import PruneHeads, PruneUnits
from pocketlm.errors import RecipeError
from pocketlm.model.families import attentions, child, feed_forwards
from pocketlm.model.pretrained import load_model, save_model, settle
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

TEXT = ("bert", "bert-words", "roberta", "distilbert", "gpt2", "llama", "mistral", "qwen2", "qwen3", "t5", "t5-gated")
STEPS = (PruneHeads(share=0.5), PruneUnits(share=0.5))


def outputs(model, batch):
    with torch.no_grad():
        return model.module(**batch)[0]


def generated(model):
    """Ten tokens by the key cache, and ten without it."""
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    made = [model.module.generate(ids, max_new_tokens=10, do_sample=False, use_cache=use) for use in (True, False)]
    return made[0].tolist(), made[1].tolist()


@pytest.mark.parametrize("name", TEXT)
def test_removing_nothing_changes_nothing(family, calibrated, name):
    model = family(name)
    context = Context(calibrated(model), fast=False)
    before = outputs(model, context.calibration.batches[0])
    for step in (PruneHeads(share=0.0), PruneUnits(share=0.0)):
        assert torch.equal(outputs(step(model, context), context.calibration.batches[0]), before)


@pytest.mark.parametrize("name", [*TEXT, "mixtral", "qwen2_moe"])
def test_shapes_shrink_and_the_folder_reloads_to_the_same_outputs(family, calibrated, tmp_path, name):
    model = family(name)
    calibration = calibrated(model)
    made = model
    for step in STEPS:
        made = step(made, Context(calibration, fast=False))
    made = settle(made)
    block = made.module.get_submodule(next(layer.block for layer in made.layers if layer.block))
    for one in attentions(made.spec.model_type, block):
        assert child(block, one.output).in_features == 16
        assert getattr(child(block, one.module), one.heads[0], 2) == 2 if one.heads else True
    units = {"gpt2": 64, "qwen2_moe": 8}.get(name, 32)
    for one in feed_forwards(made.spec.model_type, block):
        widths = {child(block, path).out_features for path in one.inputs}
        assert widths == {child(block, one.output).in_features} and widths <= {units, 16}
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    batch = calibration.batches[0]
    assert torch.equal(outputs(again, batch), outputs(made, batch))
    if made.spec.kind != "encoder":
        cached, plain = generated(again)
        assert cached == plain == generated(made)[0]


def test_parameters_are_those_of_the_smaller_shapes(family, calibrated):
    model = family("llama")
    context = Context(calibrated(model), fast=False)
    made = PruneUnits(share=0.5)(model.copy(), context)
    assert model.parameters - made.parameters == 2 * 3 * 32 * 32  # blocks, layers, units, width
    made = PruneHeads(share=0.5)(model.copy(), context)
    whole_groups = 2 * (2 * 8 * 64 + 2 * 8 * 32)  # two query heads with their columns, and a key head with its values
    query_heads = 2 * 8 * 64
    gone = model.parameters - made.parameters
    assert gone in {
        whole_groups * 2,
        whole_groups + query_heads * 1 * 1 * 1 + 0,
        query_heads * 2,
        whole_groups + query_heads,
    }


def test_a_key_head_goes_with_its_query_heads_or_query_heads_evenly(family, calibrated):
    model = family("llama")
    made = PruneHeads(share=0.5)(model, Context(calibrated(model), fast=False))
    for block in made.module.model.layers:
        attention = block.self_attn
        groups, each = (
            attention.k_proj.out_features // 8,
            attention.q_proj.out_features // attention.k_proj.out_features,
        )
        assert (groups, each) in {(1, 2), (2, 1)}
        assert attention.num_key_value_groups == each


@pytest.mark.parametrize("compensate", [True, False])
def test_parts_whose_weights_are_zero_go_first_and_are_not_missed(family, calibrated, compensate):
    model = family("gpt2")
    context = Context(calibrated(model), fast=False)
    with torch.no_grad():
        for block in model.module.transformer.h:
            block.mlp.c_proj.weight[:, 32:] = 0
            block.attn.c_proj.weight[:, 8:24] = 0
    before = outputs(model, context.calibration.batches[0])
    for step in (PruneUnits(0.25, compensate=compensate, score="output"), PruneHeads(0.5, compensate=compensate)):
        model = step(model, context)
    after = outputs(model, context.calibration.batches[0])
    assert model.module.transformer.h[0].mlp.c_proj.in_features == 96
    assert torch.allclose(after, before, atol=1e-4)


def test_what_is_left_makes_up_for_what_is_gone():
    torch.manual_seed(0)
    inputs = torch.randn(400, 6) @ torch.randn(6, 16) + 0.1 * torch.randn(400, 16)
    weight, s = torch.randn(5, 16), inputs.t() @ inputs
    kept = torch.tensor([0, 1, 3, 6, 8, 9, 11, 15])
    whole = inputs @ weight.t()
    best = torch.linalg.lstsq(inputs[:, kept].double(), whole.double()).solution.t().float()
    found = made_up(weight, s, kept, damping=1e-9)
    assert torch.allclose(found, best, atol=1e-3)
    assert column_error(weight, found, s, kept) < 0.2 * column_error(weight, weight[:, kept], s, kept)


def test_the_curve_is_what_removal_costs():
    torch.manual_seed(1)
    inputs = torch.randn(300, 4) @ torch.randn(4, 12) + 0.3 * torch.randn(300, 12)
    weight, s = torch.randn(3, 12), inputs.t() @ inputs
    curve = removal_curve((weight.t() @ weight).double(), s, step=3, most=9)
    assert sorted(curve.order.tolist()) == sorted(set(curve.order.tolist())) and len(curve.costs) == 3
    kept = torch.tensor([one for one in range(12) if one not in curve.order.tolist()])
    lost = weight.double()
    lost[:, kept] -= made_up(weight, s, kept).double()
    assert curve.costs[-1] == pytest.approx(0.5 * float(torch.trace(lost @ damped(s) @ lost.t())), rel=1e-4)


def test_compensation_is_never_worse_in_layer_error(family, calibrated):
    model = family("bert")
    context = Context(calibrated(model), fast=False)
    errors = {}
    for compensate in (True, False):
        step = PruneUnits(0.5, compensate=compensate, layers=("encoder.layer.0.*",))
        made = compress(model, Recipe([step]), context)
        errors[compensate] = {one["name"]: one.get("error") for one in made.records[0]["layers"]}
    name = "encoder.layer.0.output.dense"
    assert errors[True][name] < errors[False][name]
    assert errors[True]["encoder.layer.1.output.dense"] is None


def test_the_same_bytes_twice(family, calibrated, tmp_path):
    model = family("bert")
    for place in ("one", "two"):
        save_model(compress(model, Recipe(list(STEPS)), Context(calibrated(model))), tmp_path / place)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()


def test_labels_steer_what_goes(family, calibrated):
    model = family("bert-classes")
    calibration = calibrated(model)
    labels = tuple(torch.zeros(len(batch["input_ids"]), dtype=torch.long) for batch in calibration.batches)
    names = ["bert.encoder.layer.1.output.dense"]
    by_labels, by_states = (
        output_gradients(model, names, Context(calibration, labels=given, fast=False), "prune-ffn", 8)[names[0]]
        for given in (labels, ())
    )
    # the class is read at the first of about eight tokens, through two directions; hidden states everywhere
    assert torch.linalg.matrix_rank(by_labels, rtol=1e-3) < torch.linalg.matrix_rank(by_states, rtol=1e-3)
    made = PruneUnits(0.5)(model, Context(calibration, labels=labels, fast=False))
    assert made.module.bert.encoder.layer[1].output.dense.in_features == 32


def test_a_quantized_model_is_refused_with_a_reason(family, calibrated):
    from pocketlm.compress.rounding import RoundToNearest

    model = family("llama")
    context = Context(calibrated(model), fast=False)
    with pytest.raises(RecipeError, match="prune-ffn after round-to-nearest: .*columns"):
        compress(model, Recipe([RoundToNearest(), PruneUnits()]), context)
    quantized = RoundToNearest()(model, context)
    with pytest.raises(RecipeError, match="is held as grid"):
        PruneUnits()(quantized, context)


def test_t5_heads_share_a_bias_and_go_in_all_blocks_together(family, calibrated):
    model = family("t5")
    context = Context(calibrated(model), fast=False)
    with pytest.raises(RecipeError, match="share one bias"):
        PruneHeads(0.5, layers=("encoder.block.0.*",))(model.copy(), context)
    made = PruneHeads(0.5, layers=("encoder.*",))(model, context)
    first = made.module.encoder.block[0].layer[0].SelfAttention
    assert first.relative_attention_bias.weight.shape[1] == first.n_heads == 2
    assert made.module.decoder.block[0].layer[0].SelfAttention.n_heads == 4


@pytest.mark.parametrize("step", STEPS)
def test_settings_round_trip(step):
    assert pass_from_json(pass_to_json(step), PASSES) == step


@pytest.mark.parametrize("wrong", [{"share": 1.0}, {"share": -0.1}, {"score": "guess"}])
@pytest.mark.parametrize("kind", [PruneHeads, PruneUnits])
def test_impossible_settings_are_refused(kind, wrong):
    with pytest.raises(ValueError, match="got"):
        kind(**wrong)


def speech(model):
    """Noise of a second and some tokens to hear in it."""
    torch.manual_seed(0)
    features = torch.randn(4, 16, 100)
    return Calibration(({"input_features": features, "decoder_input_ids": torch.randint(3, 200, (4, 9))},))


@pytest.mark.parametrize("step", [*STEPS, PruneStructure(0.25, rounds=1), DropLayers(count=1, protect=0)])
def test_speech_models_shrink_and_reload(family, tmp_path, step):
    model = family("whisper")
    calibration = speech(model)
    made = settle(step(model.copy(), Context(calibration, fast=False)))
    assert made.parameters < model.parameters
    save_model(made, tmp_path / "model")
    again = load_model(tmp_path / "model")
    batch = calibration.batches[0]
    assert torch.equal(outputs(again, batch), outputs(made, batch))
    ids = [
        one.module.generate(batch["input_features"][:1], max_new_tokens=6, do_sample=False, use_cache=use).tolist()
        for one, use in ((made, True), (again, True), (again, False))
    ]
    assert ids[0] == ids[1] == ids[2]
