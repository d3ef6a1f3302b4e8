"""Low-rank adapters for training: blocks learn by a product of two thin matrices, merged into their weights at the end.

LoRA, Hu et al. 2021, arXiv:2106.09685; the layers are those of the `peft` package.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pocketlm.errors import MissingExtraError
from pocketlm.model.anatomy import replace_module
from pocketlm.model.pretrained import Model


def add_adapters(model: Model, rank: int) -> None:
    """Give every linear layer of the blocks an adapter, in place: what is in a layer does not learn any more.

    Tables and norms learn as before. Raises MissingExtraError without `peft`.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtraError("an adapter", "adapters") from None
    names = [layer.name for layer in model.layers if layer.kind == "linear" and layer.block]
    free = [(name, weight) for name, weight in model.module.named_parameters() if name.rpartition(".")[0] not in names]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names), model.module)
    for _, weight in free:
        weight.requires_grad_(True)


def merge_adapters(module: nn.Module) -> None:
    """Add what adapters learnt to the weights they stand beside, and leave plain layers, in place."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: Any = [(name, one) for name, one in module.named_modules() if isinstance(one, BaseTunerLayer)]
    for name, layer in layers:
        layer.merge()
        replace_module(module, name, layer.get_base_layer())
