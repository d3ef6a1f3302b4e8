"""Counting models of bytes agree with counting by hand, and give shares that sum to one."""

import math
import random
from collections import Counter

import pytest

from pocketlm.measure.byte_models import lzma_bits, ngram_bits


def slow_share(train, before, byte, order):
    """Witten and Bell's method C by its definition."""
    share = 1 / 256
    for length in range(min(order, len(before) + 1)):
        context = before[len(before) - length :]
        follows = Counter(train[at + length] for at in range(len(train) - length) if train[at : at + length] == context)
        if follows:
            share = (follows[byte] + len(follows) * share) / (sum(follows.values()) + len(follows))
    return share


@pytest.mark.parametrize("order", [1, 2, 4])
def test_ngrams_are_what_the_definition_says(order):
    train, text = b"abracadabra, abracadabra! 0123", b"cadabra, xbra"
    bits = -sum(math.log2(slow_share(train, text[:at], text[at], order)) for at in range(len(text))) / len(text)
    assert ngram_bits(train, text, order) == pytest.approx(bits)


def test_shares_of_all_bytes_sum_to_one():
    train = b"the lamp in the hall"
    assert sum(slow_share(train, b"the ", byte, 3) for byte in range(256)) == pytest.approx(1)
    whole = sum(2 ** (-2 * ngram_bits(train, bytes([97, byte]), 1)) for byte in range(256))
    assert whole == pytest.approx(2 ** (-ngram_bits(train, b"a", 1)))  # the first byte's share, times all of the second


def test_repeated_text_costs_little_and_noise_eight_bits():
    noise = random.Random(0).randbytes(4_000)
    assert lzma_bits(noise, noise[:2_000]) < 0.5
    assert ngram_bits(noise, noise[:2_000]) < 2
    other = random.Random(1).randbytes(2_000)
    assert lzma_bits(noise, other) == pytest.approx(8, abs=0.2)
    assert ngram_bits(noise, other) > 7.9
