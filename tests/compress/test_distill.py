import pytest
import torch

from pocketlm.compress import teaching
from pocketlm.compress.calibration import Calibration, calibration_from_rows
from pocketlm.compress.context import Context
from pocketlm.compress.distill import Distill
from pocketlm.compress.journal import Journal
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.rows import collate, rows_of
from pocketlm.compress.signals import Answers, ask, last_blocks, matching
from pocketlm.compress.teaching import classroom
from pocketlm.errors import NoEffect, RecipeError
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

QUICK = {"steps": 12, "rate": 1e-3, "batch": 4, "held_out": 0.25}


def context_for(model, calibrated, fast=False, **settings):
    return Context(calibrated(model, windows=12), teacher=model, fast=fast, **settings)


def pruned(model, share=0.6):
    """A copy whose block matrices lost their least weights."""
    made = model.copy()
    with torch.no_grad():
        for layer in made.layers:
            if layer.block:
                weight = made.module.get_submodule(layer.name).weight
                weight.mul_(weight.abs() > weight.abs().flatten().quantile(share))
    return made


def loss_of(student, teacher, batch):
    with torch.no_grad():
        own, given = (one.module(**batch).logits.log_softmax(-1) for one in (student, teacher))
    return float((given.exp() * (given - own)).sum(-1).mean())


@pytest.mark.parametrize("name", ["bert-words", "bert-classes", "gpt2", "llama", "t5", "mixtral"])
def test_a_pruned_model_comes_nearer_to_its_teacher_and_keeps_its_zeros(family, calibrated, name):
    model = family(name)
    student, context = pruned(model, 0.9), context_for(model, calibrated)
    zeros = {n: w == 0 for n, w in student.module.named_parameters() if w.ndim == 2 and (w == 0).float().mean() > 0.1}
    batch = dict(context.calibration.batches[0])
    before = loss_of(student, model, batch)
    made = Distill(**QUICK)(student, context)
    assert loss_of(made, model, batch) < before
    weights = dict(made.module.named_parameters())
    assert zeros
    assert all(not weights[n][mask].any() for n, mask in zeros.items())
    assert context.journal.changed
    assert "held-out loss" in context.journal.notes[0]


def test_a_speech_model_is_healed(family):
    model, generator = family("whisper"), torch.Generator().manual_seed(0)
    batches = []
    for length in (6, 9):
        ids = torch.randint(0, 200, (4, length), generator=generator)
        sound = torch.randn(4, 16, 100, generator=generator)
        mask = torch.ones_like(ids)
        mask[0, -2:] = 0
        batches.append({"input_features": sound, "decoder_input_ids": ids, "decoder_attention_mask": mask})
    context = Context(Calibration(tuple(batches)), teacher=model, fast=False)
    student = pruned(model)
    before = loss_of(student, model, batches[0])
    Distill(**QUICK, relations=0.1, hidden=0.1)(student, context)
    assert context.journal.changed
    assert loss_of(student, model, batches[0]) < before


def test_a_speech_model_is_healed_while_parts_of_its_sound_are_hidden(family, calibrated, monkeypatch):
    model, generator = family("whisper"), torch.Generator().manual_seed(0)
    ids = torch.randint(0, 200, (8, 6), generator=generator)
    batch = {"input_features": torch.randn(8, 16, 100, generator=generator), "decoder_input_ids": ids}
    context = Context(Calibration((batch,)), teacher=model, fast=False)
    room = classroom(pruned(model), Distill(**QUICK, spec_augment=2), context)
    places = room.learn[:3]
    heard, given = [], ask
    monkeypatch.setattr(teaching, "ask", lambda one, batch, **how: heard.append(batch) or given(one, batch, **how))
    room.loss(places)
    room.loss(places)
    room.loss(places, trained=False)
    first, second, judged = (one["input_features"] for one in heard)
    whole = collate([room.rows[place] for place in places])["input_features"]
    assert torch.equal(judged, whole) and not torch.equal(first, whole) and not torch.equal(first, second)
    text = family("gpt2")
    with pytest.raises(RecipeError, match="spec_augment hides parts of sound"):
        Distill(**QUICK, spec_augment=1)(pruned(text), context_for(text, calibrated))


def test_scales_of_a_quantized_model_learn_and_its_codes_stay(family, calibrated, tmp_path):
    model = family("llama")
    student = RoundToNearest(bits=2, group_size=16)(model.copy(), Context())
    context = context_for(model, calibrated)
    before = {n: b.clone() for n, b in student.module.named_buffers()}
    made = Distill(**{**QUICK, "steps": 40, "train": "scales", "scale_rate": 1e-2})(student, context)
    after = dict(made.module.named_buffers())
    assert before.keys() == after.keys()
    for name, buffer in before.items():
        assert after[name].dtype == buffer.dtype
        if name.endswith(("codes", "zeros")):
            assert torch.equal(buffer, after[name])
        elif name.endswith("scales"):
            assert not torch.equal(buffer, after[name])
    assert torch.equal(made.module.model.embed_tokens.weight, model.module.model.embed_tokens.weight)
    save_model(made, tmp_path / "out")
    batch = dict(context.calibration.batches[0])
    with torch.no_grad():
        assert torch.allclose(
            load_model(tmp_path / "out").module(**batch).logits, made.module(**batch).logits, atol=2e-2
        )


def test_only_norms_learn_where_only_they_are_asked_for(family, calibrated):
    model = family("llama")
    student = pruned(model)
    before = {n: w.clone() for n, w in student.module.named_parameters()}
    made = Distill(**QUICK, train="norms")(student, context_for(model, calibrated))
    changed = {n for n, w in made.module.named_parameters() if not torch.equal(w, before[n])}
    assert changed
    assert all("norm" in name for name in changed)


@pytest.mark.parametrize("name", ["bert-classes", "llama"])
def test_products_in_bfloat16_teach_too(family, calibrated, name):
    model = family(name)
    context = context_for(model, calibrated, fast=True)
    settings = {**QUICK, "hidden": 0.5, "relations": 0.5, "beta": 0.5, "train": "all"}
    Distill(**settings)(RoundToNearest(bits=2)(pruned(model, 0.9), Context()), context)
    assert context.journal.changed


def test_what_needs_no_healing_is_left_as_it_is_and_said_so(family, calibrated):
    model = family("bert-classes")
    before = {n: w.clone() for n, w in model.module.named_parameters()}
    recipe = Recipe([Distill(**QUICK)])
    with pytest.raises(NoEffect, match="did not lower the held-out loss"):
        compress(model, recipe, context_for(model, calibrated))
    made = compress(model, recipe, context_for(model, calibrated, allow_no_effect=True))
    assert all(torch.equal(w, before[n]) for n, w in made.module.named_parameters())
    assert "everything is as it was" in made.records[0]["notes"][0]


def test_the_same_twice(family, calibrated):
    model = family("gpt2")
    made = [
        Distill(**QUICK, on_policy=0.5, sample_tokens=4)(pruned(model), context_for(model, calibrated)) for _ in "ab"
    ]
    first, second = (dict(one.module.named_parameters()) for one in made)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bert", {"logits": 0, "relations": 1}),
        ("bert", {"hidden": 1, "hidden_at": "every"}),
        ("gpt2", {"relations": 1, "hidden": 0.5, "hidden_by": "cosine"}),
        ("llama", {"relations": 1, "relation_heads": 3}),
        ("t5", {"relations": 1, "hidden": 1}),
        ("llama", {"labels": 1, "logits": 0}),
        ("llama", {"on_policy": 1.0, "beta": 0.5, "sample_tokens": 4}),
        ("llama", {"top": 5, "temperature": 2.0}),
    ],
)
def test_every_loss_teaches_and_is_least_for_the_teacher_itself(family, calibrated, name, settings):
    model = family(name)
    context = context_for(model, calibrated)
    chosen = Distill(**{**QUICK, **settings})
    itself = classroom(model, chosen, context).judged()
    student = pruned(model)
    room = classroom(student, chosen, context)
    before = room.judged()
    if not settings.get("labels"):
        assert abs(itself) < 2e-3 < before
    chosen(student, context)
    assert context.journal.changed
    assert room.judged() < before


def test_classes_teach(family):
    model = family("bert-classes")
    texts = [
        f"{verb} the {room} lamp" for verb in ("dim", "turn on", "switch off") for room in ("hall", "attic", "office")
    ]
    made, labels = calibration_from_rows(texts, [0] * 3 + [1] * 3 + [2] * 3, model, batch_size=4)
    context = Context(made, teacher=model, labels=labels, fast=False)
    chosen = Distill(steps=60, rate=3e-3, batch=4, labels=1.0, logits=0.0)
    healed = chosen(model.copy(), context)
    with torch.no_grad():
        said = torch.cat([healed.module(**batch).logits.argmax(-1) for batch in made.batches])
        was = torch.cat([model.module(**batch).logits.argmax(-1) for batch in made.batches])
    right = torch.cat(labels)
    assert (said == right).sum() > (was == right).sum()


def test_blocks_that_were_dropped_are_matched_by_what_comes_next(family):
    from dataclasses import replace

    from torch import nn

    teacher = family("llama")
    blocks = teacher.module.model.layers
    student = teacher.copy()
    student.module.model.layers = nn.ModuleList([student.module.model.layers[1]])
    student = replace(student, spec=replace(student.spec, kept={"model.layers": (1,)}))
    assert len(blocks) == 2
    assert matching(teacher, teacher) == [[(1, 1), (2, 2)]]
    assert matching(student, teacher) == [[(1, 2)]]
    assert last_blocks(student, teacher) == (["model.layers.0"], ["model.layers.1"])


def test_kept_answers_are_the_teachers(family, calibrated, tmp_path):
    model = family("llama")
    rows = rows_of(calibrated(model))
    said = ask(model, collate(rows[2:4])).logits.softmax(-1)
    for folder in (None, tmp_path):
        answers = Answers(model, rows, 6, 1.0, False, folder)
        answers.of([3, 1])
        found = answers.of([2, 3])
        assert found.indices.shape == (len(said), 6)
        kept = found.given().exp()
        assert torch.allclose(kept[:, :-1], said.gather(1, found.indices.long()), atol=2e-3)
        assert torch.allclose(kept[:, -1], 1 - kept[:, :-1].sum(-1), atol=1e-5)


def test_what_cannot_be_had_is_refused(family, calibrated):
    encoder, classes = family("bert"), family("bert-classes")
    with pytest.raises(RecipeError, match="give hidden or relations a weight"):
        Distill()(encoder.copy(), context_for(encoder, calibrated))
    with pytest.raises(RecipeError, match="calibration has no labels"):
        Distill(labels=1)(classes.copy(), context_for(classes, calibrated))
    with pytest.raises(RecipeError, match="on_policy is for models that write"):
        Distill(on_policy=0.5)(classes.copy(), context_for(classes, calibrated))
    with pytest.raises(RecipeError, match="needs calibration text"):
        Distill()(classes.copy(), Context(teacher=classes))
    for wrong in ({"train": "some"}, {"steps": 0}, {"beta": 2}, {"hidden": -1}, {"logits": 0}, {"hidden_at": "first"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Distill(**wrong)


def test_weights_of_losses_that_contradict_each_other_are_refused():
    for wrong in ({"on_policy": 0.5, "logits": 0.0, "labels": 1.0}, {"logits": 0.0}, {"beta": 2.0}, {"rate": 0.0}):
        with pytest.raises(ValueError, match="logits|beta is from 0 to 1|rate is more than 0"):
            Distill(**wrong)


def test_the_loss_of_own_texts_has_the_weight_of_logits(family, calibrated):
    model = family("llama")
    losses = []
    for weight in (1.0, 0.25):
        settings = Distill(**QUICK, on_policy=1.0, sample_tokens=4, logits=weight)
        losses.append(float(classroom(pruned(model), settings, context_for(model, calibrated)).loss([0, 1])))
    assert losses[1] == pytest.approx(losses[0] / 4) and losses[0] > 0


def test_settings_survive_a_recipe_file():
    from pocketlm.compress.passes import PASSES

    chosen = Distill(epochs=2.5, hidden=1.0, train="scales")
    assert pass_from_json(pass_to_json(chosen), PASSES) == chosen


def test_a_fresh_journal_names_what_was_trained(family, calibrated):
    model = family("llama")
    context = context_for(model, calibrated, journal=Journal())
    Distill(**QUICK, train="norms")(pruned(model), context)
    assert set(context.journal.layers) >= {"model.norm", "model.layers.0.input_layernorm"}
