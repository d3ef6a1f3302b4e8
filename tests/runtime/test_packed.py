"""Packed arrays: bounds, round trips, and monotonicity in bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlm.runtime.packed import pack, pack_integers, quantize_rows, unpack, unpack_float


def array(rows, columns, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.sampled_from([4, 8]))
@settings(max_examples=50, deadline=None)
def test_unpacked_is_what_was_packed(rows, columns, seed, bits):
    values = array(rows, columns, seed)
    about, data = pack(values, bits)
    integers, scales = unpack(about, data)
    expected, expected_scales = quantize_rows(values, bits)
    np.testing.assert_array_equal(integers, expected)
    np.testing.assert_array_equal(scales, expected_scales.astype(np.float32))
    assert len(data) == 2 * rows + -(-rows * columns * bits // 8)


def test_eight_bits_err_by_half_a_step_at_most():
    values = array(20, 50)
    _, scales = quantize_rows(values, 8)
    error = np.abs(unpack_float(*pack(values, 8)) - values)
    # a float16 scale may round down, which clips the peak by up to 2^-11 of it
    assert (error <= scales[:, None].astype(np.float32) * 0.5 + np.abs(values).max() * 2**-11).all()


def test_more_bits_err_less():
    values = array(30, 64)
    errors = [np.square(unpack_float(*pack(values, bits)) - values).sum() for bits in (4, 8, 16, 32)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_clipping_never_hurts_four_bits():
    values = array(30, 64)
    peak = np.abs(values).max(axis=1, keepdims=True) / 7
    plain = np.square(np.rint(values / peak) * peak - values).sum()
    assert np.square(unpack_float(*pack(values, 4)) - values).sum() <= plain


def test_two_halves_share_a_byte_low_first():
    assert pack_integers(np.array([[1, -1, 7]], np.int8), 4) == bytes([0xF1, 0x07])


@pytest.mark.parametrize("bits", [4, 8, 16, 32])
def test_zeros_stay_zero(bits):
    np.testing.assert_array_equal(unpack_float(*pack(np.zeros((3, 5), np.float32), bits)), np.zeros((3, 5)))
