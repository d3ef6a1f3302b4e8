"""Peers made to fit a budget keep to it, learn from training rows, and choose by dev rows."""

import sys
from types import SimpleNamespace

import pytest
from small_peers import Lot, Said, fasttext, linear, model2vec, rights

TRAIN = [(f"switch the {room} {thing} on", thing) for room in ("kitchen", "hall", "attic") for thing in ("lamp", "fan")]
TEXTS = ["turn on the lamp", "turn on the fan"]


def lot(max_bytes, dev=()):
    return Lot(TRAIN, list(dev), TEXTS, max_bytes, None)


def test_a_linear_peer_keeps_the_features_that_fit():
    whole, small = linear(lot(1_000_000)), linear(lot(1_000))
    assert whole.labels == small.labels == ["lamp", "fan"]
    assert small.size_bytes <= 1_000 < whole.size_bytes
    assert linear(lot(50)) is None


def test_labels_of_dev_are_not_learnt():
    # dev says otherwise of the same words, and of a label that training rows have not
    dev = [("switch the kitchen lamp on", "fan"), ("switch the kitchen fan on", "lamp"), ("close it", "door")]
    assert linear(lot(1_000_000, dev)).labels == ["lamp", "fan"]


def test_model2vec_needs_an_encoder():
    with pytest.raises(ValueError, match="starts from an encoder"):
        model2vec(lot(1_000_000))


def library(sizes, asked):
    """A stand-in for fastText whose files have these bytes, one after the other."""

    def train_supervised(autotuneModelSize, **settings):
        asked.append(int(autotuneModelSize.removesuffix("K")))
        size = sizes[len(asked) - 1]
        if isinstance(size, str):
            raise RuntimeError(size)

        def save_model(path):
            with open(path, "wb") as file:
                file.write(bytes(size))

        wrapped = SimpleNamespace(predict=lambda text, *_: [(1.0, "__label__1" if "lamp" in text else "__label__0")])
        return SimpleNamespace(save_model=save_model, f=wrapped)

    return SimpleNamespace(train_supervised=train_supervised)


def test_what_is_too_large_is_asked_for_anew(monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "fasttext", library([120_000, 99_000], asked))
    assert fasttext(lot(100_000)) == Said(["lamp", "fan"], 99_000)
    assert asked == [95, 75]


def test_what_diverged_is_trained_anew_and_what_goes_on_failing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "fasttext", library(["Encountered NaN.", 99_000], []))
    assert fasttext(lot(100_000)).size_bytes == 99_000
    monkeypatch.setitem(sys.modules, "fasttext", library(["Encountered NaN."] * 3, []))
    with pytest.raises(RuntimeError, match="NaN"):
        fasttext(lot(100_000))


TOO_SMALL = "Couldn't fulfil model size constraint: please increase `autotuneModelSize`."


@pytest.mark.parametrize("sizes", [[TOO_SMALL], [200_000, 190_000, 180_000]])
def test_where_nothing_is_so_small_there_is_none(sizes, monkeypatch):
    asked = []
    monkeypatch.setitem(sys.modules, "fasttext", library(sizes, asked))
    assert fasttext(lot(100_000)) is None
    assert len(asked) == len(sizes)


def test_what_is_right_is_counted():
    assert rights(Said(["a", "b"], 1), ["a", "c"]) == 0.5
    with pytest.raises(ValueError, match="2 labels for 1 rows"):
        rights(Said(["a", "b"], 1), ["a"])
