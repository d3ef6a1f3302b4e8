"""Operations against torch's own layers, which are written otherwise."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pocketlm.model.operations import Attention, Bag, Convolution, GlobalPool, Merge, Recurrent, WindowPool, ends

torch.manual_seed(0)
X = torch.randn(3, 11, 6)


@pytest.mark.parametrize(("size", "stride", "dilation"), [(3, 1, 1), (2, 3, 1), (3, 1, 2)])
def test_a_convolution_is_a_linear_layer_on_windows(size, stride, dilation):
    mine = Convolution(6, 5, [size, stride, dilation], "valid", True)
    theirs = nn.Conv1d(6, 5, size, stride, dilation=dilation)
    with torch.no_grad():
        theirs.weight.copy_(mine.kernel.weight.view(5, size, 6).transpose(1, 2))
        theirs.bias.copy_(mine.kernel.bias)
    torch.testing.assert_close(mine(X), theirs(X.transpose(1, 2)).transpose(1, 2))


def test_padding_keeps_places():
    assert Convolution(6, 5, [4, 1, 1], "same", True)(X).shape[1] == 11
    assert ends(11, 4, 1, 1, "same") == (1, 2)
    assert ends(11, 3, 2, 1, "same") == (1, 1)
    assert ends(11, 3, 1, 2, "causal") == (4, 0)
    causal = Convolution(6, 5, [3, 1, 2], "causal", True)
    later = X.clone()
    later[:, 6:] = 0
    torch.testing.assert_close(causal(X)[:, :6], causal(later)[:, :6])


def test_window_pools_leave_padding_out():
    channels = X.transpose(1, 2)
    wanted = F.max_pool1d(channels, 3, 2).transpose(1, 2)
    torch.testing.assert_close(WindowPool("max", 3, 2, "valid")(X), wanted)
    mean = F.avg_pool1d(channels, 2, 2, ceil_mode=True, count_include_pad=False).transpose(1, 2)
    torch.testing.assert_close(WindowPool("average", 2, 2, "same")(X), mean)


def test_global_pools():
    mask = torch.zeros(3, 11, dtype=torch.bool)
    mask[0, :4] = mask[1] = True
    found = GlobalPool("average")(X, mask)
    torch.testing.assert_close(found[0], X[0, :4].mean(0))
    torch.testing.assert_close(found[1], X[1].mean(0))
    assert found[2].abs().sum() == 0  # a text without words
    torch.testing.assert_close(GlobalPool("max")(X), X.max(1).values)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_recurrent_layers(cell):
    gate = "tanh" if cell == "rnn" else "sigmoid"
    mine = Recurrent(cell, [6, 4], ["tanh", gate], True, False, True)
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell](6, 4, batch_first=True)
    # Keras's order of gates to torch's: z r h to r z n
    order = {"lstm": [0, 1, 2, 3], "gru": [1, 0, 2], "rnn": [0]}[cell]

    def turned(weight):
        return torch.cat([weight.chunk(len(order))[place] for place in order])

    with torch.no_grad():
        theirs.weight_ih_l0.copy_(turned(mine.input.weight))
        theirs.weight_hh_l0.copy_(turned(mine.recurrent.weight))
        theirs.bias_ih_l0.copy_(turned(mine.input.bias))
        theirs.bias_hh_l0.copy_(turned(mine.recurrent.bias) if cell == "gru" else torch.zeros(len(order) * 4))
        torch.testing.assert_close(mine(X), theirs(X)[0])
        mask = torch.ones(3, 11, dtype=torch.bool)
        mask[1, 5:] = False
        mine.sequences = False
        torch.testing.assert_close(mine(X, mask)[1], theirs(X[1:2, :5])[0][0, -1])
        mine.backwards = True
        torch.testing.assert_close(mine(X, mask)[1], theirs(X[1:2, :5].flip(1))[0][0, -1])


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal):
    mine = Attention(2, [3, 4], [6, 6, 6, 5], True, causal)
    with torch.no_grad():
        q, k, v = (layer(X).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (mine.query, mine.key, mine.value))
        wanted = mine.output(F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2))
        torch.testing.assert_close(mine(X, X, X), wanted)


@pytest.mark.parametrize("padding", ["uniform", "zero"])
def test_attention_of_padding(padding):
    mine = Attention(1, [3, 4], [6, 6, 6, 5], True, padding=padding)
    mask = torch.arange(11)[None] < torch.tensor([[11], [7], [1]])
    with torch.no_grad():
        found = mine(X, X, X, mask)
        torch.testing.assert_close(found[1, :7], mine(X[1:2, :7], X[1:2, :7], X[1:2, :7])[0])
        seen = mine.value(X[1]).mean(0) if padding == "uniform" else torch.zeros(4)
        torch.testing.assert_close(found[1, 9], mine.output(seen))


def test_bags_and_merges():
    ids = torch.tensor([[1, 3, 3, 0], [0, 0, 0, 0]])
    assert Bag(4, "multi-hot")(ids).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert Bag(4, "count")(ids).tolist() == [[1, 0, 2, 0], [0, 0, 0, 0]]
    torch.testing.assert_close(Merge("average")(X, X * 3), X * 2)
    torch.testing.assert_close(Merge("subtract")(X, X * 3), X * -2)
    torch.testing.assert_close(Merge("maximum")(X, -X), X.abs())
    assert Merge("concat", 1)(X, X).shape == (3, 22, 6)
