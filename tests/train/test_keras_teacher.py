"""A Keras model teaches as it was trained, its classes matched with the data's labels."""

import csv

import numpy as np
import pytest
import torch
from keras_models import WORDS, saved, sequential, texts

import pocketlm
from pocketlm.errors import TeacherError
from pocketlm.model.keras_model import load_keras
from pocketlm.model.pretrained import save_model
from pocketlm.outputs import Output
from pocketlm.train.keras_teacher import is_keras, keras_teacher
from pocketlm.train.teach import ask

keras = pytest.importorskip("keras")
NUMBERS = Output("label", "single", ("10", "2", "9"))


def test_classes_without_names_are_the_labels_in_order(tmp_path):
    path = saved("convolved", tmp_path)
    model, _, note = keras_teacher(str(path), [NUMBERS])
    lines = texts(8)
    plain = load_keras(path)
    with torch.no_grad():
        wanted = plain.module(plain.tokenizer(lines)["input_ids"]).logits
    found = torch.stack([torch.from_numpy(one) for one in ask(model, lines).logits["label"]])
    torch.testing.assert_close(found, wanted[:, [2, 0, 1]])  # 2, 9 and 10 by value
    assert "3 classes taken to be in the order of their labels" in note


def test_named_classes_and_a_folder_teach_alike(tmp_path):
    path = saved("convolved", tmp_path, labels=("9", "10", "2"))
    save_model(load_keras(path), tmp_path / "folder")
    said = [
        ask(keras_teacher(str(name), [NUMBERS])[0], texts(4)).logits["label"] for name in (path, tmp_path / "folder")
    ]
    for one, other in zip(*said, strict=True):
        assert one.tolist() == other.tolist()
    assert is_keras(str(path))
    assert is_keras(str(tmp_path / "folder"))
    assert not is_keras(str(tmp_path))
    assert keras_teacher(str(path), [NUMBERS])[1] == keras_teacher(str(tmp_path / "folder"), [NUMBERS])[1]


def test_teachers_that_do_not_fit_are_refused(tmp_path):
    path = str(saved("convolved", tmp_path))
    for outputs, why in (
        ([Output("label", "single", ("a", "b"))], "has 3 classes, and the data 2 labels"),
        ([Output("slots", "tags", ("O", "B-x", "I-x"))], "says classes of whole texts"),
        ([Output("label", "multi", ("a", "b", "c"))], "ends in softmax, which is not for multi labels"),
    ):
        with pytest.raises(TeacherError, match=why):
            keras_teacher(path, outputs)
    with pytest.raises(TeacherError, match=r"put its words in averaged.vocabulary.txt beside it"):
        keras_teacher(str(saved("averaged", tmp_path / "bare", words=False)), [Output("label", "single", ("a", "b"))])
    odd = str(saved("convolved", tmp_path, labels=("a", "b", "c")))
    with pytest.raises(TeacherError, match=r"label '10' is only in one of"):
        keras_teacher(odd, [NUMBERS])


@pytest.mark.slow
def test_a_student_learns_from_a_keras_model(tmp_path):
    """Whether a line has more odd words than even ones, as the teacher counts them."""
    counted = np.array([0, 0, *(1 if word % 2 else -1 for word in range(2, WORDS))])
    lines = texts(300)
    words = [[int(word[1:]) for word in line.split()] for line in lines]
    gold = ["odd" if sum(counted[one] for one in own if one < WORDS) > 0 else "even" for own in words]
    layers = [keras.layers.Embedding(WORDS, 2), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1, "sigmoid")]
    path = saved(model := sequential(*layers), tmp_path)
    model.set_weights([np.stack([counted, counted * 0], 1), np.array([[24.0], [0.0]]), np.array([-1.0])])
    model.save(path)
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *zip(lines, gold, strict=True)])
    done = pocketlm.fit(
        str(tmp_path / "train.csv"), teacher=str(path), max_size="15kB", max_latency="1ms", label="label",
        output=str(tmp_path / "out.pocket"),
    )  # fmt: skip
    assert done.data["teacher"]["quality"]["test"]["accuracy"] == 1.0
    assert "asked as it was trained" in done.data["teacher"]["notes"][0]
    assert done.data["chosen"]["test"]["metrics"]["accuracy"]["value"] > 0.6
    assert (tmp_path / "out.pocket").stat().st_size <= 15_000
