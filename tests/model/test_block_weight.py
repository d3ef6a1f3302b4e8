"""Blocks of every ggml type: their bytes decode, by the `gguf` package, to the very floats that run here."""

import gguf
import numpy as np
import pytest
import torch

from pocketlm.errors import RecipeError
from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.ggml_types import BLOCK_TYPES, block_type, check_width, fitting
from pocketlm.model.weights import weight_from_settings

ROWS = 6


def made_up(name, seed=0, columns=512):
    """A weight of the type with any codes and scales it can hold, extremes among them."""
    kind, generator = BLOCK_TYPES[name], torch.Generator().manual_seed(seed)
    blocks, subs = columns // kind.length, columns // kind.sub

    def whole(low, high, count):
        return torch.randint(low, high + 1, (ROWS, count), generator=generator)

    def halves():
        values = torch.randn(ROWS, blocks, generator=generator)
        values[0] = 0
        values[1] = 6.1e-8  # the least that float16 holds
        values[2] = -abs(values[2])
        values[3, 0] = 300.0
        return values.half()

    parts = {"codes": whole(0, len(kind.levels) - 1, columns).to(torch.uint8), "scales": halves()}
    if kind.minimum:
        parts["minima"] = halves()
    if kind.scale_range:
        parts["sub_scales"] = whole(*kind.scale_range, subs).to(torch.int8)
    if kind.minimum_range:
        parts["sub_minima"] = whole(*kind.minimum_range, subs).to(torch.int8)
    return BlockWeight(kind, **parts)


def decoded(weight):
    kind = gguf.GGMLQuantizationType(weight.kind.number)
    return torch.from_numpy(gguf.quants.dequantize(weight.packed(), kind).astype(np.float32))


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_bytes_decode_to_the_very_floats_that_run_here(name):
    for seed in range(3):
        weight = made_up(name, seed)
        assert torch.equal(decoded(weight), weight.matrix())


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_sizes_and_numbers_are_those_of_ggml(name):
    kind = BLOCK_TYPES[name]
    number = gguf.GGMLQuantizationType[name]
    assert (kind.number, kind.length, kind.size_bytes) == (int(number), *gguf.GGML_QUANT_SIZES[number])
    assert kind.bits_per_weight == 8 * kind.size_bytes / kind.length
    assert made_up(name).packed().shape == (ROWS, 512 // kind.length * kind.size_bytes)


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_unpacking_gives_back_every_part(name):
    weight = made_up(name)
    again = BlockWeight.unpacked(weight.kind, weight.packed())
    for part in weight.kind.counts:
        mine, found = getattr(weight, part), getattr(again, part)
        assert mine.dtype == found.dtype and torch.equal(mine, found), part
    assert (again.packed() == weight.packed()).all()


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_any_bytes_are_read_as_ggml_reads_them(name):
    kind = BLOCK_TYPES[name]
    data = np.random.default_rng(0).integers(0, 256, (ROWS, 2 * kind.size_bytes), np.uint8)
    if name == "Q8_0":
        data[data == 128] = 0  # -128, which is never written
    number = gguf.GGMLQuantizationType(kind.number)
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = torch.from_numpy(gguf.quants.dequantize(data, number))
    found = BlockWeight.unpacked(kind, data).matrix()
    finite = wanted.isfinite()
    assert torch.equal(found[finite], wanted[finite]) and float(finite.float().mean()) > 0.5


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_rows_products_and_settings_are_those_of_the_matrix(name):
    weight = made_up(name)
    rows = torch.tensor([4, 1])
    assert torch.equal(weight.matrix(rows), weight.matrix()[rows])
    inputs = torch.randn(3, 512)
    assert torch.equal(weight.times(inputs), inputs @ weight.matrix().t())
    empty = weight_from_settings(weight.settings())
    assert empty.shape == weight.shape and not empty.matrix().any()
    assert {key: (one.shape, one.dtype) for key, one in empty.state_dict().items()} == {
        key: (one.shape, one.dtype) for key, one in weight.state_dict().items()
    }


def test_a_block_that_does_not_divide_the_width_is_named_with_those_that_do():
    assert fitting(576) == ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"]
    assert fitting(1536) == list(BLOCK_TYPES)
    check_width(BLOCK_TYPES["Q4_K"], 1536, "down")
    with pytest.raises(RecipeError, match="layer q: Q4_K has blocks of 256.*width of 576; those that do: Q4_0, Q4_1"):
        check_width(BLOCK_TYPES["Q4_K"], 576, "q")
    with pytest.raises(RecipeError, match="width of 20; no type's do"):
        check_width(BLOCK_TYPES["Q4_0"], 20, "q")


def test_an_unknown_type_is_named_with_the_nearest():
    with pytest.raises(RecipeError, match="'Q4_k': is no block type.*Did you mean 'Q4_"):
        block_type("Q4_k")
