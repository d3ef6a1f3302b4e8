"""PocketLM: small language models that meet a budget, in one file, measured where they run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded when first used, so that `import pocketlm` stays light and the base install needs no torch.
_LAZY = {
    "Budget": "pocketlm.budget",
    "Model": "pocketlm.model.pretrained",
    "Pocket": "pocketlm.runtime.load",
    "Pretraining": "pocketlm.pretraining",
    "Recipe": "pocketlm.recipe.recipe",
    "Result": "pocketlm.build",
    "advise": "pocketlm.advice.data",
    "advise_model": "pocketlm.advice.model",
    "export_generator": "pocketlm.export.generator",
    "export_gguf": "pocketlm.export.gguf",
    "export_onnx": "pocketlm.export.compressed",
    "fit": "pocketlm.build",
    "load": "pocketlm.runtime.load",
    "load_model": "pocketlm.model.pretrained",
    "pretrain": "pocketlm.pretraining",
    "save_model": "pocketlm.model.pretrained",
}

__all__ = [
    "Budget",
    "Model",
    "Pocket",
    "Pretraining",
    "Recipe",
    "Result",
    "__version__",
    "advise",
    "advise_model",
    "export_generator",
    "export_gguf",
    "export_onnx",
    "fit",
    "load",
    "load_model",
    "pretrain",
    "save_model",
]

if TYPE_CHECKING:
    from pocketlm.advice.data import advise
    from pocketlm.advice.model import advise_model
    from pocketlm.budget import Budget
    from pocketlm.build import Result, fit
    from pocketlm.export.compressed import export_onnx
    from pocketlm.export.generator import export_generator
    from pocketlm.export.gguf import export_gguf
    from pocketlm.model.pretrained import Model, load_model, save_model
    from pocketlm.pretraining import Pretraining, pretrain
    from pocketlm.recipe.recipe import Recipe
    from pocketlm.runtime.load import Pocket, load


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'pocketlm' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
