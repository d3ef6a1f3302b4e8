from dataclasses import replace

import pytest
import torch

from pocketlm.compress.alps import Alps
from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.journal import Journal, broken
from pocketlm.compress.passes import PASSES
from pocketlm.compress.prune import Prune
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.compress.sparsegpt import SparseGPT
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

ALL = [
    Prune(),
    Prune(criterion="magnitude"),
    Prune(criterion="obs", refit=8),
    SparseGPT(),
    Alps(),
    Alps(allocation="owl"),
    Alps(allocation="sensitivity", correct=1.0, tune_epochs=1),
]


def sound(model):
    """A calibration of four stretches of noise and what is said in them."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 16, 100, generator=generator)
    return Calibration(({"input_features": features, "decoder_input_ids": torch.randint(5, 100, (4, 9))},))


def block_matrices(model):
    return {
        one.name: model.module.get_submodule(one.name).weight
        for one in model.layers
        if one.block and one.role != "gate"
    }


CASES = [("llama", step) for step in ALL] + [(name, ALL[-1]) for name in ("bert", "gpt2", "t5", "mixtral", "whisper")]


@pytest.mark.parametrize(("name", "step"), CASES, ids=lambda one: getattr(one, "name", one))
def test_half_of_the_weights_of_every_family_go_and_the_journal_says_so(family, calibrated, name, step):
    model = family(name)
    wanted = {one.name for one in model.layers if one.block and one.kind in ("linear", "expert")}
    journal, calibration = Journal(), calibrated(model) if name != "whisper" else sound(model)
    made = step(model, Context(calibration=calibration, journal=journal))
    assert {one for one, record in journal.layers.items() if record.done == "pruned"} == wanted
    assert not broken(made, journal.promises)
    matrices = [made.module.get_submodule(one).weight for one in wanted]
    zeros, total = sum(int((one == 0).sum()) for one in matrices), sum(one.numel() for one in matrices)
    assert zeros / total == pytest.approx(0.5, abs=0.01 if step.allocation != "uniform" else 1e-3)
    assert all(one.isfinite().all() for one in matrices)


def test_the_file_is_smaller_and_the_record_names_every_layer(family, calibrated):
    model = family("llama")
    made = compress(model, Recipe([SparseGPT()]), Context(calibration=calibrated(model)))
    records = {one["name"]: one for one in made.records[0]["layers"]}
    assert {one.name for one in model.layers} <= set(records)
    assert records["model.layers.0.mlp.up_proj"]["sparsity"] == 0.5
    before, after = made.records[0]["size_bytes"]
    assert after < before


def test_magnitude_takes_the_smallest_of_every_row(family):
    model = family("llama")
    made = Prune(criterion="magnitude", sparsity=0.25)(model.copy(), Context())
    for name, before in block_matrices(model).items():
        after = made.module.get_submodule(name).weight
        gone = round(0.25 * before.shape[1])
        for row, old in zip(after, before, strict=True):
            assert torch.equal(row == 0, old.abs() <= old.abs().sort().values[gone - 1])
            assert torch.equal(row[row != 0], old[row != 0])


def test_wanda_is_what_its_paper_says(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    made = Prune(layers=("*.layers.0.mlp.up_proj",))(model.copy(), Context(calibration=calibration, fast=False))
    layer, seen = model.module.model.layers[0].mlp.up_proj, []
    handle = layer.register_forward_pre_hook(lambda module, given: seen.append(given[0].reshape(-1, 32)))
    with torch.no_grad():
        for batch in calibration.batches:
            model.module(**batch)
    handle.remove()
    score = layer.weight.abs() * torch.cat(seen).norm(dim=0)
    least = score.sort(1).values[:, 15:16]
    assert torch.equal(made.module.model.layers[0].mlp.up_proj.weight == 0, score <= least)


def test_no_sparsity_leaves_the_model_as_it_was(family, calibrated):
    model = family("llama")
    for kind in (Prune, SparseGPT, Alps):
        journal = Journal()
        made = kind(sparsity=0.0)(model.copy(), Context(calibration=calibrated(model), journal=journal))
        assert not journal.changed
        for name, before in block_matrices(model).items():
            assert torch.equal(made.module.get_submodule(name).weight, before)


@pytest.mark.parametrize("kind", [Prune, SparseGPT, Alps])
def test_promises_of_patterns_hold_and_survive_quantization(family, calibrated, kind, tmp_path):
    model = family("llama")
    for pattern, word in (({"keep": 2, "of": 4}, "pattern"), ({"rows": 4, "columns": 4}, "blocks")):
        journal = Journal()
        context = Context(calibration=calibrated(model), journal=journal)
        made = kind(pattern=pattern, correct=0.5, tune_epochs=1)(model.copy(), context)
        assert {one.kind for one in journal.promises} == {"sparsity", word}
        assert not broken(made, journal.promises)
        assert not broken(RoundToNearest()(made, Context()), journal.promises)
        name = next(one.layer for one in journal.promises)
        with torch.no_grad():
            made.module.get_submodule(name).stored = model.module.get_submodule(name).weight
    recipe = Recipe([kind(pattern={"keep": 2, "of": 4}), RoundToNearest()])
    save_model(compress(model, recipe, Context(calibration=calibrated(model))), tmp_path / "model")
    weight = load_model(tmp_path / "model").module.model.layers[0].mlp.up_proj.weight
    assert ((weight.reshape(len(weight), -1, 4) != 0).sum(-1) <= 2).all()


def test_a_filled_zero_breaks_the_promise(family, calibrated):
    model = family("llama")
    journal = Journal()
    made = Prune(pattern={"keep": 2, "of": 4})(model, Context(calibration=calibrated(model), journal=journal))
    made.module.model.layers[1].mlp.up_proj.stored.values.data.fill_(1.0)
    assert {one.kind for one in broken(made, journal.promises)} == {"sparsity", "pattern"}


def test_twice_gives_the_same_weights(family, calibrated):
    model = family("llama")
    step = Alps(allocation="sensitivity", correct=1.0, tune_epochs=1)
    first, second = (step(model.copy(), Context(calibration=calibrated(model))) for _ in range(2))
    for name in block_matrices(model):
        assert torch.equal(first.module.get_submodule(name).weight, second.module.get_submodule(name).weight)


def test_each_layer_has_the_rate_its_pattern_gives(family, calibrated):
    model = family("llama")
    step = SparseGPT(sparsity={"*": 0.25, "*.mlp.*": 0.75})
    made = step(model, Context(calibration=calibrated(model)))
    for name, weight in block_matrices(made).items():
        assert float((weight == 0).float().mean()) == pytest.approx(0.75 if ".mlp." in name else 0.25, abs=1e-3)


def test_tuning_lowers_the_error_of_the_blocks(family, calibrated):
    model = family("llama")
    journal = Journal()
    step = Prune(sparsity=0.6, tune_epochs=6, tune_rate=2e-3)
    made = step(model.copy(), Context(calibration=calibrated(model), journal=journal))
    assert not broken(made, journal.promises)
    for text in journal.notes:
        first, last = (float(part.split()[-1]) for part in text.split(", tuned"))
        assert last < first


def test_embeddings_and_heads_are_pruned_by_magnitude_together(family):
    made = Prune(criterion="magnitude", layers=("embeddings",))(family("llama"), Context())
    assert made.module.lm_head.stored is made.module.model.embed_tokens.stored
    assert float((made.module.lm_head.weight == 0).float().mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sparsity": 1.5}, "sparsity is a share"),
        ({"sparsity": {"*": -0.1}}, "sparsity is a share"),
        ({"criterion": "wandaa"}, "Did you mean 'wanda'"),
        ({"allocation": "best"}, "allocation is one of"),
        ({"pattern": {"keep": 2, "of": 4}, "sparsity": 0.6}, "2:4 has the sparsity 0.5"),
        ({"pattern": {"keep": 2, "of": 4}, "allocation": "owl"}, "2:4 has the sparsity 0.5"),
        ({"correct": 2}, "correct is from 0 to 1"),
        ({"tune_epochs": -1}, "tune_epochs is from 0"),
    ],
)
def test_wrong_settings_are_refused_in_a_line(wrong, message):
    with pytest.raises(RecipeError, match=message):
        pass_from_json({"pass": "prune", **wrong}, PASSES)


def test_inputs_are_asked_for_where_they_are_needed(family):
    with pytest.raises(RecipeError, match="pass prune: needs calibration"):
        Prune()(family("llama"), Context())


@pytest.mark.parametrize("step", ALL, ids=lambda step: f"{step.name}-{step.allocation}")
def test_settings_survive_as_data(step):
    assert pass_from_json(pass_to_json(step), PASSES) == step
    assert pass_from_json(pass_to_json(replace(step, sparsity={"*": 0.5})), PASSES).sparsity == {"*": 0.5}


def test_what_is_rounded_already_is_not_pruned(family, calibrated):
    model = family("llama")
    context = Context(calibration=calibrated(model))
    with pytest.raises(RecipeError, match="pass prune after round-to-nearest: rounded weights"):
        compress(model, Recipe([RoundToNearest(), Prune()]), context)
    rounded = RoundToNearest()(model, Context())
    journal = Journal()
    Prune(layers=("*.layers.0.mlp.up_proj",))(rounded, replace(context, journal=journal))
    assert journal.layers["model.layers.0.mlp.up_proj"].why == "has no plain matrix: it is quantized already"
