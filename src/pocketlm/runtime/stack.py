"""An ONNX graph and a bag of n-grams that say something of the same text: their logits are added."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocketlm.runtime.bag import BagModel
from pocketlm.runtime.graph import GraphModel
from pocketlm.runtime.inputs import Arrays

# What `BagInputs` gives a bag of a text; a graph reads the rest.
BAG_ARRAYS = ("ids", "weights", "offsets")


class StackModel:
    """Runs both models of a Pocket of kind "stack"."""

    def __init__(self, graph: GraphModel, bag: BagModel) -> None:
        self._graph = graph
        self._bag = bag

    def run(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        """Logits of every output: (texts, labels)."""
        said = self._graph.run({name: array for name, array in arrays.items() if name not in BAG_ARRAYS})
        beside = self._bag.run({name: arrays[name] for name in BAG_ARRAYS})
        return {name: logits + beside[name] for name, logits in said.items()}
