"""Schemes are told apart, spans are read as seqeval reads them, and the best sequence is well formed in each scheme."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from pocketlm.runtime.tags import best_tags, is_span_tag, scheme_of, span_tags, tag_spans, unread, well_formed

IOBES = span_tags("ab", "IOBES")
any_tags = st.lists(st.sampled_from([*IOBES, "B-a-c", "I-a-c"]), max_size=9)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O", "BIO"),
        ("O B-PER I-PER", "BIO"),
        ("O I-PER", "BIO"),  # IOB
        ("B-NP I-NP B-VP", "BIO"),  # chunks of every word
        ("O B-PER S-PER", "IOBES"),
        ("O B I", "BIO"),
        ("O B I E S", "IOBES"),
        ("O B-PER L-PER U-PER", "BIO"),  # BILOU: meant as spans, refused where it is read
        ("O U-PER L-PER", "BIO"),
        ("NOUN VERB", None),
        ("N V O ^ @ S", None),  # a pronoun may be called O
        ("NN B-X", None),
        ("O PER LOC", None),
    ],
)
def test_the_scheme_of_a_tag_set(tags, scheme):
    assert scheme_of(tags.split()) == scheme


@pytest.mark.parametrize(("tag", "fits"), [("O", True), ("E-x", True), ("S", True), ("U-x", False), ("B-", False)])
def test_tags_of_spans(tag, fits):
    assert is_span_tag(tag) is fits


@given(any_tags)
@settings(max_examples=300, deadline=None)
def test_spans_are_those_of_seqeval(tags):
    assert tag_spans(tags) == get_entities(tags)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O I-a I-a", [("a", 1, 2)]),
        ("I-a B-a", [("a", 0, 0), ("a", 1, 1)]),
        ("B-a E-a I-a", [("a", 0, 1), ("a", 2, 2)]),
        ("S-a E-a", [("a", 0, 0), ("a", 1, 1)]),
        ("B I O B", [("_", 0, 1), ("_", 3, 3)]),
    ],
)
def test_odd_sequences_by_hand(tags, found):
    assert tag_spans(tags.split()) == found


@given(any_tags, st.sampled_from(["BIO", "IOBES"]))
@settings(max_examples=200, deadline=None)
def test_written_to_the_letter_the_spans_stay(tags, scheme):
    written = well_formed(tags, scheme)
    assert tag_spans(written) == tag_spans(tags)
    assert well_formed(written, scheme) == written
    assert set("".join(tag[0] for tag in written)) <= set("O" + ("BI" if scheme == "BIO" else "BIES"))


@given(st.integers(1, 3), st.integers(0, 10_000), st.sampled_from(["BIO", "IOBES"]))
@settings(max_examples=60, deadline=None)
def test_best_tags_are_the_best_of_all_well_formed_ones(length, seed, scheme):
    labels = span_tags("ab", scheme)
    count = len(labels)
    logits = np.random.default_rng(seed).normal(size=(length, count)).astype(np.float32) * 3
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found = best_tags(logits, labels)
    paths = itertools.product(labels, repeat=length)
    every = [path for path in paths if well_formed(path, scheme) == list(path)]
    assert tuple(found) in every
    score = {path: sum(logs[place, labels.index(tag)] for place, tag in enumerate(path)) for path in every}
    assert score[tuple(found)] == pytest.approx(max(score.values()), abs=1e-4)


def test_plain_labels_follow_each_other_freely():
    labels = ("I-", "NOUN", "VERB")
    assert best_tags(np.array([[3, 0, 0], [0, 0, 3]], np.float32), labels) == ["I-", "VERB"]
    assert best_tags(np.zeros((0, 3), np.float32), labels) == []


def test_words_that_were_not_read():
    assert (unread("BIO"), unread("IOBES"), unread(None)) == ("O", "O", "_")
