"""Large constants of several graphs in one run of bytes, each kept once however many graphs read it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from onnx import ModelProto, TensorProto

# Smaller ones stay in their graph: shapes, biases of little models.
LEAST_BYTES = 512
# Where a constant may begin: the runtime maps it as it lies.
ALIGNMENT = 64
FILE = "weights.bin"


@dataclass
class Store:
    """Bytes of constants as they come. data: all of them so far."""

    data: bytearray = field(default_factory=bytearray)
    _places: dict[bytes, int] = field(default_factory=dict)

    def take(self, graph: ModelProto) -> None:
        """Move the graph's large constants here; the graph then says where they lie in `FILE`."""
        for one in graph.graph.initializer:
            if len(one.raw_data) >= LEAST_BYTES:
                self._move(one)

    def _move(self, constant: TensorProto) -> None:
        raw = constant.raw_data
        digest = hashlib.sha256(raw).digest()
        if digest not in self._places:
            self.data += bytes(-len(self.data) % ALIGNMENT)
            self._places[digest] = len(self.data)
            self.data += raw
        constant.ClearField("raw_data")
        constant.data_location = TensorProto.EXTERNAL
        for key, value in (("location", FILE), ("offset", self._places[digest]), ("length", len(raw))):
            constant.external_data.add(key=key, value=str(value))
