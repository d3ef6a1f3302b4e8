"""How each Keras layer is written as nodes of a text graph: one table of layers, one of bare operations.

A function here writes one call of a layer and returns the name of its result. What a layer can that is not written
down here is refused with the setting's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pocketlm.errors import ModelError
from pocketlm.model.keras_calls import Call, activated, numbers
from pocketlm.model.keras_sequences import CELLS, attention, bidirectional, recurrent
from pocketlm.model.text_graph import IDS


def _same(call: Call) -> str:
    """Layers that do nothing once trained."""
    return call.inputs[0]


def _text(call: Call) -> str:
    call.trace.mode, call.trace.length = call.layer.mode, call.layer.length
    if call.layer.mode == "int":
        return call.inputs[0]
    call.trace.ids = call.layer.width + 1
    return call.add("bag", {"rows": call.layer.width, "mode": call.layer.mode.replace("_", "-")})


def _embedding(call: Call) -> str:
    if call.inputs[0] != IDS:
        raise ModelError("looks up something else than the model's ids")
    rows, width = call.layer.input_dim, call.layer.output_dim
    call.trace.ids = max(call.trace.ids, rows) if not call.trace.ids else min(call.trace.ids, rows)
    return call.add("embedding", {"num_embeddings": rows, "embedding_dim": width}, {
        "weight": numbers(call.layer.embeddings)
    })  # fmt: skip


def _linear(call: Call, kernel: np.ndarray, bias: np.ndarray | None) -> str:
    """A linear layer of a Keras kernel (in, out)."""
    settings = {"in_features": kernel.shape[0], "out_features": kernel.shape[1], "bias": bias is not None}
    return call.add("linear", settings, {"weight": kernel.T, **({} if bias is None else {"bias": bias})})


def _dense(call: Call) -> str:
    layer = call.layer
    made = _linear(call, numbers(layer.kernel), numbers(layer.bias) if layer.use_bias else None)
    return activated(call, made, layer.activation)


def _einsum_dense(call: Call) -> str:
    layer = call.layer
    kernel = numbers(layer.kernel)
    given, _, out = layer.equation.replace(" ", "").partition("->")
    read, weights = given.split(",")
    if len(weights) != 2 or read[-1] != weights[0] or out != read[:-1] + weights[1]:
        raise ModelError(f"equation {layer.equation!r} is not supported; one of the last axis alone is")
    made = _linear(call, kernel, None if layer.bias is None else numbers(layer.bias).reshape(-1))
    return activated(call, made, layer.activation)


def _time_distributed(call: Call) -> str:
    inner = call.layer.layer
    if type(inner).__name__ != "Dense":
        raise ModelError(f"around {type(inner).__name__} is not supported; around Dense it is")
    return _dense(Call(call.trace, inner, call.name, call.inputs, call.args, call.kwargs, call.shapes, call.masked))


def _convolution(call: Call) -> str:
    layer = call.layer
    call.only(groups=1, data_format="channels_last")
    kernel = numbers(layer.kernel)
    size, inputs, outputs = kernel.shape
    settings = {
        "inputs": inputs, "outputs": outputs, "window": [size, layer.strides[0], layer.dilation_rate[0]],
        "padding": layer.padding, "bias": layer.use_bias,
    }  # fmt: skip
    weights = {"kernel.weight": kernel.reshape(-1, outputs).T}
    if layer.use_bias:
        weights["kernel.bias"] = numbers(layer.bias)
    return activated(call, call.add("convolution", settings, weights), layer.activation)


def _last_axis(call: Call) -> None:
    """Raises ModelError where it is not of the last axis alone."""
    axis, last = call.layer.axis, len(call.shapes[0]) - 1
    if axis not in (-1, last, [-1], [last], (-1,), (last,)):
        raise ModelError(f"axis={axis} is not supported; the last one is")


def _layer_norm(call: Call) -> str:
    _last_axis(call)
    width, layer = int(call.shapes[0][-1] or 0), call.layer
    weights = {"weight": np.ones(width) if not layer.scale else numbers(layer.gamma)}
    weights["bias"] = numbers(layer.beta) if layer.center else np.zeros(width)
    return call.add("norm", {"normalized_shape": width, "eps": layer.epsilon}, weights)


def _batch_norm(call: Call) -> str:
    layer = call.layer
    _last_axis(call)
    scale = 1 / np.sqrt(numbers(layer.moving_variance) + layer.epsilon)
    scale = scale * numbers(layer.gamma) if layer.scale else scale
    shift = -numbers(layer.moving_mean) * scale + (numbers(layer.beta) if layer.center else 0)
    return call.add("affine", {"width": len(scale)}, {"scale": scale, "shift": shift})


def _global_pool(kind: str) -> Callable[[Call], str]:
    def write(call: Call) -> str:
        call.only(data_format="channels_last", keepdims=False)
        return call.add("pool", {"kind": kind}, masked=kind == "average")

    return write


def _window_pool(kind: str) -> Callable[[Call], str]:
    def write(call: Call) -> str:
        call.only(data_format="channels_last")
        size, stride = call.layer.pool_size[0], call.layer.strides[0]
        return call.add("window-pool", {"kind": kind, "size": size, "stride": stride, "padding": call.layer.padding})

    return write


def _merge(kind: str) -> Callable[[Call], str]:
    def write(call: Call) -> str:
        axis = getattr(call.layer, "axis", -1)
        return call.add("merge", {"kind": kind, "axis": axis})

    return write


def _operation(kind: str) -> Callable[[Call], str]:
    """A bare operation of two things, of which one may be a number or a tensor that no input changes."""

    def write(call: Call) -> str:
        given = [*call.args, *call.kwargs.values()][:2]
        names = iter(call.inputs)
        inputs = tuple(next(names) if hasattr(one, "_keras_history") else _constant(call, one) for one in given)
        return call.trace.add(call.name, "merge", inputs, {"kind": kind})

    return write


def _constant(call: Call, value: Any) -> str:
    array = numbers(value).astype(np.float32)
    return call.trace.add(f"{call.name}_constant", "constant", (), {"shape": list(array.shape)}, {"value": array})


def _reshape(call: Call) -> str:
    shape = getattr(call.layer, "target_shape", None) or (-1,)  # of Flatten, which says none
    return call.add("reshape", {"shape": [int(one) for one in shape]})


def _activation(call: Call) -> str:
    return activated(call, call.inputs[0], call.layer.activation)


def _relu(call: Call) -> str:
    call.only(negative_slope=0.0, threshold=0.0)
    kind = {None: "relu", 6: "relu6"}.get(call.layer.max_value)
    if kind is None:
        raise ModelError(f"max_value={call.layer.max_value} is not supported; None and 6 are")
    return call.add("activate", {"kind": kind})


def _softmax(call: Call) -> str:
    call.only(axis=-1)
    return call.add("activate", {"kind": "softmax"})


def _bare_activation(kind: str) -> Callable[[Call], str]:
    def write(call: Call) -> str:
        name = kind
        if kind == "gelu":
            name = "gelu-tanh" if call.layer.approximate else "gelu"
        return call.add("activate", {"kind": name})

    return write


def _bare_pool(kind: str) -> Callable[[Call], str]:
    def write(call: Call) -> str:
        call.only(axis=1, keepdims=False)
        return call.add("pool", {"kind": kind})

    return write


LAYERS: dict[str, Callable[[Call], str]] = {
    "TextVectorization": _text,
    "InputLayer": _same,
    "Embedding": _embedding,
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "TimeDistributed": _time_distributed,
    "Conv1D": _convolution,
    "MultiHeadAttention": attention,
    **{name: recurrent(kind) for name, kind in CELLS.items()},
    "Bidirectional": bidirectional,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "GlobalAveragePooling1D": _global_pool("average"),
    "GlobalMaxPooling1D": _global_pool("max"),
    "AveragePooling1D": _window_pool("average"),
    "MaxPooling1D": _window_pool("max"),
    "Add": _merge("add"),
    "Subtract": _merge("subtract"),
    "Multiply": _merge("multiply"),
    "Average": _merge("average"),
    "Maximum": _merge("maximum"),
    "Minimum": _merge("minimum"),
    "Concatenate": _merge("concat"),
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Activation": _activation,
    "ReLU": _relu,
    "Softmax": _softmax,
    **dict.fromkeys(
        ("Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "Identity",
         "ActivityRegularization"), _same,
    ),
}  # fmt: skip

OPERATIONS: dict[str, Callable[[Call], str]] = {
    "Add": _operation("add"),
    "Subtract": _operation("subtract"),
    "Multiply": _operation("multiply"),
    "Maximum": _operation("maximum"),
    "Minimum": _operation("minimum"),
    "Relu": _bare_activation("relu"),
    "Gelu": _bare_activation("gelu"),
    "Sigmoid": _bare_activation("sigmoid"),
    "Tanh": _bare_activation("tanh"),
    "Softmax": _bare_activation("softmax"),
    "Cast": _same,
    "ConvertToTensor": _same,
    "Mean": _bare_pool("average"),
    "Max": _bare_pool("max"),
}
