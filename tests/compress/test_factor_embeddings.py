import pytest
import torch

from pocketlm.compress.context import Context
from pocketlm.compress.factor_embeddings import UNSEEN, FactorEmbeddings, frequencies
from pocketlm.compress.passes import PASSES
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import RecipeError
from pocketlm.model.code_weights import GridWeight
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.model.weights import ProductWeight
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

TABLE = {"llama": "model.embed_tokens", "gpt2": "transformer.wte", "bert": "embeddings.word_embeddings", "t5": "shared"}


def shrunk(model, calibration, **settings):
    step = FactorEmbeddings(**{"layers": (TABLE[model.spec.model_type],), **settings})
    return compress(model, Recipe([step]), Context(calibration=calibration, fast=False))


def lost(model, made, calibration):
    with torch.no_grad():
        return sum(
            float((model.module(**batch)[0] - made.module(**batch)[0]).square().mean()) for batch in calibration.batches
        )


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_a_tied_matrix_is_factorized_once_and_the_model_shrinks(family, calibrated, name):
    model = family(name)
    made = shrunk(model, calibrated(model), share=0.4)
    before, after = made.records[0]["size_bytes"]
    assert after < before
    table = made.module.get_submodule(TABLE[name])
    assert isinstance(table.stored, ProductWeight)
    whole = table.weight.numel()
    assert model.parameters - 0.5 * whole <= made.parameters <= model.parameters - 0.4 * whole
    for group in model.spec.ties:
        assert len({id(made.module.get_submodule(one).stored) for one in group if TABLE[name] in group}) <= 1


def test_weighting_by_use_keeps_the_output_nearer(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    weighted, plain = (
        lost(model, shrunk(model, calibration, share=0.5, weighted=one), calibration) for one in (True, False)
    )
    assert weighted < plain


def test_error_falls_with_rank(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    errors = [lost(model, shrunk(model, calibration, rank=rank), calibration) for rank in (4, 12, 26)]
    assert errors == sorted(errors, reverse=True)


def test_plain_rank_needs_no_calibration_and_is_the_best_of_its_rank(family):
    model = family("bert")
    made = shrunk(model, None, rank=6, weighted=False)
    matrix = model.module.embeddings.word_embeddings.weight
    squares = torch.linalg.svdvals(matrix.double()).square()
    error = (made.module.embeddings.word_embeddings.weight - matrix).square().sum()
    assert float(error) == pytest.approx(float(squares[6:].sum()), rel=1e-2)


def test_tokens_count_by_how_often_they_occur(family, calibrated):
    model = family("llama")
    calibration = calibrated(model)
    rows = model.module.model.embed_tokens.num_embeddings
    found = frequencies(calibration, rows)
    ids = torch.cat([batch["input_ids"].reshape(-1) for batch in calibration.batches])
    counts = ids.bincount(minlength=rows).float()
    assert torch.allclose(found, counts / counts.mean() + UNSEEN)
    assert torch.equal(frequencies(calibration, 3), torch.ones(3))


def test_the_same_twice_after_a_folder_and_then_quantized(family, calibrated, tmp_path):
    model = family("llama")
    made = [shrunk(model, calibrated(model), share=0.4) for _ in range(2)]
    save_model(made[0], tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.module.lm_head.stored is again.module.model.embed_tokens.stored
    for name, tensor in made[0].module.state_dict().items():
        assert torch.equal(tensor, made[1].module.state_dict()[name]), name
        assert torch.equal(tensor, again.module.state_dict()[name]), name
    rounded = compress(made[0], Recipe([RoundToNearest(layers=("embeddings",), group_size=8)]))
    assert isinstance(rounded.module.lm_head.stored.right, GridWeight)


def test_a_rank_that_stores_no_less_leaves_the_matrix(family, calibrated):
    model = family("llama")
    context = Context(calibration=calibrated(model), allow_no_effect=True)
    made = compress(model, Recipe([FactorEmbeddings(rank=32)]), context)
    assert made.parameters == model.parameters
    reasons = {one["name"]: one.get("why", "") for one in made.records[0]["layers"]}
    assert "stores no less" in reasons["model.embed_tokens"] and "stores no less" in reasons["lm_head"]


@pytest.mark.parametrize(("settings", "words"), [({"rank": 0}, "least 1"), ({"share": 1}, "below 1")])
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        pass_from_json({"pass": "factor-embeddings", **settings}, PASSES)


def test_settings_survive_as_data():
    step = FactorEmbeddings(rank=3, weighted=False)
    assert pass_from_json(pass_to_json(step), PASSES) == step
