"""A compressed model that came from Keras as a Pocket: its ONNX graph, its words and the names of its classes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from pocketlm.errors import ModelError
from pocketlm.export.compressed import export_onnx
from pocketlm.model.pretrained import Model
from pocketlm.model.text_graph import TextGraph
from pocketlm.outputs import Output
from pocketlm.pocket.format import write_pocket

# Ids read of a text where the model does not say how many.
MOST_IDS = 512


@dataclass(frozen=True)
class Packed:
    """A written Pocket. difference: ‖onnx − torch‖ / ‖torch‖."""

    path: Path
    size_bytes: int
    difference: float


def output_of(module: TextGraph) -> Output:
    """What the model says, as tasks know it: one label a text, or of sigmoids for more than two any number."""
    config = module.config
    several = config.final == "sigmoid" and not config.binary
    return Output("label", "multi" if several else "single", tuple(config.label2id))


def export_pocket(model: Model, path: str | Path, *, force: bool = False) -> Packed:
    """Write a model of classes that came from Keras as a Pocket. Raises ModelError for another, or without words."""
    module, path = model.module, Path(path)
    if not isinstance(module, TextGraph):
        raise ModelError(f"{model.spec.architecture}: a folder is written as a Pocket where the model came from Keras")
    if model.tokenizer is None:
        raise ModelError(f"model {model.spec.source}: reads ids and has no words, which a Pocket needs to read texts")
    output = output_of(module)
    with tempfile.TemporaryDirectory() as folder:
        found = export_onnx(model, Path(folder) / "graph.onnx", allow_no_effect=True)
        graph = onnx.load(found.path)
    said = graph.graph.output[0].name
    if len(graph.graph.output[0].type.tensor_type.shape.dim) != 2:
        raise ModelError(f"model {model.spec.source}: says something of every place; a Pocket is of whole texts")
    graph.graph.node.append(onnx.helper.make_node("Identity", [said], [output.name]))
    graph.graph.output[0].name = output.name
    manifest = {
        "task": {"multi": "multi-label", "single": "classification"}[output.kind],
        "outputs": [output.to_json()],
        "model": {
            "kind": "onnx",
            "inputs": {
                "kind": "pieces", "tagging": False, "max_length": module.config.length or MOST_IDS, "pad_id": 0
            },
        },
        "provenance": {"model": Path(model.spec.source).name, "passes": [one["pass"] for one in model.records]},
    }  # fmt: skip
    members = {
        "graph.onnx": graph.SerializeToString(deterministic=True),
        "tokenizer.json": model.tokenizer.backend.to_str().encode(),
    }
    return Packed(path, write_pocket(path, manifest, members, replace=force), found.difference)
