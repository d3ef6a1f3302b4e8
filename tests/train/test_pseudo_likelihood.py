"""Pseudo-likelihood asks for pieces one by one with the rest of their word hidden, and estimates the sum over all."""

import math

import pytest
import torch
from families import make_family
from made_tokenizers import tokenizer_of

from pocketlm.errors import DataError
from pocketlm.model.pretrained import load_model
from pocketlm.train.language_modelling import Language
from pocketlm.train.pseudo_likelihood import frame, pseudo_likelihood

TEXTS = ["turn the chime on", "dim the kitten off it"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tokenizer = tokenizer_of("WordPiece", ["turn the lamp on", "dim it", "off kitchen"] * 3, 60)
    return load_model(make_family("bert-words", tmp_path_factory.mktemp("bert"), tokenizer))


@torch.no_grad()
def slow(model, text):
    """Nats of every piece, one at a time."""
    read, total = model.tokenizer(text, return_offsets_mapping=True), []
    word = [text[:begin].count(" ") for begin, _ in read["offset_mapping"]]
    for place in range(1, len(read.input_ids) - 1):
        ids = torch.tensor([read.input_ids])
        for at in range(place, len(read.input_ids) - 1):
            if word[at] == word[place]:
                ids[0, at] = model.tokenizer.mask_token_id
        logits = model.module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, place]
        total.append(-float(logits.log_softmax(-1)[read.input_ids[place]]))
    return total


def test_all_places_give_what_asking_one_by_one_gives(model):
    expected = [nats for text in TEXTS for nats in slow(model, text)]
    found = pseudo_likelihood(Language(model), TEXTS)
    assert len(found) == len(expected) > len(" ".join(TEXTS).split())
    assert sorted(one["nats"] for one in found) == pytest.approx(sorted(expected), abs=1e-4)
    size = sum(len(text.encode()) for text in TEXTS)
    assert sum(one["bytes"] for one in found) == pytest.approx(size)
    few = pseudo_likelihood(Language(model), TEXTS, places=5, seed=3)
    assert few == pseudo_likelihood(Language(model), TEXTS, places=5, seed=3) and len(few) == 5
    assert all(min(abs(one["nats"] - own) for own in expected) < 1e-4 for one in few)


def test_an_untaught_model_knows_about_as_much_as_nothing(model):
    with torch.no_grad():
        for weight in (copy := model.copy()).module.parameters():
            weight.zero_()
    nats = {round(one["nats"], 5) for one in pseudo_likelihood(Language(copy), TEXTS)}
    assert nats == {round(math.log(len(model.tokenizer)), 5)}


def test_special_pieces_stand_around_and_texts_must_have_some(model):
    assert frame(model) == ([model.tokenizer.bos_token_id], [model.tokenizer.eos_token_id])
    with pytest.raises(DataError, match="no piece"):
        pseudo_likelihood(Language(model), [""])
