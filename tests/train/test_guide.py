"""Alignments are shares that say what translates what, and a guided head comes to look there."""

import pytest
import torch
from made_language import made_pairs

from pocketlm.model.subwords import learn_subwords
from pocketlm.model.translator import TranslatorShape, new_translator
from pocketlm.train.guide import Guide, watched_head
from pocketlm.train.pairs import IGNORED, pair_batch, pair_ids

# Pieces 0 to 3 are translated by 4 to 7, and 8 translates nothing.
SOURCES = [[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [1, 3]]
TARGETS = [[8, *(piece + 4 for piece in row)] for row in SOURCES]


@pytest.fixture(scope="module")
def guide():
    return Guide(SOURCES, TARGETS, 9)


def masks(sources, targets):
    return torch.ones_like(sources, dtype=torch.bool), torch.ones_like(targets, dtype=torch.bool)


def test_each_piece_stands_for_the_one_it_translates(guide):
    sources, targets = torch.tensor([[0, 1]]), torch.tensor([[4, 5]])
    found = guide.alignment(sources, targets, *masks(sources, targets))[0]
    assert found.argmax(1).tolist() == [0, 1]
    assert (found.sum(1) <= 1 + 1e-6).all()
    assert found[0, 0] > 0.8


def test_what_translates_nothing_has_the_least_share(guide):
    sources, targets = torch.tensor([[0, 1]]), torch.tensor([[8, 4, 5]])
    shares = guide.alignment(sources, targets, *masks(sources, targets))[0].sum(1)
    assert shares.argmin() == 0


def test_padding_is_neither_read_nor_written(guide):
    sources, targets = torch.tensor([[0, 1, 0]]), torch.tensor([[4, 5, 4]])
    read = torch.tensor([[True, True, False]])
    found = guide.alignment(sources, targets, read, read)
    assert not found[0, :, 2].any()
    assert not found[0, 2].any()
    short = guide.alignment(sources[:, :2], targets[:, :2], read[:, :2], read[:, :2])
    torch.testing.assert_close(found[:, :2, :2], short)
    attention = torch.rand(1, 3, 3)
    whole = guide.distance(attention, sources, targets, read, read)
    cut = guide.distance(attention[:, :2, :2], sources[:, :2], targets[:, :2], read[:, :2], read[:, :2])
    torch.testing.assert_close(whole, cut)


def test_attention_that_is_the_alignment_is_nearest(guide):
    sources, targets = torch.tensor([[0, 1]]), torch.tensor([[4, 5]])
    given = sources, targets, *masks(sources, targets)
    aligned = guide.alignment(*given)
    own = guide.distance(aligned / aligned.sum(2, keepdim=True), *given)
    assert own < guide.distance(torch.full((1, 2, 2), 0.5), *given)


def test_a_guided_head_learns_where_to_look():
    pairs = made_pairs(60)
    tokenizer = learn_subwords([*pairs.sources, *pairs.targets], 320)
    model = new_translator(TranslatorShape(len(tokenizer), 32, 1, 1, 64, 2), tokenizer, dropout=0.0)
    before = model.module.config._attn_implementation
    sources, targets = pair_ids(tokenizer, pairs)
    guide, batch = Guide(sources, targets, len(tokenizer)), pair_batch(model, sources, targets)
    ids, labels = batch.arguments["input_ids"], batch.labels.clamp(min=0)
    read, written = batch.arguments["attention_mask"].bool(), batch.labels != IGNORED
    model.module.requires_grad_(True)
    optimizer, found = torch.optim.Adam(model.module.parameters(), 5e-3), []
    with watched_head(model.module) as heard:
        for _ in range(40):
            model.module(**batch.arguments)
            found.append(guide.distance(heard[0], ids, labels, read, written))
            optimizer.zero_grad()
            found[-1].backward()
            optimizer.step()
        assert heard[0].shape == (len(pairs), *labels.shape[1:], *ids.shape[1:])
    assert found[-1] < 0.6 * found[0]
    assert model.module.config._attn_implementation == before
