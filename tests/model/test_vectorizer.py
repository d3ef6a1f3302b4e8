"""Words are read as Keras's TextVectorization reads them: what it gave, with TensorFlow, is kept in a file."""

import json
from pathlib import Path

import pytest

from pocketlm.errors import ModelError
from pocketlm.model.vectorizer import Vectorizer, word_tokenizer

KEPT = json.loads((Path(__file__).parent / "keras" / "text_vectorization.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "case", KEPT["cases"], ids=lambda case: f"{case['standardize']}-{case['split']}-{case['length']}"
)
def test_ids_are_those_of_keras(case):
    words = Vectorizer(word_tokenizer(case["vocabulary"], case["standardize"], case["split"]), case["length"])
    for text, wanted in zip(KEPT["texts"], case["ids"], strict=True):
        found = words([text])["input_ids"][0].tolist()
        assert found == (wanted or [0]), text  # where Keras gives no id at all, padding stands for the text


@pytest.mark.parametrize("case", KEPT["cases"][::2], ids=lambda case: f"{case['standardize']}-{case['split']}")
def test_an_adapted_vocabulary_is_that_of_keras(case):
    words = Vectorizer.adapted(KEPT["train"], 24, case["length"], case["standardize"], case["split"])
    assert words.vocabulary == case["vocabulary"]


def test_padding_counts_where_the_model_reads_it():
    tokenizer = word_tokenizer(["", "[UNK]", "on", "off"], "lower", "whitespace")
    read, passed = (Vectorizer(tokenizer, 4, masked)(["on off", ""]) for masked in (False, True))
    assert read["input_ids"].tolist() == [[2, 3, 0, 0], [0, 0, 0, 0]]
    assert read["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert passed["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]


def test_settings_that_are_not_known_are_named():
    with pytest.raises(ModelError, match="standardize='stem' is not supported; there is lower_and_strip"):
        word_tokenizer(["", "[UNK]"], "stem", "whitespace")
    with pytest.raises(ModelError, match="begins with an empty word and"):
        word_tokenizer(["on", "off"], None, None)
    with pytest.raises(ModelError, match="each word once"):
        word_tokenizer(["", "[UNK]", "on", "on"], None, None)
