"""A GGUF's weights back in a model of `transformers`, in float32, for one evaluation of every system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pocketlm.export.gguf_shape import shape_of
from pocketlm.model.pretrained import load_model


def read_gguf(file: Path, source: Path, model: Any) -> None:
    """Dequantizes a GGUF of the model in the folder `source` into `model`, in place.

    Raises KeyError where a weight of the model is missing.
    """
    import gguf

    shape = shape_of(load_model(source))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[shape.architecture.upper()], shape.blocks)
    stored = {one.name: one for one in gguf.GGUFReader(file).tensors}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            found = stored[names.get_name(name, try_suffixes=(".weight", ".bias")) or ""]
            values = torch.from_numpy(gguf.dequantize(found.data, found.tensor_type).astype(np.float32))
            order = shape.row_order(name.rpartition(".")[0])
            weight[slice(None) if order is None else order] = values
