"""A model from Keras as ONNX and as a Pocket, read by the runtime without torch."""

import numpy as np
import pytest
import torch
from keras_models import saved, texts

import pocketlm
from pocketlm.compress.context import Context
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import ModelError
from pocketlm.export.compressed import export_onnx
from pocketlm.export.keras_pocket import export_pocket
from pocketlm.model.keras_model import load_keras
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

pytest.importorskip("keras")


@pytest.mark.parametrize("kind", ["plain-recurrent", "attentive"])
def test_onnx_says_what_torch_says(kind, tmp_path):
    model = load_keras(saved(kind, tmp_path))
    assert export_onnx(model, tmp_path / "model.onnx").difference < 1e-4


@pytest.mark.parametrize(("kind", "labels"), [("averaged", ("no", "yes")), ("convolved", ("a", "b", "c"))])
def test_a_pocket_reads_texts_as_the_model_does(kind, labels, tmp_path):
    model = load_keras(saved(kind, tmp_path, labels=labels))
    small = compress(model, Recipe([RoundToNearest(bits=8, layers=("all",))]), Context(allow_no_effect=True))
    done = export_pocket(small, tmp_path / "small.pocket")
    pocket = pocketlm.load(done.path)
    lines = [*texts(12), "", "w3"]
    with torch.no_grad():
        wanted = small.module(small.tokenizer(lines)["input_ids"]).logits
    np.testing.assert_allclose(pocket.logits(lines)["label"], wanted.numpy(), rtol=1e-3, atol=1e-4)
    assert [one["label"] for one in pocket.predict(lines)] == [labels[one] for one in wanted.argmax(-1)]
    assert done.size_bytes == (tmp_path / "small.pocket").stat().st_size == pocket.size_bytes


def test_without_words_there_is_no_pocket(tmp_path):
    model = load_keras(saved("averaged", tmp_path, words=False))
    with pytest.raises(ModelError, match="reads ids and has no words"):
        export_pocket(model, tmp_path / "small.pocket")
