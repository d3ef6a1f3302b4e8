"""Write a bag model as the arrays that `runtime.bag` reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel
from pocketlm.runtime.inputs import BagInputs, PieceBagInputs
from pocketlm.runtime.packed import pack


def bag_members(model: TaskModel) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest's description of the model, and its members by name."""
    module = model.module
    assert isinstance(module, BagModule)
    bits = model.spec.bits
    arrays: dict[str, tuple[np.ndarray, int]] = {
        "table": (module.stored_table().detach().numpy(), bits.get("table", 32))
    }
    linear = bits.get("linear", 32)
    if module.hidden:
        arrays["norm.weight"] = (module.norm.weight.detach().numpy(), 32)
        arrays["norm.bias"] = (module.norm.bias.detach().numpy(), 32)
    layers: dict[str, Any] = dict(module.heads.items())
    if module.window:
        layers["context"] = module.context
    for name, layer in layers.items():
        arrays[f"{name}.weight"] = (layer.weight.detach().numpy(), linear)
        arrays[f"{name}.bias"] = (layer.bias.detach().numpy(), 32)
    packed = {name: pack(array, own) for name, (array, own) in arrays.items()}
    about = {
        "kind": "bag",
        "hidden": module.hidden,
        "window": module.window,
        "arrays": {name: own for name, (own, _) in packed.items()},
        "inputs": _inputs(model),
    }
    members = {name: data for name, (_, data) in packed.items()}
    return about, {**members, **_input_members(model)}


def _inputs(model: TaskModel) -> dict[str, Any]:
    inputs = model.inputs
    if isinstance(inputs, BagInputs):
        return {
            "kind": "ngrams",
            "tagging": inputs.tagging,
            "max_words": inputs.max_words,
            "ngrams": inputs.ngrams.to_json(),
        }
    assert isinstance(inputs, PieceBagInputs)
    pieces = inputs.pieces
    return {"kind": "piece-bag", "tagging": inputs.tagging, "max_length": pieces.max_length, "pad_id": pieces.pad_id}


def _input_members(model: TaskModel) -> dict[str, bytes]:
    inputs = model.inputs
    if isinstance(inputs, BagInputs):
        assert inputs.lookup is not None
        return {"kept.bits": np.packbits(inputs.lookup >= 0).tobytes()}
    assert isinstance(inputs, PieceBagInputs)
    return {"tokenizer.json": inputs.pieces.tokenizer.to_str().encode()}
