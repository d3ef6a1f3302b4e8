"""Vocabularies learnt from texts lose nothing; BPE-dropout is the tokenizer where it drops nothing, and repeatable."""

import random

import pytest
from made_language import made_pairs

from pocketlm.errors import DataError
from pocketlm.model.subwords import END_ID, DroppedSubwords, learn_subwords, merged, pieces_for

TEXTS = (*made_pairs(200).sources, *made_pairs(200).targets, "ng'ombe wangu", "नमस्ते दुनिया", "año 2024: sí, 7.5%")


@pytest.fixture(scope="module")
def tokenizer():
    return learn_subwords(TEXTS, 400)


@pytest.mark.parametrize("text", [*TEXTS[-3:], "never seen: Ωμέγα 😀", "one  two\tthree "])
def test_texts_come_back_but_for_their_spaces(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert ids[-1] == END_ID
    assert tokenizer.decode(ids, skip_special_tokens=True) == " ".join(text.split())


def test_digits_stand_alone_and_words_keep_their_marks(tokenizer):
    backend = tokenizer.backend_tokenizer
    cut = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(" नमस्ते ng'ombe 2024")]
    assert len(cut) == 6
    assert cut[-3:] == ["0", "2", "4"]


def test_without_dropout_words_are_cut_as_the_tokenizer_cuts_them(tokenizer):
    assert DroppedSubwords(tokenizer, TEXTS, 0.0).ids(0) == tokenizer(list(TEXTS)).input_ids


def test_with_dropout_pieces_are_more_others_each_epoch_and_the_same_text(tokenizer):
    dropped = DroppedSubwords(tokenizer, TEXTS, 0.3, seed=1)
    first, second = dropped.ids(0), dropped.ids(1)
    assert first != second
    assert sum(map(len, first)) > sum(len(row) for row in tokenizer(list(TEXTS)).input_ids)
    assert tokenizer.batch_decode(first, skip_special_tokens=True) == [" ".join(text.split()) for text in TEXTS]
    assert DroppedSubwords(tokenizer, TEXTS, 0.3, seed=1).ids(1) == second
    assert DroppedSubwords(tokenizer, TEXTS, 0.3, seed=2).ids(1) != second


def test_all_merges_dropped_leave_letters():
    ranks = {("a", "b"): 0, ("ab", "c"): 1}
    assert merged("abc", ranks, 0.0, random.Random(0)) == ["abc"]
    assert merged("abc", ranks, 1.0, random.Random(0)) == ["a", "b", "c"]


def test_vocabularies_grow_with_the_pairs():
    assert pieces_for(1_000) < pieces_for(30_000) < pieces_for(1_000_000) <= 8_000
    with pytest.raises(DataError, match="258"):
        learn_subwords(TEXTS, 100)
