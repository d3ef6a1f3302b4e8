"""What was coded comes back, bit by bit, at about the bytes its entropy asks for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pocketlm.model import coding
from pocketlm.model.coding import (
    A_LANE,
    PRECISION,
    frequencies,
    pack_bits,
    rans_decode,
    rans_encode,
    unpack_bits,
)


@given(bits=st.integers(1, 8), data=st.data())
@settings(max_examples=60, deadline=None)
def test_packed_bits_come_back(bits, data):
    values = data.draw(arrays(np.uint8, st.integers(0, 300), elements=st.integers(0, 2**bits - 1)))
    packed = pack_bits(values, bits)
    assert len(packed) == -(-len(values) * bits // 8)
    np.testing.assert_array_equal(unpack_bits(packed, bits, len(values)), values)


@given(counts=arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 10**6)))
@settings(max_examples=100, deadline=None)
def test_frequencies_fill_the_table_and_leave_no_symbol_out(counts):
    found = frequencies(counts)
    assert int(found.sum()) == 1 << PRECISION
    assert (found[counts > 0] > 0).all()
    assert (found[counts == 0] == 0).all() or not counts.any()


@given(
    symbols=arrays(np.int32, st.integers(1, 5000), elements=st.integers(0, 40), fill=st.integers(0, 3)),
    contexts=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_coded_symbols_come_back(symbols, contexts, seed):
    context = np.random.default_rng(seed).integers(0, contexts, len(symbols))
    counts = np.zeros((contexts, 41), np.int64)
    np.add.at(counts, (context, symbols), 1)
    tables = np.stack([frequencies(one) for one in counts])
    words = rans_encode(symbols, tables, context)
    np.testing.assert_array_equal(rans_decode(words, tables, context, len(symbols)), symbols)


@pytest.mark.parametrize("count", [1, 2, 1024, 1025, A_LANE, A_LANE + 1, 3 * A_LANE - 1])
@pytest.mark.parametrize("alphabet", [1, 2, 256])
def test_any_count_of_lanes(count, alphabet):
    symbols = np.random.default_rng(count).integers(0, alphabet, count)
    table = frequencies(np.bincount(symbols, minlength=alphabet))[None]
    context = np.zeros(count, np.int64)
    words = rans_encode(symbols, table, context)
    np.testing.assert_array_equal(rans_decode(words, table, context, count), symbols)


@pytest.mark.parametrize("count", [5, 1025, 3 * A_LANE - 1])
def test_one_at_a_time_and_all_lanes_at_once_give_the_same_words(count, monkeypatch):
    generator = np.random.default_rng(count)
    symbols, context = np.minimum(generator.geometric(0.2, count), 29), generator.integers(0, 3, count)
    counts = np.zeros((3, 30), np.int64)
    np.add.at(counts, (context, symbols), 1)
    tables = np.stack([frequencies(one) for one in counts])
    scalar = rans_encode(symbols, tables, context)
    monkeypatch.setattr(coding, "SCALAR_LANES", 0)
    np.testing.assert_array_equal(rans_encode(symbols, tables, context), scalar)
    np.testing.assert_array_equal(rans_decode(scalar, tables, context, count), symbols)


def test_a_code_takes_what_its_rarity_says():
    symbols = np.random.default_rng(0).geometric(0.5, 1 << 16) - 1
    counts = np.bincount(symbols)
    share = counts[counts > 0] / len(symbols)
    entropy = -(share * np.log2(share)).sum()
    words = rans_encode(symbols, frequencies(counts)[None], np.zeros(len(symbols), np.int64))
    assert entropy <= 16 * len(words) / len(symbols) < entropy * 1.01 + 0.01


def test_contexts_that_differ_save_bytes():
    generator = np.random.default_rng(0)
    context = np.repeat([0, 1], 20_000)
    symbols = np.where(context == 0, generator.integers(0, 2, 40_000), generator.integers(14, 16, 40_000))
    apart = np.stack([frequencies(np.bincount(symbols[context == one], minlength=16)) for one in (0, 1)])
    whole = frequencies(np.bincount(symbols, minlength=16))[None]
    assert len(rans_encode(symbols, apart, context)) < 0.55 * len(rans_encode(symbols, whole, 0 * context))
