"""Graphs that write text, run token by token: keys and values of past tokens stay where they are in memory.

The graph's outputs for keys and values are bound to the very arrays that its inputs read, so that a step copies nothing
of the past; memory is taken as it is filled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEIGHTS = "weights.bin"
Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float32]


class Graphs:
    """The graphs of a Pocket, opened when first run; all of them read the same bytes of weights."""

    def __init__(self, members: Mapping[str, bytes], threads: int) -> None:
        self._members, self._threads, self._open = dict(members), threads, {}  # type: ignore[var-annotated]

    def __getitem__(self, name: str) -> Any:
        """The session of the member `name`."""
        if name not in self._open:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            if self._threads:
                options.intra_op_num_threads = options.inter_op_num_threads = self._threads
            weights = self._members[WEIGHTS]
            options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
            self._open[name] = onnxruntime.InferenceSession(
                self._members[name], options, providers=["CPUExecutionProvider"]
            )
        return self._open[name]


def _value(array: NDArray[Any]) -> Any:
    """The array as onnxruntime's value, over the same memory."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


class Cache:
    """Keys and values of every block: arrays (rows, heads, room, size). shapes: heads and size of each block."""

    def __init__(self, shapes: Sequence[Sequence[int]], rows: int, room: int) -> None:
        self.shapes, self.rows, self.room = shapes, rows, room
        self.names = [f"{kind}.{block}" for block in range(len(shapes)) for kind in ("key", "value")]
        # zeros, which the system too hands out as they are touched: what memory held before may be no number
        self.arrays = [np.zeros((rows, heads, room, size), np.float32) for heads, size in shapes for _ in range(2)]
        self.values = [_value(array) for array in self.arrays]

    def taken(self, order: Ints, length: int) -> Cache:
        """A cache whose rows are these of this one, of which `length` tokens are filled; itself where rows stay."""
        if len(order) == self.rows:
            moved = np.flatnonzero(order != np.arange(self.rows))
            for array in self.arrays if len(moved) else ():
                array[moved, :, :length] = array[order[moved], :, :length]
            return self
        new = Cache(self.shapes, len(order), self.room)
        for array, old in zip(new.arrays, self.arrays, strict=True):
            array[:, :, :length] = old[order, :, :length]
        return new


class Run:
    """Rows of tokens that a decoder reads, all it has read of them kept.

    given: values that every step reads, by the name of the graph's input. lengths: (rows,) tokens read of each row.
    """

    def __init__(self, session: Any, cache: Cache, words: int, given: Mapping[str, Any]) -> None:
        self._session, self._cache, self._words, self._given = session, cache, words, dict(given)
        self._placed = any(one.name == "position_ids" for one in session.get_inputs())
        self.lengths = np.zeros(cache.rows, np.int64)
        self._step: tuple[Any, dict[str, NDArray[Any]], Floats] | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._cache.rows

    @property
    def room(self) -> int:
        """Tokens that a row has room for."""
        return self._cache.room

    def read(self, ids: Ints, counts: Ints | None = None, picks: Ints | None = None) -> Floats:
        """Logits after each row's last new token, (rows, words), or at `picks`, places in the flattened (rows, tokens).

        ids: (rows, tokens), filled up on the right; counts: how many of each row are new tokens, all without.
        """
        rows, width = ids.shape
        counts = np.full(rows, width) if counts is None else counts
        begins = self.lengths
        self.lengths = begins + counts
        if width == 1 and picks is None:
            return self._one_more(ids)
        picks = np.arange(rows) * width + counts - 1 if picks is None else picks
        arrays = self._arrays(ids, picks, begins)
        logits = np.empty((len(picks), self._words), np.float32)
        self._session.run_with_iobinding(self._bound(arrays, logits))
        return logits

    def take(self, order: Ints) -> None:
        """Rows become these of them, in this order; as many more as are wanted."""
        cache = self._cache.taken(order, int(self.lengths.max()))
        self.lengths = self.lengths[order]
        if cache is not self._cache:
            self._cache, self._step = cache, None

    def _one_more(self, ids: Ints) -> Floats:
        """Logits after one more token of each row: everything is bound once, and arrays are filled anew."""
        if self._step is None:
            arrays = self._arrays(ids, np.arange(self.rows), self.lengths - 1)
            logits = np.empty((self.rows, self._words), np.float32)
            self._step = self._bound(arrays, logits), arrays, logits
        binding, arrays, logits = self._step
        arrays["input_ids"][:] = ids
        arrays["lasts"][:] = self.lengths - 1
        arrays["total"][...] = self.lengths.max()
        if self._placed:
            arrays["position_ids"][:, 0] = self.lengths - 1
        self._session.run_with_iobinding(binding)
        return logits

    def _arrays(self, ids: Ints, picks: Ints, begins: Ints) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {
            "input_ids": np.ascontiguousarray(ids, np.int64),
            "lasts": (self.lengths - 1).astype(np.int32),
            "total": np.array(max(int(self.lengths.max()), int(begins.max()) + ids.shape[1]), np.int32),
            "picks": np.ascontiguousarray(picks, np.int64),
        }
        if self._placed:
            places = begins[:, None] + np.arange(ids.shape[1])
            arrays["position_ids"] = np.minimum(places, self.lengths[:, None] - 1)
        return arrays

    def _bound(self, arrays: Mapping[str, NDArray[Any]], logits: Floats) -> Any:
        binding = self._session.io_binding()
        for name, array in arrays.items():
            binding.bind_ortvalue_input(name, _value(array))
        for name, value in self._given.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(self._cache.names, self._cache.values, strict=True):
            binding.bind_ortvalue_input(f"past_{name}", value)
            binding.bind_ortvalue_output(f"present_{name}", value)
        binding.bind_ortvalue_output("logits", _value(logits))
        return binding


class Decoder:
    """What opens a run: of a decoder alone, or of an encoder-decoder with the sources that it translates.

    about: "caches", "words" and, of the first, nothing more, as the manifest has them.
    """

    def __init__(self, graphs: Graphs, about: Mapping[str, Any]) -> None:
        self.graphs, self.shapes, self.words = graphs, about["caches"], int(about["words"])

    def begin(self, rows: int, room: int) -> Run:
        """A run of a decoder alone."""
        return Run(self.graphs["decoder.onnx"], Cache(self.shapes, rows, room), self.words, {})

    def begin_from(self, sources: Ints, mask: Ints, room: int, chosen: Ints | None = None) -> Run:
        """A run of as many rows as sources (texts, tokens), whose keys and values are computed here, once.

        mask: 1 where a source has a token. chosen: ids of the only tokens that may be written; logits are then
        (rows, chosen), in this order, and no others are computed.
        """
        given = self._crossed(sources, mask)
        name, words = "decoder.onnx", self.words
        if chosen is not None:
            name, words = "short.onnx", len(chosen)
            columns, bias = self.graphs["columns.onnx"].run(["columns", "bias"], {"chosen_ids": chosen})
            given |= {"columns": _value(columns), "bias": _value(bias)}
        return Run(self.graphs[name], Cache(self.shapes, len(sources), room), words, given)

    def _crossed(self, sources: Ints, mask: Ints) -> dict[str, Any]:
        """Keys and values of the sources, and their mask."""
        session = self.graphs["encoder.onnx"]
        binding = session.io_binding()
        hides = _value(np.ascontiguousarray(mask, np.int32))
        binding.bind_ortvalue_input("input_ids", _value(np.ascontiguousarray(sources, np.int64)))
        binding.bind_ortvalue_input("source_mask", hides)
        names = [one.name for one in session.get_outputs()]
        for name in names:
            binding.bind_output(name, "cpu")
        session.run_with_iobinding(binding)
        return {"source_mask": hides, **dict(zip(names, binding.get_outputs(), strict=True))}
