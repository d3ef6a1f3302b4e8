"""Vectors have length 1, bytes keep their cosines, and pairs are asked for in every way."""

import numpy as np
import pytest

from pocketlm.errors import UserError
from pocketlm.outputs import Output
from pocketlm.runtime.inputs import BagInputs, Pair
from pocketlm.runtime.lines import read_line
from pocketlm.runtime.load import Pocket, predict_all
from pocketlm.runtime.ngrams import Ngrams
from pocketlm.runtime.packed import pack
from pocketlm.runtime.vectors import cosine, to_int8, unit

OUTPUT = Output("vector", "vector", (), 6)


def make_pocket(output=OUTPUT):
    """A linear bag with random rows, put together as a manifest describes it."""
    random = np.random.default_rng(0)
    arrays = {
        "table": pack(random.normal(size=(2**10, 8)).astype(np.float32), 32),
        f"{output.name}.weight": pack(random.normal(size=(output.size, 8)).astype(np.float32), 32),
        f"{output.name}.bias": pack(np.zeros(output.size, np.float32), 32),
    }
    about = {
        "kind": "bag", "hidden": False, "window": 0, "arrays": {name: one for name, (one, _) in arrays.items()},
        "inputs": {"kind": "ngrams", "tagging": False, "max_words": 64, "ngrams": Ngrams(2**10).to_json()},
    }  # fmt: skip
    manifest = {"task": "similarity", "outputs": [output.to_json()], "model": about}
    return Pocket(manifest, {name: data for name, (_, data) in arrays.items()}, 0, 1)


def test_lengths_and_zeros():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(cosine(rows, np.array([[4.0, 3.0], [1.0, 1.0]])), [0.96, 0], rtol=1e-6)


def test_a_byte_a_dimension_keeps_cosines():
    vectors = unit(np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32))
    small = to_int8(vectors)
    assert (small.dtype, np.abs(small).max()) == (np.int8, 127)
    assert cosine(small, vectors).min() > 0.9999
    np.testing.assert_allclose(cosine(small[::2], small[1::2]), cosine(vectors[::2], vectors[1::2]), atol=0.01)
    assert not to_int8(np.zeros((1, 3), np.float32)).any()


def test_predictions_are_unit_vectors_and_pairs_their_cosine():
    pocket = make_pocket()
    texts = ["turn on the lamp", "lamp on", "", "ዛሬ"]
    found = pocket.vectors(texts)
    assert found.shape == (4, 6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0, 1], atol=1e-4)
    assert pocket.predict("lamp on")["vector"] == pytest.approx(found[1].tolist(), abs=1e-5)
    likeness = pocket.similarity(texts[0], texts[1])
    assert likeness == pytest.approx(float(found[0] @ found[1]), abs=1e-4)
    assert pocket.similarity(texts[:2], texts[1::-1]) == [likeness, likeness]
    assert pocket.similarity(texts[0], texts[0]) == pytest.approx(1, abs=1e-4)
    assert pocket.similarity("lamp", "") == 0
    assert pocket.predict([Pair(*texts[:2]), texts[1]]) == [{"similarity": likeness}, pocket.predict(texts[1])]
    assert pocket.vectors([]).shape[0] == 0
    assert pocket.vectors(texts[:1], int8=True).dtype == np.int8


@pytest.mark.parametrize("second", ["a", ["a"], ["a", "b", "c"]])
def test_lists_that_do_not_match(second):
    with pytest.raises(UserError, match="equally many"):
        make_pocket().similarity(["a", "b"], second)


def test_a_pocket_without_vectors_reads_the_first_text_of_a_pair():
    pocket = make_pocket(Output("label", "single", ("x", "y")))
    assert pocket.predict([Pair("lamp", "other"), "b"]) == pocket.predict(["lamp", "b"])
    with pytest.raises(UserError, match="takes one whose task is similarity"):
        pocket.similarity("a", "b")
    with pytest.raises(UserError, match="takes one whose task is similarity"):
        pocket.vectors(["a"])


def test_lines_with_pairs():
    row, text = read_line('{"text": "a", "pair": "b", "id": 1}', "x")
    assert (text, row["id"]) == (Pair("a", "b"), 1)
    assert read_line('{"text": "a", "pair": 3}', "x")[1] == "a"
    pocket = make_pocket()
    assert predict_all(pocket.inputs, pocket.model, pocket.outputs, [text])[0].keys() == {"similarity"}


def test_outputs_say_their_width():
    assert Output.from_json(OUTPUT.to_json()) == OUTPUT
    assert OUTPUT.size == 6
    plain = Output("label", "single", ("x", "y"))
    assert (plain.size, plain.to_json()) == (2, {"name": "label", "kind": "single", "labels": ["x", "y"]})
    assert BagInputs(Ngrams(2**10), False).encode([""])[0].length == 0
