"""Tags come out well formed, and as likely as they can be."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlm.outputs import Output
from pocketlm.runtime.decode import best_tags, decode, tag_spans

LABELS = ("O", "B-a", "I-a", "B-b", "I-b")


def well_formed(tags):
    return all(
        not tag.startswith("I-") or (place > 0 and tags[place - 1] in (f"B-{tag[2:]}", tag))
        for place, tag in enumerate(tags)
    )


@given(st.integers(1, 4), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_best_tags_are_the_best_of_all_well_formed_ones(length, seed):
    logits = np.random.default_rng(seed).normal(size=(length, 5)).astype(np.float32) * 3
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found = best_tags(logits, LABELS)
    assert well_formed(found)
    every = [path for path in itertools.product(range(5), repeat=length) if well_formed([LABELS[tag] for tag in path])]
    best = max(sum(logs[place, tag] for place, tag in enumerate(path)) for path in every)
    score = sum(logs[place, LABELS.index(tag)] for place, tag in enumerate(found))
    assert score == pytest.approx(best, abs=1e-4)


def test_entities_have_the_offsets_of_the_text():
    output = (Output("intent", "single", ("off", "on")), Output("slots", "tags", LABELS))
    text = "switch  the kitchen lamp, on"
    logits = np.full((6, 5), -5.0, np.float32)
    for word, tag in enumerate([0, 0, 1, 3, 0, 0]):
        logits[word, tag] = 5
    said = decode([text], output, {"intent": np.array([[0.0, 1.0]], np.float32), "slots": logits}, [6])[0]
    assert said["intent"] == "on"
    assert [text[one["start"] : one["end"]] for one in said["entities"]] == ["kitchen", "lamp"]
    assert said["score"] == pytest.approx(0.7311, abs=1e-4)


def test_words_beyond_the_cut_are_tagged_o():
    output = (Output("slots", "tags", LABELS),)
    logits = np.array([[0, 9, 0, 0, 0]], np.float32)
    assert decode([("a", "b", "c")], output, {"slots": logits}, [1])[0]["slots"] == ["B-a", "O", "O"]


def test_multi_label_takes_what_is_likelier_than_not():
    said = decode(["x"], (Output("label", "multi", ("p", "q")),), {"label": np.array([[2.0, -2.0]], np.float32)}, [0])[
        0
    ]
    assert said["labels"] == ["p"]
    assert set(said["scores"]) == {"p", "q"}


def test_spans_of_neighbours_stay_apart():
    assert tag_spans(["B-a", "B-a", "I-a", "O", "B-b"]) == [("a", 0, 0), ("a", 1, 2), ("b", 4, 4)]


def one_hot(places, labels):
    return np.eye(len(labels), dtype=np.float32)[list(places)] * 9


def test_plain_tags_answer_for_each_word_with_its_offsets():
    labels = ("ADJ", "NOUN")
    text = "small  dog"
    said = decode([text], (Output("tags", "tags", labels),), {"tags": one_hot([0, 1], labels)}, [2])[0]
    assert said == {
        "tokens": ["small", "dog"],
        "tags": ["ADJ", "NOUN"],
        "words": [
            {"label": "ADJ", "value": "small", "start": 0, "end": 5},
            {"label": "NOUN", "value": "dog", "start": 7, "end": 10},
        ],
    }


@pytest.mark.parametrize(
    ("text", "tags", "value"),
    [
        ("Ìgbà tí Adébáyọ̀ dé Èkó", "O O B-a O O", "Adébáyọ̀"),  # a mark that no letter composes with
        ("ذهبت ليلى إلى القاهرة", "O B-a O O", "ليلى"),
        ("อยู่กรุง", "O O B-a I-a I-a", "กรุง"),  # no spaces: a character with its marks is a word
        ("我住在北京。", "O O O B-a I-a O", "北京"),
        (["我", "住在", "北京"], "O O B-a", "北京"),
        (["Addis", "Ababa", "è"], "B-a I-a O", "Addis Ababa"),
        ("🚀 flog nach Köln!", "O O O B-a O", "Köln"),
    ],
)
def test_offsets_are_of_the_text_in_any_script(text, tags, value):
    places = [LABELS.index(tag) for tag in tags.split()]
    said = decode([text], (Output("tags", "tags", LABELS),), {"tags": one_hot(places, LABELS)}, [len(places)])[0]
    whole = text if isinstance(text, str) else " ".join(text)
    assert [(one["label"], one["value"]) for one in said["entities"]] == [("a", value)]
    assert [whole[one["start"] : one["end"]] for one in said["entities"]] == [value]
