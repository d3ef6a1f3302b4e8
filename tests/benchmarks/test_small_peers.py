"""Peers made to fit a budget keep to it, and learn from training rows alone."""

import pytest
from small_peers import Lot, Said, linear, model2vec, rights

TRAIN = [(f"switch the {room} {thing} on", thing) for room in ("kitchen", "hall", "attic") for thing in ("lamp", "fan")]
TEXTS = ["turn on the lamp", "turn on the fan"]


def lot(max_bytes, encoder=None):
    return Lot(TRAIN, [], TEXTS, max_bytes, encoder)


def test_a_linear_peer_keeps_the_features_that_fit():
    whole, small = linear(lot(1_000_000)), linear(lot(1_000))
    assert whole.labels == small.labels == ["lamp", "fan"]
    assert small.size_bytes <= 1_000 < whole.size_bytes


def test_a_peer_that_has_nothing_so_small_says_so():
    assert linear(lot(50)) is None
    assert model2vec(lot(1_000_000)) is None, "there is no encoder to start from"


def test_what_is_right_is_counted():
    assert rights(Said(["a", "b"], 1), ["a", "c"]) == 0.5
    with pytest.raises(ValueError, match="2 labels for 1 rows"):
        rights(Said(["a", "b"], 1), ["a"])
