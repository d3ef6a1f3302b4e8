"""The building blocks: there, of the sizes that are told of them, and timed."""

import json
from importlib import resources

import blocks as maker
import onnx
import pytest

from pocketlm.measure import calibrate
from pocketlm.measure.device import UNITS, read_device
from pocketlm.measure.fresh import measure_pocket
from pocketlm.pocket.format import read_pocket
from pocketlm.runtime.load import load
from pocketlm.search.work import nodes_of

ABOUT = calibrate.described()


@pytest.mark.parametrize("block", ABOUT["blocks"], ids=lambda block: block["pocket"])
def test_every_block_answers_every_text(block):
    pocket = load(str(calibrate.BLOCKS.joinpath(block["pocket"])))
    assert len(pocket.predict(ABOUT["texts"])) == len(block["works"]) == len(ABOUT["texts"])
    assert all(set(work) <= set(UNITS) for work in block["works"])


def test_blocks_are_what_would_be_written_today(tmp_path):
    maker.write(tmp_path)
    today = json.loads((tmp_path / "blocks.json").read_text("utf-8"))
    assert {**today, "usual": None} == {**ABOUT, "usual": None}
    for block in ABOUT["blocks"]:
        kept = read_pocket(calibrate.BLOCKS.joinpath(block["pocket"]))
        made = read_pocket(tmp_path / block["pocket"])
        assert kept.manifest["model"] == made.manifest["model"], block["pocket"]
        assert sizes(kept) == sizes(made), block["pocket"]


def sizes(file):
    return {name: len(data) for name, data in file.members.items() if name != "graph.onnx"}


@pytest.mark.parametrize(
    "name", [name for name, student in maker.STUDENTS.items() if name.startswith(("convnet", "transformer"))]
)
def test_nodes_are_counted_as_graphs_have_them(name):
    graph = onnx.load_from_string(read_pocket(calibrate.BLOCKS.joinpath(f"{name}.pocket")).members["graph.onnx"])
    halved = sum(name.endswith(".half") for node in graph.graph.node for name in node.input)
    assert len(graph.graph.node) - halved == nodes_of(maker.STUDENTS[name])


def test_this_machine_is_calibrated_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured = {"milliseconds": [[0.2 + len(work) / 100 for work in block["works"]] for block in ABOUT["blocks"]]}
    asked, said = [], []
    memory = {calibrate.GRAPH: 50_000_000, calibrate.LIGHT: 30_000_000}
    monkeypatch.setattr(calibrate, "in_fresh_process", lambda *_: asked.append(1) or measured)
    monkeypatch.setattr(calibrate, "_memory", lambda block, texts: memory[block])
    first, second = calibrate.this_machine(said.append), calibrate.this_machine(said.append)
    assert len(asked) == len(said) == 1, "it is told where it is measured, and not where that is remembered"
    assert first.runtime_bytes == second.runtime_bytes == 50_000_000
    assert first.light_bytes == second.light_bytes == 30_000_000
    assert second.microseconds == pytest.approx(dict(first.microseconds), rel=1e-2)
    (kept,) = tmp_path.rglob("*.yaml")
    kept.write_text("broken", "utf-8")
    assert calibrate.this_machine().name == first.name
    assert len(asked) == 2
    assert read_device(kept)


@pytest.mark.slow
def test_a_machine_is_timed_by_its_blocks():
    device = calibrate.calibrate("here")
    assert device.name == "here"
    assert set(device.microseconds) == set(UNITS)
    assert all(rate > 0 for rate in device.microseconds.values())
    assert 10_000_000 < device.light_bytes < device.runtime_bytes, "numpy alone, and ONNX Runtime with it"
    with resources.as_file(calibrate.BLOCKS.joinpath("transformer-4.pocket")) as path:
        larger = measure_pocket(path, ABOUT["texts"])["memory_bytes"]
    assert device.runtime_bytes < larger, "at least so much, of any graph"
