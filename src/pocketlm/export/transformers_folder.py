"""A model as a folder that `transformers` opens: plain tensors in the model's own type, under its class's names.

For models whose weights are plain and whose blocks are as their class makes them: of trimmed, retrained or healed ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pocketlm.errors import ModelError, OutputError
from pocketlm.model.encoder import quiet
from pocketlm.model.folder import folder_bytes, put_in_place
from pocketlm.model.pretrained import Model, load_model
from pocketlm.model.rebuild import packed_layers

# Whose modules are changed so much on loading that their tensors have other names.
_OTHER_NAMES = ("mixtral", "qwen2_moe", "qwen3_moe", "whisper", "marian", "keras")


def export_folder(model: Model, folder: str | Path) -> int:
    """Write the folder, its size in bytes; proved by opening it again, every tensor bit-equal.

    Raises ModelError for a model whose form `transformers` has no class for, OutputError where the folder exists.
    """
    folder, spec = Path(folder), model.spec
    if folder.exists():
        raise OutputError(f"{folder}: exists already")
    odd = next(iter(packed_layers(model.module)), None)
    if spec.model_type in _OTHER_NAMES or spec.kept or spec.attributes or odd:
        why = f"layer {odd} is quantized or factorized" if odd else f"it is a changed or fused {spec.model_type}"
        raise ModelError(f"model {spec.source}: transformers cannot open it: {why}; it opens models of plain weights")
    with put_in_place(folder.resolve()) as new, quiet():
        plain: Any = _plain(model)
        plain.save_pretrained(new)
        if model.tokenizer is not None:
            model.tokenizer.save_pretrained(new)
        _prove(model, load_model(new, "auto"))
    return folder_bytes(folder)


def _plain(model: Model) -> Any:
    """A fresh module of the model's class with its weights, matrices turned back where the class has them so."""
    import transformers
    from transformers.pytorch_utils import Conv1D

    kind = getattr(transformers, model.spec.architecture)
    dtype = getattr(torch, model.spec.dtype)
    module = kind(model.module.config).to(dtype)
    turned = {f"{name}.weight" for name, child in module.named_modules() if isinstance(child, Conv1D)}
    state: dict[str, Tensor] = {
        name: (tensor.t().contiguous() if name in turned else tensor)
        for name, tensor in model.module.state_dict().items()
    }
    module.load_state_dict(state)
    if getattr(model.module, "generation_config", None) is not None:
        module.generation_config = model.module.generation_config
    return module


def _prove(model: Model, again: Model) -> None:
    dtype = getattr(torch, model.spec.dtype)
    found = again.module.state_dict()
    for name, tensor in model.module.state_dict().items():
        stored = tensor.to(dtype) if tensor.is_floating_point() else tensor
        if name not in found or not torch.equal(found[name].to(stored.dtype), stored):
            raise ModelError(f"model {model.spec.source}: tensor {name} is another when transformers opens the folder")
