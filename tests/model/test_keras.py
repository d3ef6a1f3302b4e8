"""A Keras model becomes a graph that says what Keras says; what cannot be one is named."""

import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from keras_models import KINDS, PLACES, WORDS, attentive, made, saved, sequential

from pocketlm.errors import ModelError
from pocketlm.model import keras_model
from pocketlm.model.keras_file import open_keras
from pocketlm.model.keras_model import load_keras, probabilities, sampled
from pocketlm.model.pretrained import load_model, save_model

keras = pytest.importorskip("keras")
KEPT = Path(__file__).parent / "keras"
GOLDEN = json.loads((KEPT / "text_vectorization.json").read_text("utf-8"))


def said(model, ids):
    return keras.ops.convert_to_numpy(model(ids.numpy(), training=False))


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_says_what_keras_says_and_reloads_bit_by_bit(kind, tmp_path):
    path = saved(kind, tmp_path)
    model = load_model(path)
    ids = sampled(model.module.config, 5, 7)
    with torch.no_grad():
        mine = probabilities(model.module, ids)
    np.testing.assert_allclose(mine.numpy(), said(keras.saving.load_model(path), ids), atol=2e-6)
    save_model(model, tmp_path / "folder")
    again = load_model(tmp_path / "folder")
    assert torch.equal(again.module(ids).logits, model.module(ids).logits)
    assert again.tokenizer.vocabulary == model.tokenizer.vocabulary
    assert again.spec.kind == "encoder"


def test_layers_are_named_by_their_own_names_and_places(tmp_path):
    made(attentive(PLACES)).save(tmp_path / "first.keras")
    path = saved(attentive(PLACES), tmp_path)  # in the same program, where Keras counts on
    names = [one.name for one in load_keras(path).layers]
    assert names == [
        "stem.embedding", *(f"blocks.0.multi_head_attention.{one}" for one in ("query", "key", "value", "output")),
        "blocks.1.dense", "blocks.1.dense_1", "classifier",
    ]  # fmt: skip
    assert names == [one.name for one in load_keras(tmp_path / "first.keras").layers]


def test_padding_changes_nothing_where_it_is_masked(tmp_path):
    module = load_keras(saved("attentive", tmp_path)).module
    ids = torch.randint(1, WORDS, (3, 9))
    padded = torch.cat([ids, torch.zeros(3, 4, dtype=torch.long)], 1)
    with torch.no_grad():
        found, alone = (module.blocks[0](module.stem(one), one != 0) for one in (padded, ids))
        blind = module.blocks[0](module.stem(padded), padded == padded)
    torch.testing.assert_close(found[:, :9], alone)
    assert not torch.allclose(blind[:, :9], alone, atol=1e-3)


def test_a_layer_of_ones_own_is_followed(tmp_path):
    mine = runpy.run_path(str(KEPT / "layers_of_my_own.py"))
    given = keras.Input((PLACES,))
    x = mine["TokenAndPositionEmbedding"](PLACES, WORDS, 8)(given)
    x = mine["TransformerBlock"](8, 2, 6)(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    path = saved(keras.Model(given, keras.layers.Dense(2, activation="softmax")(x)), tmp_path)
    model = load_keras(path)
    assert [one.name for one in model.layers if one.block] == [
        *(f"blocks.0.multi_head_attention.{one}" for one in ("query", "key", "value", "output")),
        "blocks.1.dense", "blocks.1.dense_1",
    ]  # fmt: skip
    keras.saving.get_custom_objects().clear()
    with pytest.raises(ModelError, match=r"class TokenAndPositionEmbedding is defined by no code here; .* --code"):
        load_keras(path)


@pytest.mark.parametrize("name", ["words", "bag"])
def test_text_vectorization_becomes_the_tokenizer(name, tmp_path):
    model = load_model(KEPT / f"{name}.keras")
    save_model(model, tmp_path / "folder")
    for one in (model, load_model(tmp_path / "folder")):
        with torch.no_grad():
            found = probabilities(one.module, one.tokenizer(GOLDEN["train"])["input_ids"])
        np.testing.assert_allclose(found.numpy(), GOLDEN[name], atol=2e-6)


def test_code_in_a_file_is_not_run(tmp_path):
    model = sequential(keras.layers.Embedding(WORDS, 4), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(2))
    path = tmp_path / "model.keras"
    model.save(path)
    with pytest.raises(ModelError, match=r"layer lambda\w* \(Lambda\) holds code, which is not run"):
        open_keras(path)


def test_what_is_not_supported_is_named(tmp_path):
    layers = keras.layers

    def refused(*parts):
        with pytest.raises(ModelError) as caught:
            load_keras(saved(sequential(layers.Embedding(WORDS, 4), *parts, layers.Dense(2)), tmp_path))
        return str(caught.value)

    message = refused(layers.SeparableConv1D(4, 2), layers.GlobalMaxPooling1D())
    assert "layer separable_conv1d" in message
    assert "(SeparableConv1D) is not supported; of layers there is Activation, " in message
    assert "reset_after=False is not supported" in refused(layers.GRU(3, reset_after=False))
    assert "activation mish is not supported" in refused(layers.Flatten(), layers.Dense(3, "mish"))
    assert "groups=2 is not supported" in refused(layers.Conv1D(4, 2, groups=2), layers.Flatten())
    path = saved(sequential(layers.Dense(3)), tmp_path)
    with pytest.raises(ModelError, match="looks none of them up"):
        load_keras(path)


def test_files_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load_model(tmp_path / "none.keras")
    bad = tmp_path / "bad.keras"
    bad.write_bytes(b"not a zip")
    with pytest.raises(ModelError, match=r"is no .keras file"):
        load_model(bad)
    with zipfile.ZipFile(bad, "w") as file:
        file.writestr("config.json", "[")
    with pytest.raises(ModelError, match=r"no config.json that can be read"):
        load_model(bad)


def test_words_and_labels_that_do_not_fit_are_refused(tmp_path):
    path = saved("convolved", tmp_path, labels=("one", "two"))
    with pytest.raises(ModelError, match="has 3 classes, and 2 labels lie beside it"):
        load_keras(path)
    path = saved("averaged", tmp_path)
    (tmp_path / "averaged.vocabulary.txt").write_text("\n".join(["", "[UNK]", *map(str, range(WORDS))]), "utf-8")
    with pytest.raises(ModelError, match=r"vocabulary has 62 words, and 60 are looked up"):
        load_keras(path)


def test_a_graph_that_differed_would_be_refused(tmp_path, monkeypatch):
    path = saved("convolved", tmp_path)
    fill = keras_model._fill

    def wrong(module, found):
        fill(module, found)
        module.classifier.bias.data[0] += 0.05

    monkeypatch.setattr(keras_model, "_fill", wrong)
    with pytest.raises(ModelError, match="differs from Keras by"):
        load_keras(path)
