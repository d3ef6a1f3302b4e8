"""How Keras's attention and recurrent layers are written as nodes of a text graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pocketlm.errors import ModelError
from pocketlm.model.keras_calls import Call, activation_name, numbers

CELLS = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}


def attention(call: Call) -> str:
    """MultiHeadAttention: its four projections as linear layers."""
    layer = call.layer
    call.only(_use_gate=False, _sliding_window=None)
    extra = {name: value for name, value in call.kwargs.items() if value is not None and "mask" in name}
    if extra.keys() - {"use_causal_mask"} or call.kwargs.get("return_attention_scores"):
        raise ModelError(f"called with {', '.join(extra) or 'scores asked for'} is not supported")
    parts = {"query": layer.query_dense, "key": layer.key_dense, "value": layer.value_dense}
    weights: dict[str, np.ndarray] = {}
    for name, one in parts.items():
        kernel = numbers(one.kernel)
        weights[f"{name}.weight"] = kernel.reshape(len(kernel), -1).T
        if layer.use_bias:
            weights[f"{name}.bias"] = numbers(one.bias).reshape(-1)
    kernel = numbers(layer.output_dense.kernel)
    weights["output.weight"] = kernel.reshape(-1, kernel.shape[-1]).T
    if layer.use_bias:
        weights["output.bias"] = numbers(layer.output_dense.bias)
    names = dict(zip(("query", "value", "key"), call.inputs, strict=False))
    names.setdefault("key", names["value"])
    widths = [weights[f"{name}.weight"].shape[1] for name in ("query", "value", "key")]
    settings = {
        "heads": layer.num_heads, "sizes": [layer.key_dim, layer.value_dim],
        "widths": [*widths, kernel.shape[-1]], "bias": layer.use_bias,
        "causal": bool(extra.get("use_causal_mask")), "padding": "zero" if layer.dropout else "uniform",
    }  # fmt: skip
    inputs = (names["query"], names["value"], names["key"])
    return call.trace.add(call.name, "attention", inputs, settings, weights, call.masked)


def recurrent(kind: str) -> Callable[[Call], str]:
    """What writes a layer of this kind of cell: a key of CELLS' values."""

    def write(call: Call) -> str:
        return _cell(call, kind, call.layer, call.name)

    return write


def _cell(call: Call, kind: str, layer: Any, name: str) -> str:
    inner = Call(call.trace, layer, name, call.inputs, call.args, call.kwargs, call.shapes, call.masked)
    inner.only(return_state=False, stateful=False, **({"reset_after": True} if kind == "gru" else {}))
    if len(call.inputs) > 1:
        raise ModelError("a state to begin with is not supported")
    cell = layer.cell
    gate = cell.activation if kind == "rnn" else cell.recurrent_activation
    settings = {
        "cell": kind, "widths": [int(cell.kernel.shape[0]), cell.units],
        "activations": [activation_name(cell.activation), activation_name(gate)], "bias": cell.use_bias,
        "backwards": layer.go_backwards, "sequences": layer.return_sequences,
    }  # fmt: skip
    weights = {"input.weight": numbers(cell.kernel).T, "recurrent.weight": numbers(cell.recurrent_kernel).T}
    if cell.use_bias:
        bias = numbers(cell.bias)
        if kind == "gru":
            weights["input.bias"], weights["recurrent.bias"] = bias
        else:
            weights["input.bias"] = bias
    return inner.add("recurrent", settings, weights, masked=True)


def bidirectional(call: Call) -> str:
    """Bidirectional: two recurrent layers, and what joins them."""
    kind = CELLS.get(type(call.layer.forward_layer).__name__)
    merge = {"concat": "concat", "sum": "add", "ave": "average", "mul": "multiply"}.get(call.layer.merge_mode)
    if kind is None or merge is None:
        raise ModelError(
            f"around {type(call.layer.forward_layer).__name__}, {call.layer.merge_mode!r} is not supported"
        )
    both = [
        _cell(call, kind, layer, f"{call.name}_{way}")
        for way, layer in (("forward", call.layer.forward_layer), ("backward", call.layer.backward_layer))
    ]
    if call.layer.return_sequences:
        both[1] = call.then("flip", both[1])
    return call.trace.add(f"{call.name}_{merge}", "merge", tuple(both), {"kind": merge})
