"""A Keras model followed from its ids to its answer, layers inside layers opened, and written as a text graph.

Keras records what happens to symbolic tensors. Layers that `keras_layers` knows are recorded as they are; of any other,
such as a nested model or a block of one's own, `call` is followed, so that what it is made of is recorded instead.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from pocketlm.errors import ModelError
from pocketlm.model.keras_calls import Call
from pocketlm.model.keras_file import TEXT
from pocketlm.model.keras_layers import LAYERS, OPERATIONS
from pocketlm.model.text_graph import IDS, Node

# How Keras hands on where padding is: of ids that are not 0, whatever it went through.
MASKS = ("mask", "query_mask", "value_mask", "key_mask")
# Names that a module of nodes has for itself.
TAKEN = ("nodes", "source", "training", "classifier")


@dataclass
class Trace:
    """A graph as it is written. weights: by node, then by the parameter's path in its module.

    ids: how many there are. length, mode: as TextVectorization has them. read, said: symbolic tensors where it begins,
    after TextVectorization, and ends.
    """

    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    ids: int = 0
    length: int | None = None
    mode: str = "int"
    read: Any = None
    said: Any = None

    def add(
        self, name: str, op: str, inputs: tuple[str, ...], settings: Mapping[str, Any] | None = None,
        weights: Mapping[str, np.ndarray] | None = None, masked: bool = False,
    ) -> str:  # fmt: skip
        """A node, under this name or one like it: the name of its result."""
        base = re.sub(r"\W", "_", name)
        base = f"{base}_layer" if hasattr(nn.Module, base) or base in TAKEN else base
        name, count = base, 0
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        self.nodes.append(Node(name, op, inputs, dict(settings or {}), masked))
        if weights:
            self.weights[name] = {key: np.asarray(value, np.float32) for key, value in weights.items()}
        return name


def trace(model: Any, source: str) -> Trace:
    """The graph of a `keras.Model` that reads ids, or texts. source: its file, for messages.

    Raises ModelError where it reads or says something else, or has a layer that is not known.
    """
    import keras

    given = getattr(model, "inputs", None)
    if not given or len(given) != 1 or len(model.outputs) != 1:
        count = len(given or ())
        raise ModelError(
            f"model {source}: has {count} inputs; a text model has one, of texts or ids (call it once before saving)"
        )
    entry = keras.Input(batch_shape=given[0].shape, dtype=given[0].dtype)
    with _following(keras):
        said = model(entry)
    found = Trace(read=entry, said=said)
    _Walk(found, source, {id(entry): IDS}).result(said)
    shape = tuple(entry.shape)
    if found.mode == "int" and not found.ids:
        raise ModelError(f"model {source}: reads {shape} numbers and looks none of them up; a text model reads ids")
    if found.length is None and len(shape) == 2 and given[0].dtype != "string":
        found.length = shape[1]
    return found


@contextmanager
def _following(keras: Any) -> Iterator[None]:
    """While open, layers that are not known are followed instead of recorded."""
    layer_class = keras.layers.Layer
    usual = layer_class.__call__

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if _recorded(keras, layer) or not any(isinstance(one, keras.KerasTensor) for one in (*args, *kwargs.values())):
            return usual(layer, *args, **kwargs)
        return _opened(layer, args, kwargs)

    layer_class.__call__ = call
    try:
        yield
    finally:
        layer_class.__call__ = usual


def _recorded(keras: Any, layer: Any) -> bool:
    """Whether it is one of Keras's own layers: those that are not known are then refused by name."""
    mine = not type(layer).__module__.startswith("keras.") and type(layer).__name__ != TEXT
    return not (mine or isinstance(layer, keras.Model))


def _opened(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a layer's own `call` makes of symbolic tensors, with masks as Keras would hand them on."""
    parameters = inspect.signature(layer.call).parameters
    first = args[0] if args else next(iter(kwargs.values()))
    mask = getattr(first, "_keras_mask", None)
    kwargs.pop("training", None)
    if "training" in parameters:
        kwargs["training"] = False
    if "mask" in parameters and mask is not None and kwargs.get("mask") is None:
        kwargs["mask"] = mask
    made = layer.call(*args, **kwargs)
    if layer.supports_masking and getattr(made, "_keras_mask", None) is None:
        handed = layer.compute_mask(first, mask)
        if handed is not None:
            made._keras_mask = handed
    return made


@dataclass
class _Walk:
    """From a result back to the ids. known: names of results of symbolic tensors, by their identity."""

    trace: Trace
    source: str
    known: dict[int, str]
    counts: dict[str, int] = field(default_factory=dict)

    def result(self, tensor: Any) -> str:
        """The name of a symbolic tensor's node, written with all before it."""
        if id(tensor) not in self.known:
            history = tensor._keras_history
            node = history.operation._inbound_nodes[history.node_index]
            self.known[id(tensor)] = self._written(history.operation, node)
            if type(history.operation).__name__ == TEXT:
                self.trace.read = tensor
        return self.known[id(tensor)]

    def _written(self, operation: Any, node: Any) -> str:
        kind = type(operation).__name__
        layer = hasattr(operation, "compute_mask")
        make = (LAYERS if layer else OPERATIONS).get(kind)
        if make is None:
            known = ", ".join(sorted(LAYERS))
            what = f"layer {operation.name} ({kind})" if layer else f"the operation {kind}"
            raise ModelError(f"model {self.source}: {what} is not supported; of layers there is {known}")
        arguments = node.arguments.kwargs
        told = {id(arguments[name]) for name in MASKS if arguments.get(name) is not None}
        masked = bool(told) or any(getattr(one, "_keras_mask", None) is not None for one in node.input_tensors)
        given = [one for one in node.input_tensors if id(one) not in told]
        kwargs = {name: one for name, one in arguments.items() if name not in MASKS}
        inputs = tuple(self.result(one) for one in given)
        call = Call(
            self.trace, operation, self._name(operation.name, kind), inputs, tuple(node.arguments.args), kwargs,
            tuple(tuple(one.shape) for one in given), masked,
        )  # fmt: skip
        try:
            return make(call)
        except ModelError as error:
            raise ModelError(f"model {self.source}: layer {operation.name} ({kind}): {error}") from None

    def _name(self, name: str, kind: str) -> str:
        """The layer's own name; one that Keras made is numbered by its place in the model, not in the program."""
        made = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind).lower()
        if not re.fullmatch(rf"{made}(_\d+)?", name):
            return name
        self.counts[made] = self.counts.get(made, -1) + 1
        return f"{made}_{self.counts[made]}" if self.counts[made] else made
