"""Any tensor comes back from its bytes as it was, in the coding that is smallest for it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pocketlm.model.tensors import decode_tensor, encode_tensor


def same(tensor):
    coded = encode_tensor(tensor)
    again = decode_tensor(coded.header, coded.data)
    assert again.dtype == tensor.dtype
    assert again.shape == tensor.shape
    torch.testing.assert_close(again, tensor, rtol=0, atol=0, equal_nan=True)
    assert len(coded.data) <= tensor.numel() * tensor.element_size()
    return coded


@given(values=arrays(np.uint8, array_shapes(max_dims=3, max_side=24)))
@settings(max_examples=30, deadline=None)
def test_bytes(values):
    same(torch.from_numpy(values))


@given(data=st.data(), low=st.integers(-3000, 3000), span=st.integers(0, 5000))
@settings(max_examples=30, deadline=None)
def test_integers_of_any_range(data, low, span):
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, max_side=40))
    same(torch.from_numpy(data.draw(arrays(np.int16, shape, elements=st.integers(low, low + span)))))


@given(values=arrays(np.float32, array_shapes(max_dims=2, max_side=32), elements=st.floats(width=32)))
@settings(max_examples=30, deadline=None)
def test_floats_with_all_their_oddities(values):
    same(torch.from_numpy(values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (255,), (256,), (40, 33), (2, 3, 64)])
def test_every_type_and_shape(dtype, shape):
    torch.manual_seed(0)
    same(torch.randn(shape).mul(3).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_zeros_are_stored_as_a_mask(dtype, share):
    torch.manual_seed(0)
    tensor = torch.randn(64, 96) * (torch.rand(64, 96) >= share)
    coded = same(tensor.to(dtype))
    if share >= 0.5:
        assert coded.header["coding"] == "sparse"
        kept = int((tensor != 0).sum()) * tensor.to(dtype).element_size()
        assert len(coded.data) <= kept + tensor.numel() / 8 + 150


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_minus_zero_costs_no_more_than_zero(dtype):
    torch.manual_seed(0)
    tensor = torch.randn(64, 64, dtype=dtype) * (torch.rand(64, 64) < 0.3)
    assert bool(torch.signbit(tensor[tensor == 0]).any())
    assert len(same(tensor).data) == len(same(tensor.abs() * tensor.sign()).data)


def test_two_of_four_is_stored_in_less_than_a_bit_a_weight_besides_its_values():
    torch.manual_seed(0)
    tensor = torch.randn(128, 128).half()
    tensor.view(-1, 4).scatter_(1, tensor.view(-1, 4).abs().topk(2, 1, largest=False).indices, 0)
    coded = same(tensor)
    assert len(coded.data) <= 128 * 128 * (1 + 2.75 / 32) + 100


def test_codes_take_their_entropy_or_fewer_bytes_where_rows_differ():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([1.0, 12.0]).repeat(64)[:, None]
    codes = (torch.randn(128, 256, generator=generator) * spread).round().clamp(-100, 100).to(torch.int16)
    share = torch.unique(codes, return_counts=True)[1] / codes.numel()
    entropy = float(-(share * share.log2()).sum()) * codes.numel() / 8
    assert len(same(codes).data) < 0.95 * entropy


def test_coding_is_the_same_twice():
    torch.manual_seed(0)
    tensor = torch.randint(0, 16, (64, 64), dtype=torch.uint8)
    one, other = encode_tensor(tensor), encode_tensor(tensor)
    assert one.header == other.header
    np.testing.assert_array_equal(one.data, other.data)


def test_a_large_sparse_matrix_comes_near_to_what_must_be_told():
    """log2(6) / 4 = 0.646 bits a weight say which two of four stay; the exponents of what stays repeat."""
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(512, 1024, generator=generator).half()
    tensor.view(-1, 4).scatter_(1, tensor.view(-1, 4).abs().topk(2, 1, largest=False).indices, 0)
    coded = same(tensor)
    assert 8 * coded.header["mask_bytes"] / tensor.numel() <= 0.65
    values = len(coded.data) - coded.header["mask_bytes"]
    high = np.ascontiguousarray(tensor[tensor != 0].numpy()).view(np.uint8)[1::2]
    share = np.bincount(high) / high.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert 8 * values / high.size <= 8 + 1.01 * entropy + 0.02


def test_one_code_far_from_the_others_costs_them_little():
    codes = (torch.randn(512, 512, generator=torch.Generator().manual_seed(0)) * 2).round().to(torch.int16)
    near = len(encode_tensor(codes).data)
    codes[0, 0], codes[5, 7] = 20_000, -32_000
    same(codes)
    assert len(encode_tensor(codes).data) < 1.5 * near


def test_what_has_not_changed_is_not_coded_again(monkeypatch):
    from pocketlm.model import tensors

    asked = []
    monkeypatch.setattr(tensors, "encode_tensor", lambda one: asked.append(one) or encode_tensor(one))
    codings, generator = tensors.Codings(), torch.Generator().manual_seed(0)
    one, other = (torch.randint(0, 5, (64, 64), dtype=torch.uint8, generator=generator) for _ in range(2))
    first = codings.of(one)
    codings.turn()
    assert codings.of(one.clone()) is first
    codings.of(other)
    assert codings.of(one.reshape(32, 128)) is not first  # same bytes, another shape
    assert len(asked) == 3
    codings.turn()
    codings.turn()
    assert codings.last == {}
    one[0, 0] += 1
    assert torch.equal(decode_tensor(codings.of(one).header, codings.of(one).data), one)
