"""Passes work on a model from Keras as on any: after training and during it, and what remains reloads bit by bit."""

import pytest
import torch
import yaml
from keras_models import PLACES, attentive, saved, texts
from typer.testing import CliRunner

from pocketlm.cli.main import app
from pocketlm.compress.calibration import calibration_from_lines
from pocketlm.compress.context import Context
from pocketlm.compress.passes import PASSES
from pocketlm.errors import RecipeError
from pocketlm.model.keras_model import load_keras, sampled
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

pytest.importorskip("keras")
KINDS = ("attentive", "convolved", "recurrent")
RECIPES = {
    "gptq": [{"pass": "gptq", "bits": 4, "group_size": 0}],
    "awq-hqq": [{"pass": "awq", "bits": 4}, {"pass": "hqq", "layers": ["embeddings"]}],
    "wanda-rtn": [{"pass": "prune", "sparsity": 0.5}, {"pass": "round-to-nearest", "bits": 8}],
    "sparsegpt": [{"pass": "sparsegpt", "sparsity": 0.5}],
    "low-rank": [{"pass": "low-rank", "share": 0.5}],
    "entropy": [{"pass": "entropy-coded", "bits": 4, "layers": ["all"]}],
    "int8": [{"pass": "int8"}],
    "qat": [{"pass": "qat", "bits": 4, "steps": 4, "rate": 1e-3, "layers": ["all"]}],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    return {
        "attentive": saved(attentive(PLACES), folder / "a"), "convolved": saved("convolved", folder / "c"),
        "recurrent": saved("recurrent", folder / "r"),
    }  # fmt: skip


def shrunk(path, steps):
    model = load_keras(path)
    calibration = calibration_from_lines(texts(), model, batch_size=16)
    return model, compress(
        model, Recipe.from_json(steps, PASSES), Context(calibration, fast=False, allow_no_effect=True)
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    # the matrices of the others are too small to gain by factors
    [(name, kind) for name in RECIPES for kind in KINDS if name != "low-rank" or kind == "attentive"],
)
def test_a_pass_makes_it_smaller_and_it_reloads_bit_by_bit(name, kind, files, tmp_path):
    model, small = shrunk(files[kind], RECIPES[name])
    assert small.size_bytes <= model.size_bytes
    ids = sampled(model.module.config, 4, 3)
    save_model(small, tmp_path / "small")
    assert torch.equal(load_model(tmp_path / "small").module(ids).logits, small.module(ids).logits)
    assert not torch.equal(model.module(ids).logits, small.module(ids).logits)


def test_error_feedback_beats_rounding_on_a_block(files):
    steps = [{"pass": "gptq", "bits": 3, "group_size": 0}]
    model, fed = shrunk(files["convolved"], steps)
    _, rounded = shrunk(files["convolved"], [{"pass": "round-to-nearest", "bits": 3, "group_size": 0}])
    ids = sampled(model.module.config, 64, 1)
    with torch.no_grad():
        whole, *lost = (one.module(ids).logits for one in (model, fed, rounded))
    assert (lost[0] - whole).norm() < (lost[1] - whole).norm()


def test_training_keeps_what_rounding_loses(files):
    rounded = [{"pass": "round-to-nearest", "bits": 2, "group_size": 0, "layers": ["all"]}]
    trained = [{"pass": "qat", "bits": 2, "group_size": 0, "layers": ["all"], "steps": 60, "rate": 3e-3}]
    model, plain = shrunk(files["convolved"], rounded)
    _, taught = shrunk(files["convolved"], trained)
    ids = model.tokenizer(texts(64, 1))["input_ids"]
    with torch.no_grad():
        whole, *found = (one.module(ids).logits.log_softmax(-1) for one in (model, plain, taught))
    apart = [float((whole.exp() * (whole - one)).sum(-1).mean()) for one in found]
    assert apart[1] < apart[0]


def test_blocks_that_are_not_alike_are_not_dropped(files):
    with pytest.raises(RecipeError, match="has 0 blocks that are not protected"):
        shrunk(files["convolved"], [{"pass": "drop-layers", "count": 1}])


def test_states_are_not_compared(files):
    with pytest.raises(RecipeError, match="no shape in common"):
        shrunk(files["convolved"], [{"pass": "distill", "hidden": 1.0, "steps": 1}])


def test_the_command_reads_a_keras_file(files, tmp_path):
    recipe, text, out = tmp_path / "recipe.yaml", tmp_path / "text.txt", tmp_path / "small"
    recipe.write_text(yaml.safe_dump(RECIPES["gptq"]), "utf-8")
    text.write_text("\n".join(texts()), "utf-8")
    code = tmp_path / "code.py"
    code.write_text("raise ValueError('no such thing')", "utf-8")
    words = ["compress", str(files["attentive"]), "--recipe", str(recipe), "--calibration", str(text), "-o", str(out)]
    done = CliRunner().invoke(app, [*words, "-q"])
    assert done.exit_code == 0, done.output
    assert load_model(out).spec.model_type == "keras"
    from pocketlm.errors import ModelError

    with pytest.raises(ModelError, match=r"code .*code.py: ValueError: no such thing"):
        CliRunner().invoke(app, [*words, "--force", "--code", str(code)], catch_exceptions=False)
