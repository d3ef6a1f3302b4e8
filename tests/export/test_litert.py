"""A .tflite file says what torch says, whatever its layers are, with weights as codes and as floats."""

import numpy as np
import pytest
import torch
from keras_models import KINDS, saved
from typer.testing import CliRunner

from pocketlm.cli.main import app
from pocketlm.compress.context import Context
from pocketlm.compress.low_rank import LowRank
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import ModelError
from pocketlm.export import litert
from pocketlm.export.litert import export_litert, load_litert, run_litert
from pocketlm.model.keras_model import load_keras, probabilities, sampled
from pocketlm.model.pretrained import save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

pytest.importorskip("keras")
pytest.importorskip("ai_edge_litert")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    return {kind: load_keras(saved(kind, folder)) for kind in KINDS}


def rounded(model, bits):
    step = RoundToNearest(bits=bits, group_size=0, symmetric=True, layers=("all",))
    return compress(model, Recipe([step]), Context(allow_no_effect=True))


@pytest.mark.parametrize("kind", KINDS)
def test_floats_are_what_torch_says(kind, models, tmp_path):
    model = models[kind]
    done = export_litert(model, tmp_path / "model.tflite")
    assert done.integers == 0
    assert done.difference < 1e-4
    ids = sampled(model.module.config, 3, 11)
    with torch.no_grad():
        wanted = probabilities(model.module, ids).numpy()
    np.testing.assert_allclose(run_litert(load_litert(done.path), ids.numpy()), wanted, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_codes_stay_codes(kind, bits, models, tmp_path):
    model = rounded(models[kind], bits)
    done = export_litert(model, tmp_path / "model.tflite")
    assert done.floats == 0
    assert done.integers == len(model.layers)
    assert done.difference < litert.INTEGER_DIFFERENCE
    whole = export_litert(models[kind], tmp_path / "float.tflite")
    assert done.size_bytes < whole.size_bytes


def test_codes_of_up_to_4_bits_lie_two_to_a_byte(models, tmp_path):
    whole = models["attentive"]
    eight, four = (export_litert(rounded(whole, bits), tmp_path / "a.tflite").path.read_bytes() for bits in (8, 4))
    table = rounded(whole, 4).module.get_submodule("stem.embedding").stored.codes.numpy().astype(int) - 8
    halves = (table.reshape(-1, 2) & 15) @ [1, 16]
    assert halves.astype(np.uint8).tobytes() in four
    assert halves.astype(np.uint8).tobytes() not in eight


def test_factors_and_zeros_are_written_as_floats(models, tmp_path):
    model = compress(models["attentive"], Recipe([LowRank(share=0.5, method="svd")]), Context(allow_no_effect=True))
    assert export_litert(model, tmp_path / "model.tflite").difference < 1e-4


def test_an_answer_that_differs_leaves_no_file(models, tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "difference", lambda module, path: 0.5)
    with pytest.raises(ModelError, match="differs from torch by 0.5 of its answer"):
        export_litert(models["averaged"], tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_another_model_is_refused(family, tmp_path):
    with pytest.raises(ModelError, match="LiteRT export is for models that came from Keras"):
        export_litert(family("bert"), tmp_path / "model.tflite")


def test_the_command_writes_by_suffix(models, tmp_path):
    save_model(rounded(models["averaged"], 8), tmp_path / "small")
    done = CliRunner().invoke(app, ["export", str(tmp_path / "small"), "-o", str(tmp_path / "small.tflite")])
    assert done.exit_code == 0, done.output
    assert "3 matrices as 8-bit codes" in done.output
    assert (tmp_path / "small.tflite").read_bytes()[4:8] == b"TFL3"
