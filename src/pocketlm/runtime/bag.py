"""A bag-of-features model in numpy: summed table rows, a norm, a nonlinearity, one matrix an output.

Text vector t = Σ w_i T[i]; outputs of kind single and multi read gelu(norm(t)) (or t itself without a
hidden layer). Tags read a window of word vectors around each word beside the text vector:
gelu(W [v_{k-r} … v_{k+r}, norm(t)] + b).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Arrays
from pocketlm.runtime.packed import unpack, unpack_float

Floats = NDArray[np.float32]
_EPSILON = np.float32(1e-5)


def gelu(x: Floats) -> Floats:
    """GELU by its tanh form. Hendrycks and Gimpel 2016, arXiv:1606.08415."""
    cube = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    out: Floats = np.float32(0.5) * x * (1 + np.tanh(cube))
    return out


def layer_norm(x: Floats, gain: Floats, bias: Floats) -> Floats:
    """Each row to mean 0 and variance 1, then scaled. Ba et al. 2016, arXiv:1607.06450."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    out: Floats = centred / np.sqrt(variance + _EPSILON) * gain + bias
    return out


class BagModel:
    """Runs the arrays of a Pocket of kind "bag"; see the module for the formula."""

    def __init__(self, about: Mapping[str, Any], members: Mapping[str, bytes], outputs: Sequence[Output]) -> None:
        self._outputs = outputs
        self._window = int(about.get("window", 0))
        self._hidden = bool(about["hidden"])
        stored = about["arrays"]
        self._table, self._scales = unpack(stored["table"], members["table"])
        self._array = {name: unpack_float(stored[name], members[name]) for name in stored if name != "table"}
        for output in outputs:  # transposed once, so that each call is one matrix product
            self._array[f"{output.name}.weight"] = np.ascontiguousarray(self._array[f"{output.name}.weight"].T)
        if self._window:
            self._array["context.weight"] = np.ascontiguousarray(self._array["context.weight"].T)

    def run(self, arrays: Arrays) -> dict[str, Floats]:
        """Logits of every output: (texts, labels), or (words of all texts, labels) for tags."""
        text = self._pool(arrays["ids"], arrays["weights"], arrays["offsets"])
        if self._hidden:
            text = layer_norm(text, self._array["norm.weight"], self._array["norm.bias"])
        active = gelu(text) if self._hidden else text
        logits = {}
        for output in self._outputs:
            reads = self._words(arrays, text) if output.kind == "tags" else active
            logits[output.name] = reads @ self._array[f"{output.name}.weight"] + self._array[f"{output.name}.bias"]
        return logits

    def _pool(self, ids: NDArray[np.int64], weights: Floats, offsets: NDArray[np.int64]) -> Floats:
        """Weighted sum of table rows in each group: (groups, width)."""
        if self._scales is not None:
            weights = weights * self._scales[ids]
        rows = self._table[ids].astype(np.float32, copy=False)
        if len(offsets) == 2:
            return (weights @ rows)[None]
        out = np.zeros((len(offsets) - 1, self._table.shape[1]), np.float32)
        filled = offsets[1:] > offsets[:-1]
        if filled.any():
            out[filled] = np.add.reduceat(rows * weights[:, None], offsets[:-1][filled])
        return out

    def _words(self, arrays: Arrays, text: Floats) -> Floats:
        """FitContext of each word: gelu of its window and its text, (words, context width)."""
        counts, reach = arrays["word_counts"], self._window
        vectors = self._pool(arrays["word_ids"], arrays["word_weights"], arrays["word_offsets"])
        owner = np.repeat(np.arange(len(counts)), counts)
        # every text's words stand apart by `reach` empty places, so that no window crosses into another text
        place = np.arange(len(owner)) + reach * (owner + 1)
        spaced = np.zeros((len(owner) + reach * (len(counts) + 1), vectors.shape[1]), np.float32)
        spaced[place] = vectors
        window = [spaced[place + shift] for shift in range(-reach, reach + 1)]
        joined = np.concatenate([*window, text[owner]], axis=1)
        return gelu(joined @ self._array["context.weight"] + self._array["context.bias"])
