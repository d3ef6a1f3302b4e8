"""A compressed Keras model as a .tflite file, run by LiteRT and compared with torch before it is said to be done.

The file reads the ids of one text and says what the Keras model said: shares of classes, or of a model without a last
activation its numbers. Weights of one scale a row stay 8-bit codes.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pocketlm.errors import ModelError
from pocketlm.export.flat import FREE, File
from pocketlm.export.litert_nodes import write_node
from pocketlm.export.litert_writer import Writer, activated
from pocketlm.model.keras_model import LEAST, SAMPLED, log_odds, probabilities, sampled
from pocketlm.model.pretrained import Model
from pocketlm.model.text_graph import IDS, TextGraph

# ‖litert − torch‖ / ‖torch‖ of log-odds: of float sums in another order, and of inputs that LiteRT rounds to 8 bits.
FLOAT_DIFFERENCE, INTEGER_DIFFERENCE = 1e-3, 0.1
# Texts that are compared.
TEXTS = 6


@dataclass(frozen=True)
class Written:
    """A written file. difference: ‖litert − torch‖ / ‖torch‖ of log-odds.

    integers, floats: how many matrices are held as codes, and how many as floats.
    """

    path: Path
    size_bytes: int
    difference: float
    integers: int
    floats: int


def export_litert(model: Model, path: str | Path) -> Written:
    """Write a model that came from Keras as LiteRT runs it.

    Raises ModelError for another model, for what LiteRT has no operator for, and where it answers otherwise than torch;
    then no file is left.
    """
    path = Path(path)
    module = model.module
    if not isinstance(module, TextGraph):
        raise ModelError(f"{model.spec.architecture}: LiteRT export is for models that came from Keras")
    data, writer = _file(module, model.spec.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        aside = Path(folder) / path.name
        aside.write_bytes(data)
        found = difference(module, aside)
        allowed = INTEGER_DIFFERENCE if writer.integers else FLOAT_DIFFERENCE
        if not found <= allowed:
            raise ModelError(f"{path}: LiteRT differs from torch by {found:.2g} of its answer, more than {allowed:g}")
        os.replace(aside, path)
    return Written(path, len(data), found, writer.integers, writer.floats)


def _file(module: TextGraph, source: str) -> tuple[bytes, Writer]:
    config = module.config
    file = File()
    graph = file.graph("main")
    writer = Writer(file, graph)
    ids = graph.tensor([1, config.length or FREE], "INT32", IDS)
    graph.inputs = [ids]
    if any(node.masked for node in config.nodes):
        words = graph.add("NOT_EQUAL", [ids, graph.constant(0, "int32")], graph.shape(ids), "BOOL")
        kinds = file.schema.TensorType
        writer.mask = graph.add("CAST", [words], graph.shape(ids), inDataType=kinds.BOOL, outDataType=kinds.FLOAT32)
    values, paths = {IDS: ids}, module.paths
    for node in config.nodes:
        given = [values[name] for name in node.inputs]
        values[node.name] = write_node(writer, node, module.get_submodule(paths[node.name]), given)
    last = values[config.nodes[-1].name]
    if config.final != "linear":
        last = activated(writer, config.final, last)
    graph.tensors[last].name = "probabilities" if config.final != "linear" else "logits"
    graph.outputs = [last]
    return file.write(f"PocketLM: {source}"), writer


def load_litert(path: str | Path) -> Any:
    """An interpreter of the file, on one thread. Raises ModelError where LiteRT does not take it."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        made = Interpreter(str(path), num_threads=1)
        made.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: LiteRT does not run it: {' '.join(str(error).split())[:200]}") from error
    return made


def run_litert(interpreter: Any, ids: np.ndarray) -> np.ndarray:
    """What the file says of ids (texts, places), a text at a time."""
    given, said = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if tuple(given["shape"]) != (1, ids.shape[1]):
        interpreter.resize_tensor_input(given["index"], (1, ids.shape[1]))
        interpreter.allocate_tensors()
    found = []
    for row in ids:
        interpreter.set_tensor(given["index"], row[None].astype(np.int32))
        interpreter.invoke()
        found.append(interpreter.get_tensor(said["index"])[0])
    return np.stack(found)


def difference(module: TextGraph, path: Path) -> float:
    """‖litert − torch‖ / ‖torch‖ of log-odds over random ids, some with padding; at two lengths where that is free."""
    interpreter = load_litert(path)
    lengths = [module.config.length] if module.config.length else [SAMPLED, SAMPLED // 2]
    lost = whole = 0.0
    for seed, length in enumerate(lengths):
        ids = sampled(module.config, TEXTS, seed)[:, :length]
        with torch.no_grad():
            wanted = log_odds(probabilities(module, ids).numpy(), module.config.final)
        found = log_odds(run_litert(interpreter, ids.numpy()), module.config.final)
        if found.shape != wanted.shape:
            return float("inf")
        lost, whole = lost + float(np.square(found - wanted).sum()), whole + float(np.square(wanted).sum())
    return float(np.sqrt(lost) / max(np.sqrt(whole), LEAST))
