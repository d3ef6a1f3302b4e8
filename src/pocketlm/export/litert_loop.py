"""Recurrent layers as LiteRT loops: what reads the input is one product before, what reads the state is in the loop."""

from __future__ import annotations

from typing import Any

from pocketlm.export.flat import FREE, Graph
from pocketlm.export.litert_writer import Writer, activated
from pocketlm.model.layers import packed


def recurrent(out: Writer, module: Any, x: int, masked: bool = False) -> int:
    """The last state (1, units), or every one (1, places, units), in the order they were read."""
    graph, units = out.graph, module.units
    mask = out.place_mask() if masked else -1
    read = out.linear(module.input, x)
    if module.backwards:
        read = graph.add("REVERSE_V2", [read, graph.ints(1)], graph.shape(read))
        mask = graph.add("REVERSE_V2", [mask, graph.ints(1)], graph.shape(mask)) if masked else mask
    places = graph.shape(read)[1]
    start = graph.constant([[0.0] * units])
    state = [graph.constant(0, "int32"), read, start, start]
    if module.sequences:
        part = graph.add("SLICE", [read, graph.ints(0, 0, 0), graph.ints(1, FREE, units)], [1, places, units])
        state.append(out.scalar("MUL", part, 0.0))
    if masked:
        state.append(mask)
    shapes = [graph.shape(one) for one in state]
    condition = _condition(out, shapes)
    body = _body(out, module, shapes, masked)
    results = [graph.tensor(shape, "FLOAT32" if place else "INT32") for place, shape in enumerate(shapes)]
    graph.operator("WHILE", state, results, condSubgraphIndex=condition.number, bodySubgraphIndex=body.number)
    return results[4] if module.sequences else results[2]


def _graph(out: Writer, name: str, shapes: list[list[int]]) -> Graph:
    graph = out.file.graph(f"{name}.{len(out.file.graphs)}")
    graph.inputs = [graph.tensor(shape, "FLOAT32" if place else "INT32") for place, shape in enumerate(shapes)]
    return graph


def _condition(out: Writer, shapes: list[list[int]]) -> Graph:
    """Whether there is a place still to be read."""
    graph = _graph(out, "condition", shapes)
    kinds = out.file.schema.TensorType
    shape = graph.add("SHAPE", [graph.inputs[1]], [3], "INT32", outType=kinds.INT32)
    count = graph.add("GATHER", [shape, graph.constant(1, "int32")], [], "INT32")
    graph.outputs = [graph.add("LESS", [graph.inputs[0], count], [], "BOOL")]
    return graph


def _body(out: Writer, module: Any, shapes: list[list[int]], masked: bool) -> Graph:
    """One place read: the number of the next one, and the states it leaves."""
    graph = _graph(out, "body", shapes)
    inner = Writer(out.file, graph)
    place, read, hidden, state, *more = graph.inputs
    now = graph.add("GATHER", [read, place], [1, shapes[1][2]], axis=1)
    new, kept = _step(inner, module, now, hidden, state)
    if masked:
        seen = graph.add("GATHER", [more[-1], place], [1], axis=1)
        new, kept = (_chosen(inner, seen, one, old) for one, old in ((new, hidden), (kept, state)))
    following = graph.add("ADD", [place, graph.constant(1, "int32")], [], "INT32")
    graph.outputs = [following, read, new, kept]
    if module.sequences:
        zero = graph.ints(0)
        where = graph.add("CONCATENATION", [zero, inner_row(graph, place), zero], [3], "INT32", axis=0)
        row = inner.reshaped(new, [1, 1, module.units])
        graph.outputs.append(graph.add("DYNAMIC_UPDATE_SLICE", [more[0], row, where], shapes[4]))
    if masked:
        graph.outputs.append(more[-1])
    out.integers, out.floats = out.integers + inner.integers, out.floats + inner.floats
    return graph


def inner_row(graph: Graph, place: int) -> int:
    """A number as a list of one."""
    return graph.add("RESHAPE", [place, graph.ints(1)], [1], "INT32", newShape=[1])


def _chosen(out: Writer, seen: int, new: int, old: int) -> int:
    """The new state where there is a word, the old one where there is padding."""
    return out.binary("ADD", old, out.binary("MUL", seen, out.binary("SUB", new, old)))


def _step(out: Writer, module: Any, read: int, hidden: int, state: int) -> tuple[int, int]:
    """As `Recurrent._step`."""
    again = out.linear(packed(module.recurrent), hidden)
    propose, gate = module.activations
    units = module.units
    if module.cell == "rnn":
        return (new := activated(out, propose, out.binary("ADD", read, again))), new
    if module.cell == "lstm":
        i, f, g, o = _parts(out, out.binary("ADD", read, again), units, 4)
        forgot = out.binary("MUL", activated(out, gate, f), state)
        state = out.binary("ADD", forgot, out.binary("MUL", activated(out, gate, i), activated(out, propose, g)))
        return out.binary("MUL", activated(out, gate, o), activated(out, propose, state)), state
    (z, r, h), (again_z, again_r, again_h) = _parts(out, read, units, 3), _parts(out, again, units, 3)
    z, r = (activated(out, gate, out.binary("ADD", one, two)) for one, two in ((z, again_z), (r, again_r)))
    new = activated(out, propose, out.binary("ADD", h, out.binary("MUL", r, again_h)))
    mixed = out.binary("ADD", new, out.binary("MUL", z, out.binary("SUB", hidden, new)))
    return mixed, mixed


def _parts(out: Writer, x: int, units: int, count: int) -> list[int]:
    graph = out.graph
    return [
        graph.add("SLICE", [x, graph.ints(0, place * units), graph.ints(1, units)], [1, units])
        for place in range(count)
    ]
