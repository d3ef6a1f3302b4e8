"""What the nodes of a text graph compute, as small torch modules made from plain settings.

Every weight matrix is a linear layer or an embedding, so that passes find it: a convolution is a linear layer on
windows, a recurrent layer two linear layers and a loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": partial(F.softmax, dim=-1),
    "elu": F.elu,
    "silu": F.silu,
    "hard-sigmoid": F.hardsigmoid,
    "linear": lambda x: x,
}
# Scores of places that are not to be seen.
UNSEEN = -1e30


class Activation(nn.Module):
    """A function of `ACTIVATIONS`, on every number (softmax: on the last axis)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return ACTIVATIONS[self.kind](x)


class Merge(nn.Module):
    """Several tensors as one: "add", "multiply", "average", "maximum", "minimum", "subtract" or "concat"."""

    def __init__(self, kind: str, axis: int = -1) -> None:
        super().__init__()
        self.kind, self.axis = kind, axis

    def forward(self, *given: Tensor) -> Tensor:
        """Of the shape they broadcast to."""
        if self.kind == "concat":
            return torch.cat(given, self.axis)
        joins: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "multiply": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum, "subtract": torch.sub
        }  # fmt: skip
        joined = reduce(joins.get(self.kind, torch.add), given)
        return joined / len(given) if self.kind == "average" else joined


class Affine(nn.Module):
    """X · scale + shift: batch normalization as it is once trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return x * self.scale + self.shift


class Constant(nn.Module):
    """A tensor that no input changes, such as the embeddings of places."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        """The tensor."""
        return self.value


class Reshape(nn.Module):
    """Everything but the first axis in another shape; one of it may be -1."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """(texts, *shape)."""
        return x.reshape(x.shape[0], *self.shape)


class Flip(nn.Module):
    """Places from last to first."""

    def forward(self, x: Tensor) -> Tensor:
        """(texts, places, width)."""
        return x.flip(1)


class Bag(nn.Module):
    """Which words a text has, or how many of each. Ids are 0 for none, then of rows in order.

    mode: "multi-hot" or "count".
    """

    def __init__(self, rows: int, mode: str) -> None:
        super().__init__()
        self.rows, self.mode = rows, mode

    def forward(self, ids: Tensor) -> Tensor:
        """(texts, rows)."""
        ones = F.one_hot(ids, self.rows + 1)[..., 1:].float()
        return ones.amax(1) if self.mode == "multi-hot" else ones.sum(1)


class GlobalPool(nn.Module):
    """The mean (with a mask, over its places) or the maximum over places. kind: "average" or "max"."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(texts, places, width) to (texts, width)."""
        if self.kind == "max":
            return x.amax(1)
        if mask is None:
            return x.mean(1)
        return x.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


class WindowPool(nn.Module):
    """The mean or maximum of windows of places. Padding at the ends counts for neither."""

    def __init__(self, kind: str, size: int, stride: int, padding: str) -> None:
        super().__init__()
        self.kind, self.size, self.stride, self.padding = kind, size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(texts, places, width) to (texts, windows, width)."""
        left, right = ends(x.shape[1], self.size, self.stride, 1, self.padding)
        if self.kind == "max":
            parts = windows(F.pad(x, (0, 0, left, right), value=UNSEEN), self.size, self.stride, 1)
            return reduce(torch.maximum, parts)
        total = reduce(torch.add, windows(F.pad(x, (0, 0, left, right)), self.size, self.stride, 1))
        ones = F.pad(torch.ones_like(x[:1, :, :1]), (0, 0, left, right))
        return total / reduce(torch.add, windows(ones, self.size, self.stride, 1))


def ends(places: int, size: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """How many places are added before and after: "valid", "same" or "causal"."""
    reach = dilation * (size - 1)
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach, 0
    total = max((math.ceil(places / stride) - 1) * stride + reach + 1 - places, 0)
    return total // 2, total - total // 2


def windows(x: Tensor, size: int, stride: int, dilation: int) -> list[Tensor]:
    """The first place of every window, the second of every one, and so on."""
    span = (x.shape[1] - dilation * (size - 1) - 1) // stride * stride + 1
    return [x[:, place * dilation : place * dilation + span : stride] for place in range(size)]


class Convolution(nn.Module):
    """A convolution over places: a linear layer on windows, the features of a window's first place first.

    window: its size, stride and dilation.
    """

    def __init__(self, inputs: int, outputs: int, window: list[int], padding: str, bias: bool) -> None:
        super().__init__()
        self.padding = padding
        self.size, self.stride, self.dilation = window
        self.kernel = nn.Linear(self.size * inputs, outputs, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(texts, places, inputs) to (texts, windows, outputs)."""
        left, right = ends(x.shape[1], self.size, self.stride, self.dilation, self.padding)
        if left or right:
            x = F.pad(x, (0, 0, left, right))
        out: Tensor = self.kernel(torch.cat(windows(x, self.size, self.stride, self.dilation), -1))
        return out


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762).

    widths: of queries, values and keys as they come in, and of the result. sizes: of a head's key and of its value.
    padding: what a place that is none sees: all alike, "uniform", or as in Keras with dropout nothing, "zero".
    """

    def __init__(
        self,
        heads: int,
        sizes: list[int],
        widths: list[int],
        bias: bool,
        causal: bool = False,
        padding: str = "uniform",
    ) -> None:
        super().__init__()
        self.heads, self.sizes, self.causal, self.padding = heads, sizes, causal, padding
        self.query = nn.Linear(widths[0], heads * sizes[0], bias)
        self.key = nn.Linear(widths[2], heads * sizes[0], bias)
        self.value = nn.Linear(widths[1], heads * sizes[1], bias)
        self.output = nn.Linear(heads * sizes[1], widths[3], bias)

    def forward(self, query: Tensor, value: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        """(texts, places, width), from (texts, places, width) of each."""
        q, v, k = self._split(self.query(query)), self._split(self.value(value)), self._split(self.key(key))
        scores = q @ k.transpose(-1, -2) * self.sizes[0] ** -0.5
        if self.causal:
            unseen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(unseen, UNSEEN)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], UNSEEN)
        shares = scores.softmax(-1)
        if mask is not None:
            nothing = 0.0 if self.padding == "zero" else 1 / scores.shape[-1]
            shares = shares.masked_fill(~mask[:, None, :, None], nothing)
        out: Tensor = self.output((shares @ v).transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(texts, heads, places, size)."""
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class Recurrent(nn.Module):
    """An LSTM, a GRU whose reset comes after the product, or a plain recurrent layer, as Keras orders their gates.

    cell: "lstm", "gru" or "rnn". widths: of the input and the state. activations: of what is proposed and of gates.
    backwards: reads the last place first. sequences: every place's state comes out, in the order they were read,
    instead of the last.
    """

    def __init__(
        self, cell: str, widths: list[int], activations: list[str], bias: bool, backwards: bool, sequences: bool
    ) -> None:
        super().__init__()
        inputs, units = widths
        self.cell, self.units, self.backwards, self.sequences = cell, units, backwards, sequences
        self.activations = activations
        gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
        self.input = nn.Linear(inputs, gates * units, bias)
        self.recurrent = nn.Linear(units, gates * units, bias and cell == "gru")

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(texts, places, inputs) to (texts, units), or (texts, places, units). mask: places to pass over."""
        if self.backwards:
            x, mask = x.flip(1), None if mask is None else mask.flip(1)
        read = self.input(x)
        hidden = read.new_zeros(x.shape[0], self.units)
        state, every = hidden, []
        for place in range(x.shape[1]):
            new, kept = self._step(read[:, place], hidden, state)
            if mask is not None:
                now = mask[:, place, None]
                new, kept = torch.where(now, new, hidden), torch.where(now, kept, state)
            hidden, state = new, kept
            every.append(hidden)
        return torch.stack(every, 1) if self.sequences else hidden

    def _step(self, read: Tensor, hidden: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next hidden state and cell state."""
        propose, gate = (ACTIVATIONS[one] for one in self.activations)
        if self.cell == "rnn":
            return (new := propose(read + self.recurrent(hidden))), new
        if self.cell == "lstm":
            i, f, g, o = (read + self.recurrent(hidden)).chunk(4, -1)
            state = gate(f) * state + gate(i) * propose(g)
            return gate(o) * propose(state), state
        z, r, h = read.chunk(3, -1)
        again_z, again_r, again_h = self.recurrent(hidden).chunk(3, -1)
        z = gate(z + again_z)
        new = z * hidden + (1 - z) * propose(h + gate(r + again_r) * again_h)
        return new, new


OPERATIONS: dict[str, Callable[..., nn.Module]] = {
    "embedding": nn.Embedding,
    "linear": nn.Linear,
    "activate": Activation,
    "merge": Merge,
    "norm": nn.LayerNorm,
    "affine": Affine,
    "constant": Constant,
    "reshape": Reshape,
    "flip": Flip,
    "bag": Bag,
    "pool": GlobalPool,
    "window-pool": WindowPool,
    "convolution": Convolution,
    "attention": Attention,
    "recurrent": Recurrent,
}


def make(op: str, settings: dict[str, Any]) -> nn.Module:
    """The module of an operation."""
    return OPERATIONS[op](**settings)
