"""Batches of pairs hold all pairs and few tokens; losses are what they are by hand; a teacher's words are its words."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_language import made_pairs

from pocketlm.model.subwords import learn_subwords
from pocketlm.model.translator import TranslatorShape, new_translator
from pocketlm.train.losses import TopTail
from pocketlm.train.pairs import (
    IGNORED,
    Pairs,
    fitting,
    join_shares,
    pair_batch,
    pair_ids,
    pair_loss,
    piece_ids,
    piece_loss,
    token_batches,
    word_shares,
)

PAIRS = made_pairs(40, longest=5)


@pytest.fixture(scope="module")
def model():
    tokenizer = learn_subwords([*PAIRS.sources, *PAIRS.targets], 300)
    made = new_translator(TranslatorShape(len(tokenizer), 16, 1, 1, 32, 2), tokenizer)
    made.module.eval().requires_grad_(False)
    return made


@pytest.fixture(scope="module")
def rows(model):
    return [piece_ids(model.tokenizer, side) for side in (PAIRS.sources, PAIRS.targets)]


def test_targets_are_cut_by_the_rules_for_what_is_written(model, rows):
    """Marian's tokenizers have one set of pieces for what is read and another for what is written."""
    assert list(pair_ids(model.tokenizer, PAIRS)) == rows

    class TwoSided:
        def __call__(self, text=None, text_target=None, verbose=True):
            return SimpleNamespace(input_ids=[[1, 3]] * len(text) if text else [[2, 3]] * len(text_target))

    assert pair_ids(TwoSided(), PAIRS.at([0, 1])) == ([[1, 3], [1, 3]], [[2, 3], [2, 3]])


def test_batches_hold_every_pair_once_and_at_most_so_many_tokens(rows):
    found = list(token_batches(*rows, 64, np.random.default_rng(0)))
    assert sorted(place for batch in found for place in batch) == list(range(40))
    for batch in found:
        assert len(batch) * max(len(side[place]) for side in rows for place in batch) <= 64
    assert found != list(token_batches(*rows, 64, np.random.default_rng(1)))
    assert found == list(token_batches(*rows, 64, np.random.default_rng(0)))


def test_a_pair_longer_than_a_batch_is_a_batch():
    assert list(token_batches([[1] * 9], [[2] * 3], 4, np.random.default_rng(0))) == [[0]]


def test_the_decoder_reads_what_it_writes_one_place_later(model):
    batch = pair_batch(model, [[5, 1], [6, 7, 1]], [[8, 9, 1], [4, 1]])
    assert batch.arguments["input_ids"].tolist() == [[5, 1, 0], [6, 7, 1]]
    assert batch.arguments["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.arguments["decoder_input_ids"].tolist() == [[0, 8, 9], [0, 4, 1]]
    assert batch.labels.tolist() == [[8, 9, 1], [4, 1, IGNORED]]


def test_padding_changes_no_loss(model, rows):
    pieces = [len(row) for row in rows[1]]
    alone = [float(pair_loss(model.module, pair_batch(model, [s], [t]), 0.1)) for s, t in zip(*rows, strict=True)]
    together = float(pair_loss(model.module, pair_batch(model, *rows), 0.1))
    assert together == pytest.approx(np.average(alone, weights=pieces), rel=1e-5)


def test_label_smoothing_by_hand(model, rows):
    batch = pair_batch(model, rows[0][:1], rows[1][:1])
    shares = model.module(**batch.arguments).logits[0].log_softmax(-1)
    right = -shares[torch.arange(len(rows[1][0])), batch.labels[0]].mean()
    assert float(pair_loss(model.module, batch, 0.1)) == pytest.approx(
        float(0.9 * right - 0.1 * shares.mean()), rel=1e-5
    )


def test_a_student_that_says_what_its_teacher_says_loses_nothing(model, rows):
    shares = word_shares(model, *rows, k=8)
    assert [len(one.indices) for one in shares] == [len(row) for row in rows[1]]
    batch = pair_batch(model, rows[0][:4], rows[1][:4], join_shares(shares[:4]))
    assert float(pair_loss(model.module, batch, 0.0, alpha=1.0)) == pytest.approx(0, abs=1e-4)


def test_all_pieces_taught_is_the_plain_divergence(model, rows):
    batch = pair_batch(model, rows[0][:2], rows[1][:2])
    counted = batch.labels != IGNORED
    own = model.module(**batch.arguments).logits[counted].log_softmax(-1)
    given = torch.randn(own.shape, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    every = torch.arange(own.shape[-1]).expand(own.shape).int()
    batch = pair_batch(model, rows[0][:2], rows[1][:2], TopTail(every, given))
    wanted = F.kl_div(own, given, log_target=True, reduction="batchmean")
    assert float(pair_loss(model.module, batch, 0.0, alpha=1.0)) == pytest.approx(float(wanted), rel=1e-4)


def test_the_dev_loss_is_that_of_all_pieces(model, rows):
    wanted = float(pair_loss(model.module, pair_batch(model, *rows), 0.0))
    assert piece_loss(model, PAIRS, tokens=50) == pytest.approx(wanted, rel=1e-5)
    assert 0 < wanted < 3 * math.log(300)


def test_pairs_that_are_too_long_stay_out(model, rows):
    longest = 6
    kept = fitting(model, PAIRS, longest)
    assert kept.sources == tuple(
        text for text, *sides in zip(PAIRS.sources, *rows, strict=True) if max(map(len, sides)) <= longest
    )
    assert len(kept + Pairs(("a",), ("b",))) == len(kept) + 1
