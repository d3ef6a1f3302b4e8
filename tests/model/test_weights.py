"""Every form of a weight is its formula, computes with it, and is rebuilt from its settings and buffers."""

import pytest
import torch

from pocketlm.compress.grid import grid_for
from pocketlm.model.code_weights import CodebookWeight, GridWeight, StepWeight
from pocketlm.model.layers import InputRounding, PackedEmbedding, PackedLinear, layer_from_settings, packed
from pocketlm.model.weights import FORMS, DenseWeight, ProductWeight, ScaledWeight, SumWeight, weight_from_settings

ROWS, COLUMNS = 12, 20


def halves(*shape):
    return (torch.rand(*shape) + 0.1).half()


def grid(zeros=True, scales=(ROWS, 3)):
    codes = torch.randint(0, 8, (ROWS, COLUMNS), dtype=torch.uint8)
    offsets = torch.randint(0, 8, scales, dtype=torch.uint8) if zeros else None
    return GridWeight(codes, halves(*scales), offsets, 3, COLUMNS if scales[1] == 1 else 8)


def dense(rows=ROWS, columns=COLUMNS):
    return DenseWeight(torch.randn(rows, columns))


def forms():
    """A weight of each form, with the matrix its formula gives, written plainly."""
    torch.manual_seed(0)
    one = dense()
    yield "dense", one, one.values.clone()
    for label, zeros, scales in (
        ("grid", True, (ROWS, 3)),
        ("centred", False, (ROWS, 3)),
        ("rows", True, (ROWS, 1)),
        ("whole", True, (1, 1)),
    ):
        one = grid(zeros, scales)
        matrix = torch.empty(ROWS, COLUMNS)
        for i in range(ROWS):
            for j in range(COLUMNS):
                place = (min(i, scales[0] - 1), j // one.group_size)
                zero = 4 if one.zeros is None else int(one.zeros[place])
                matrix[i, j] = (int(one.codes[i, j]) - zero) * float(one.scales[place])
        yield label, one, matrix
    one = StepWeight(torch.randint(-90, 90, (ROWS, COLUMNS), dtype=torch.int16), halves(ROWS), halves(COLUMNS))
    yield "steps", one, one.codes.float() * torch.outer(one.row_steps.float(), one.column_steps.float())
    for label, count in (("codebook", 1), ("codebook a row", ROWS)):
        codes = torch.randint(0, 4, (ROWS, COLUMNS), dtype=torch.uint8)
        one = CodebookWeight(codes, torch.randn(count, 4).half(), halves(ROWS, 3), 8)
        levels = one.levels.float().expand(ROWS, 4)
        matrix = torch.stack([levels[row, codes[row].long()] for row in range(ROWS)])
        yield label, one, matrix * one.scales.float().repeat_interleave(8, 1)[:, :COLUMNS]
    left, right = dense(ROWS, 5), dense(5, COLUMNS)
    yield "product", ProductWeight(left, right), left.values @ right.values
    base, more = grid(), ProductWeight(dense(ROWS, 2), dense(2, COLUMNS))
    yield "sum", SumWeight(base, more), base.matrix() + more.matrix()
    inner, scales = grid(), halves(COLUMNS)
    yield "scaled", ScaledWeight(inner, scales), inner.matrix() * scales.float()


CASES = [pytest.param(weight, matrix, id=label) for label, weight, matrix in forms()]


@pytest.mark.parametrize(("weight", "matrix"), CASES)
def test_a_form_is_its_formula(weight, matrix):
    assert weight.shape == (ROWS, COLUMNS)
    torch.testing.assert_close(weight.matrix(), matrix)
    rows = torch.tensor([3, 0, 3, 11])
    torch.testing.assert_close(weight.matrix(rows), matrix[rows])
    inputs = torch.randn(2, 5, COLUMNS)
    torch.testing.assert_close(weight.times(inputs), inputs @ matrix.t(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("weight", "matrix"), CASES)
def test_a_form_is_rebuilt_from_its_settings_and_buffers(weight, matrix):
    import json

    again = weight_from_settings(json.loads(json.dumps(weight.settings())))
    assert type(again) is type(weight)
    assert {key: one.shape for key, one in again.state_dict().items()} == {
        key: one.shape for key, one in weight.state_dict().items()
    }
    again.load_state_dict(weight.state_dict())
    assert torch.equal(again.matrix(), weight.matrix())
    assert {one.dtype for one in again.buffers()} == {one.dtype for one in weight.buffers()}


@pytest.mark.parametrize(("weight", "matrix"), CASES)
@pytest.mark.parametrize("bias", [None, torch.randn(ROWS)])
def test_a_layer_computes_as_a_linear_layer_with_that_matrix(weight, matrix, bias):
    layer = PackedLinear(weight, bias)
    inputs = torch.randn(3, COLUMNS)
    expected = torch.nn.functional.linear(inputs, matrix, bias)
    torch.testing.assert_close(layer(inputs), expected, rtol=1e-4, atol=1e-4)
    assert (layer.out_features, layer.in_features) == (ROWS, COLUMNS)
    again = layer_from_settings(layer.settings())
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(inputs), layer(inputs))


@pytest.mark.parametrize(("weight", "matrix"), CASES)
def test_an_embedding_gives_rows(weight, matrix):
    layer = PackedEmbedding(weight, padding_idx=1)
    tokens = torch.tensor([[1, 1, 7], [11, 0, 1]])
    torch.testing.assert_close(layer(tokens), matrix[tokens])
    again = layer_from_settings(layer.settings())
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(tokens), layer(tokens))
    assert again.padding_idx == 1
    assert (layer.num_embeddings, layer.embedding_dim) == (ROWS, COLUMNS)


def test_packing_changes_no_output_and_keeps_the_bias():
    linear, embedding = torch.nn.Linear(COLUMNS, ROWS), torch.nn.Embedding(ROWS, COLUMNS, padding_idx=0)
    inputs, tokens = torch.randn(4, COLUMNS), torch.arange(ROWS)
    with torch.no_grad():
        torch.testing.assert_close(packed(linear)(inputs), linear(inputs))
        assert torch.equal(packed(embedding)(tokens), embedding(tokens))
    layer = packed(linear)
    assert packed(layer) is layer


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_grid_holds_its_own_points_exactly(bits, symmetric):
    torch.manual_seed(bits)
    made = grid_for(torch.randn(ROWS, COLUMNS), bits, 8, symmetric)
    weight = made.weight(torch.randint(0, 2**bits, (ROWS, COLUMNS), dtype=torch.uint8))
    assert torch.equal(made.codes(weight.matrix()), weight.codes)


def test_inputs_are_rounded_to_the_nearest_of_256_values():
    inputs = torch.randn(50, 8) * 3
    out = InputRounding(static=False)(inputs)
    step = float(inputs.max() - inputs.min()) / 255
    assert float((out - inputs).abs().max()) <= step * 1.01
    assert len(out.unique()) <= 256
    fixed = InputRounding(static=True, scale=0.5, zero=10)
    assert fixed(torch.tensor([-100.0, 0.2, 0.3, 1000.0])).tolist() == [-5.0, 0.0, 0.5, 122.5]


def test_every_form_is_tried_here():
    assert {weight.settings()["kind"] for _, weight, _ in forms()} | {"pivoted", "blocks"} == set(FORMS)


def test_steps_learn_the_same_through_products_as_through_the_matrix():
    torch.manual_seed(0)
    codes, x = torch.randint(-9, 9, (ROWS, COLUMNS), dtype=torch.int16), torch.randn(5, COLUMNS)
    gradients = []
    for whole in (True, False):
        one = StepWeight(codes, torch.rand(ROWS) + 0.1, torch.rand(COLUMNS) + 0.1)
        torch.manual_seed(1)
        for name in ("row_steps", "column_steps"):
            one._buffers[name] = (torch.rand(one._buffers[name].shape) + 0.1).requires_grad_()
        out = x @ one.matrix().T if whole else one.times(x)
        out.square().sum().backward()
        gradients.append((one.row_steps.grad, one.column_steps.grad))
    for products, matrix in zip(*gradients, strict=True):
        assert torch.allclose(products, matrix, rtol=1e-4)
