"""One call of a Keras layer, as those who write it down as nodes see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketlm.errors import ModelError
from pocketlm.model.operations import ACTIVATIONS

if TYPE_CHECKING:
    from pocketlm.model.keras_trace import Trace


@dataclass(frozen=True)
class Call:
    """One call of a layer. inputs: names of what it reads, with shapes. args, kwargs: as it was called.

    masked: whether padding is known where it reads.
    """

    trace: Trace
    layer: Any
    name: str
    inputs: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[tuple[int | None, ...], ...]
    masked: bool

    def add(self, op: str, settings: Any = None, weights: Any = None, masked: bool = False, name: str = "") -> str:
        """A node that reads what the layer reads."""
        return self.trace.add(name or self.name, op, self.inputs, settings, weights, masked and self.masked)

    def then(self, op: str, before: str, settings: Any = None, name: str = "") -> str:
        """A node after another one."""
        return self.trace.add(name or f"{self.name}_{op}", op, (before,), settings)

    def only(self, **settings: Any) -> None:
        """Raises ModelError where a setting of the layer is not what it is said here to be."""
        for name, value in settings.items():
            there = getattr(self.layer, name, value)
            there = there[0] if isinstance(there, (tuple, list)) and len(there) == 1 else there
            if there != value:
                raise ModelError(f"{name}={there!r} is not supported; {value!r} is")


def numbers(variable: Any) -> np.ndarray:
    """A Keras variable or tensor as an array, whatever the backend."""
    from keras import ops

    found: np.ndarray = np.asarray(ops.convert_to_numpy(variable))
    return found


def activation_name(function: Any) -> str:
    """Our name of a Keras activation. Raises ModelError where there is none."""
    name = getattr(function, "__name__", type(function).__name__).replace("_", "-")
    name = {"swish": "silu"}.get(name, name)
    if name not in ACTIVATIONS:
        raise ModelError(f"activation {name} is not supported; there is {', '.join(ACTIVATIONS)}")
    return name


def activated(call: Call, before: str, function: Any) -> str:
    """A result with a Keras activation after it."""
    name = activation_name(function)
    return before if name == "linear" else call.then("activate", before, {"kind": name}, f"{call.name}_{name}")
