import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.qat import Qat
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.targets import pack_layer
from pocketlm.model.code_weights import GridWeight, StepWeight
from pocketlm.model.layers import InputRounding
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

QUICK = {"steps": 12, "rate": 1e-3, "batch": 4, "held_out": 0.25}


def context_for(model, calibrated, **settings):
    return Context(calibrated(model, windows=12), teacher=model, fast=False, **settings)


def apart(student, teacher, batch):
    with torch.no_grad():
        own, given = (one.module(**batch).logits.log_softmax(-1) for one in (student, teacher))
    return float((given.exp() * (given - own)).sum(-1).mean())


@pytest.mark.parametrize("name", ["bert-classes", "gpt2", "t5", "mixtral"])
def test_weights_end_on_the_grid_and_nearer_than_rounded_ones(family, calibrated, name):
    model = family(name)
    context = context_for(model, calibrated)
    batch = dict(context.calibration.batches[0])
    rounded = RoundToNearest(bits=2, group_size=0, symmetric=True)(model.copy(), Context())
    made = Qat(**QUICK, bits=2)(model.copy(), context)
    for layer in made.layers:
        stored = getattr(made.module.get_submodule(layer.name), "stored", None)
        if layer.block and layer.kind in ("linear", "expert"):
            assert isinstance(stored, GridWeight), layer.name
            assert int(stored.codes.max()) < 4
    assert apart(made, model, batch) < apart(rounded, model, batch)


def test_a_recipe_keeps_its_promise_and_its_folder_says_the_same(family, calibrated, tmp_path):
    model = family("bert-classes")
    context = context_for(model, calibrated)
    made = compress(model, Recipe([Qat(**QUICK, bits=3)]), context)
    save_model(made, tmp_path / "out")
    assert apart(load_model(tmp_path / "out"), made, dict(context.calibration.batches[0])) < 1e-5
    before, after = made.records[0]["size_bytes"]
    assert after < before


def test_pruned_weights_stay_zero(family, calibrated):
    model = family("bert-classes")
    student = model.copy()
    weight = student.module.bert.encoder.layer[0].intermediate.dense.weight
    with torch.no_grad():
        weight.mul_(weight.abs() > weight.abs().median())
    zero = weight == 0
    made = Qat(**QUICK, bits=4)(student, context_for(model, calibrated))
    assert not made.module.bert.encoder.layer[0].intermediate.dense.weight[zero].any()


@pytest.mark.parametrize("hold", [True, False])
def test_a_stored_grid_goes_on_learning(family, calibrated, hold):
    model = family("llama")
    rounded = RoundToNearest(bits=2, group_size=16)(model.copy(), Context())
    before = rounded.module.model.layers[0].mlp.up_proj.stored
    zero = rounded.module.model.layers[0].mlp.up_proj.weight == 0
    batch = dict(calibrated(model, windows=12).batches[0])
    was = apart(rounded, model, batch)
    settings = {**QUICK, "rate": 7e-3, "bits": 8, "resume": True, "hold_zeros": hold}
    made = Qat(**settings)(rounded, context_for(model, calibrated))
    after = made.module.model.layers[0].mlp.up_proj.stored
    assert (after.bits, after.group_size) == (2, 16)
    assert torch.equal(after.zeros, before.zeros)
    assert not torch.equal(after.codes, before.codes)
    assert apart(made, model, batch) < was
    moved = bool(made.module.model.layers[0].mlp.up_proj.weight[zero].any())
    assert moved != hold


def test_a_recipe_may_quantize_and_then_train(family, calibrated):
    model = family("llama")  # loses so much by 2 bits that training helps on every processor
    steps = [RoundToNearest(bits=2, group_size=0), Qat(**QUICK, resume=True, hold_zeros=False)]
    made = compress(model, Recipe(steps), context_for(model, calibrated))
    assert "held-out loss" in made.records[1]["notes"][0]
    assert steps[1].heals
    assert not Qat().heals


def test_stored_steps_go_on_learning(family, calibrated, tmp_path):
    model = family("llama")
    student = model.copy()
    for layer in student.layers:
        if layer.block:
            owner = pack_layer(student.module, layer.name)
            matrix = owner.weight
            step = matrix.abs().amax(1).div(2).half()
            codes = (matrix / step.float()[:, None]).round().to(torch.int16)
            owner.stored = StepWeight(codes, step, torch.ones(matrix.shape[1]).half())
    context = context_for(model, calibrated)
    batch = dict(context.calibration.batches[0])
    was = apart(student, model, batch)
    made = Qat(**{**QUICK, "rate": 1e-2}, resume=True, hold_zeros=False)(student, context)
    assert isinstance(made.module.model.layers[0].mlp.up_proj.stored, StepWeight)
    assert apart(made, model, batch) < was
    save_model(made, tmp_path / "out")
    assert apart(load_model(tmp_path / "out"), made, batch) < 1e-4


def test_quantized_layers_are_left_unless_asked_to_go_on(family, calibrated):
    model = family("llama")
    rounded = RoundToNearest(bits=4, group_size=0)(model.copy(), Context())
    context = context_for(model, calibrated)
    Qat(**QUICK)(rounded, context)
    assert context.journal.layers["model.layers.0.mlp.up_proj"].why.startswith("is quantized already")


def test_inputs_are_rounded_too_and_tied_embeddings_learn_as_one(family, calibrated, tmp_path):
    model = family("llama")
    context = context_for(model, calibrated)
    made = Qat(**QUICK, bits=3, group_size=16, activations=8, layers=("blocks", "embeddings"))(model.copy(), context)
    assert isinstance(made.module.model.layers[1].mlp.down_proj.rounding, InputRounding)
    assert made.module.lm_head.stored is made.module.model.embed_tokens.stored
    assert isinstance(made.module.lm_head.stored, GridWeight)
    save_model(made, tmp_path / "out")
    batch = dict(context.calibration.batches[0])
    assert apart(load_model(tmp_path / "out"), made, batch) < 1e-4


def test_the_same_twice_and_settings_survive(family, calibrated):
    from pocketlm.compress.passes import PASSES

    model = family("bert-classes")
    chosen = Qat(**QUICK, bits={"*": 3, "*.query": 4}, symmetric=False)
    assert pass_from_json(pass_to_json(chosen), PASSES) == chosen
    first, second = (chosen(model.copy(), context_for(model, calibrated)) for _ in "ab")
    for (name, one), (_, other) in zip(first.module.named_buffers(), second.module.named_buffers(), strict=True):
        assert torch.equal(one, other), name
    assert first.module.bert.encoder.layer[0].attention.self.query.stored.bits == 4


def test_going_on_without_gain_leaves_the_layers_and_says_so(family, calibrated, monkeypatch):
    from pocketlm.compress import qat

    model = family("llama")
    rounded = RoundToNearest(bits=4, group_size=16)(model, Context())
    monkeypatch.setattr(qat, "improve", lambda *given: False)
    context = context_for(model, calibrated)
    Qat(**QUICK, resume=True)(rounded, context)
    assert context.journal.layers
    assert {one.done for one in context.journal.layers.values()} == {"left"}


def test_impossible_settings_are_refused():
    for wrong, why in (({"bits": 1}, "from 2 to 8"), ({"activations": 4}, "8 bits or not"), ({"rate": 0}, "rate"),
                       ({"bits": 8, "activations": 8}, "bits is at most 7 with activations and target 'any', got 8"),
                       ({"bits": {"a": 4, "b": 8}, "activations": 8}, "at most 7"),
                       ({"target": "x"}, "target is")):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            Qat(**wrong)
