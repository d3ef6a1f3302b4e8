"""Hashed n-grams against a slow oracle, and their invariants."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlm.runtime.ngrams import Ngrams, ngram_words, text_bags, word_bags

MANY = Ngrams(2**26)  # so many buckets that collisions do not blur the counts
words = st.text(st.characters(codec="utf-8", exclude_categories=["Zs", "Zl", "Zp", "Cc", "Cs"]), min_size=1, max_size=8)
sentences = st.lists(words, max_size=6)


def oracle(tokens, low=2, high=5):
    """Term frequencies of char_wb n-grams, words and word pairs, by plain loops."""
    counts = Counter()
    for word in tokens:
        padded = f" {word} "
        for order in range(low, high + 1):
            counts.update(("char", padded[at : at + order]) for at in range(len(padded) - order + 1))
        counts["word", word] += 1
    counts.update(("pair", pair) for pair in zip(tokens, tokens[1:], strict=False))
    return counts


@given(st.lists(sentences, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_counts_match_the_oracle(texts):
    bags = text_bags(texts, MANY)
    assert len(bags) == len(texts)
    for place, tokens in enumerate(texts):
        own = slice(bags.offsets[place], bags.offsets[place + 1])
        counts = oracle(tokens)
        assert len(bags.ids[own]) == len(counts)
        norm = math.sqrt(sum((1 + math.log(count)) ** 2 for count in counts.values())) if counts else 1
        expected = sorted((1 + math.log(count)) / norm for count in counts.values())
        np.testing.assert_allclose(np.sort(bags.weights[own]), expected, rtol=1e-5)


@given(st.lists(sentences, min_size=2, max_size=4))
@settings(max_examples=30, deadline=None)
def test_a_text_alone_is_read_as_in_a_batch(texts):
    both = text_bags(texts, Ngrams())
    for place, tokens in enumerate(texts):
        alone = text_bags([tokens], Ngrams())
        own = slice(both.offsets[place], both.offsets[place + 1])
        np.testing.assert_array_equal(alone.ids, both.ids[own])
        np.testing.assert_allclose(alone.weights, both.weights[own], rtol=1e-6)


@given(st.lists(sentences, min_size=1, max_size=4), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_the_beginning_of_a_long_text_counts_once_more(texts, lead):
    bags = text_bags(texts, replace(MANY, lead=lead))
    for place, tokens in enumerate(texts):
        own = slice(bags.offsets[place], bags.offsets[place + 1])
        expected = dense(text_bags([tokens], MANY))
        if len(tokens) > lead:
            for bucket, weight in dense(text_bags([tokens[:lead]], MANY)).items():
                expected[bucket] += weight
        length = math.sqrt(sum(weight**2 for weight in expected.values())) or 1
        np.testing.assert_array_equal(bags.ids[own], sorted(expected))
        found = [expected[bucket] / length for bucket in sorted(expected)]
        np.testing.assert_allclose(bags.weights[own], found, rtol=1e-5)
        alone = text_bags([tokens], replace(MANY, lead=lead))
        np.testing.assert_array_equal(alone.ids, bags.ids[own])
        np.testing.assert_allclose(alone.weights, bags.weights[own], rtol=1e-6)


def dense(bags):
    return dict(zip(bags.ids.tolist(), bags.weights.tolist(), strict=True))


def test_word_bags_have_one_group_a_word():
    bags = word_bags([["turn", "on"], [], ["go"]], Ngrams())
    assert len(bags) == 3
    again = word_bags([["go"]], Ngrams())
    np.testing.assert_array_equal(bags.ids[bags.offsets[2] :], again.ids)


def test_digits_share_a_feature():
    bags = word_bags([["21"], ["48"]], Ngrams())
    first, second = (set(bags.ids[bags.offsets[n] : bags.offsets[n + 1]]) for n in (0, 1))
    assert len(first & second) >= 1


def test_words_keep_marks_and_drop_edge_punctuation():
    assert ngram_words("It's 5 %, ọ̀gá!") == ["it's", "5", "%,", "ọ̀gá", "!"]
    assert ngram_words("o\u0323ga\u0301") == ["ọgá"]  # decomposed marks are composed


@pytest.mark.parametrize("buckets", [0, 1, 3, 100])
def test_buckets_are_a_power_of_two(buckets):
    with pytest.raises(ValueError, match="power of two"):
        Ngrams(buckets)


def test_no_text_at_all():
    bags = text_bags([[]], Ngrams())
    assert bags.offsets.tolist() == [0, 0]
