"""An ONNX graph of a Pocket, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Arrays


class GraphModel:
    """Runs the graph of a Pocket of kind "onnx". threads: 0 lets onnxruntime choose."""

    def __init__(self, graph: bytes, outputs: Sequence[Output], threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = options.inter_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in outputs]

    def run(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        """Logits of every output: (texts, labels), or (words of all texts, labels) for tags."""
        values: Sequence[Any] = self._session.run(self._names, arrays)
        return dict(zip(self._names, values, strict=True))
