"""Filters of logits against those of transformers."""

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pocketlm.errors import UserError
from pocketlm.runtime.choose import Writing, choose, filtered, min_p, penalized, top_k, top_p

WORDS = 300


def logits(seed):
    return np.random.default_rng(seed).normal(0, 3, WORDS).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: top_k(x, 7), TopKLogitsWarper(7)),
        (lambda x: top_k(x, 1000), TopKLogitsWarper(1000)),
        (lambda x: top_p(x, 0.9), TopPLogitsWarper(0.9)),
        (lambda x: top_p(x, 0.3), TopPLogitsWarper(0.3)),
        (lambda x: top_p(x, 1e-6), TopPLogitsWarper(1e-6)),
        (lambda x: min_p(x, 0.05), MinPLogitsWarper(0.05)),
        (lambda x: min_p(x, 1.0), MinPLogitsWarper(1.0)),
        (lambda x: penalized(x, np.array([3, 3, 8]), 1.3), RepetitionPenaltyLogitsProcessor(1.3)),
    ],
)
def test_each_filter_keeps_what_that_of_transformers_keeps(ours, theirs, seed):
    row = logits(seed)
    wanted = theirs(torch.tensor([[3, 3, 8]]), torch.tensor(row)[None])[0].numpy()
    assert np.array_equal(ours(row), wanted)


@pytest.mark.parametrize("seed", range(5))
def test_filters_together_are_in_the_order_of_transformers(seed):
    seen = np.array([5, 250, 7])
    how = Writing(temperature=0.7, top_k=40, top_p=0.8, min_p=0.02, repetition_penalty=1.2)
    wanted = torch.tensor(logits(seed))[None]
    for one in (
        RepetitionPenaltyLogitsProcessor(1.2), TemperatureLogitsWarper(0.7), TopKLogitsWarper(40),
        TopPLogitsWarper(0.8), MinPLogitsWarper(0.02),
    ):  # fmt: skip
        wanted = one(torch.tensor(seen)[None], wanted)
    assert np.array_equal(filtered(logits(seed), seen, how), wanted[0].numpy())


def test_tokens_are_drawn_as_often_as_they_are_probable():
    row = np.log(np.array([[0.5, 0.3, 0.2]], np.float32))
    draw = np.random.default_rng(0)
    drawn = [int(choose(row, [np.array([0])], Writing(temperature=1.0), [draw])[0]) for _ in range(3000)]
    shares = np.bincount(drawn, minlength=3) / 3000
    assert np.abs(shares - [0.5, 0.3, 0.2]).max() < 0.03
    sure = [choose(row, [np.array([0])], Writing(temperature=1.0, top_k=1), [draw])[0] for _ in range(20)]
    assert set(sure) == {0}


def test_the_coldest_drawing_takes_the_most_probable_token():
    logits = np.array([[-9.0, -3.0, -3.1, -80.0]], np.float32)
    for temperature in (1e-3, 1e-9, 1e-40, 1e-300):
        assert choose(logits, [np.array([0])], Writing(temperature=temperature), [np.random.default_rng(0)]) == [1]


@pytest.mark.parametrize("narrow", [{"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}])
def test_what_narrows_a_drawing_needs_one(narrow):
    with pytest.raises(UserError, match=r"narrows what is drawn from; give a temperature above 0"):
        Writing(**narrow)
    assert Writing(temperature=0.7, **narrow)


def test_stop_strings_are_not_the_letters_of_one():
    with pytest.raises(UserError, match=r"write \('END',\)"):
        Writing(stop="END")
