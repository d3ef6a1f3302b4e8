"""A GGUF's weights back in a model of `transformers`, in float32, for one evaluation of every system."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pocketlm.export.gguf_shape import Shape, shape_of
from pocketlm.model.pretrained import load_model


def gguf_names(shape: Shape, names: Iterable[str]) -> dict[str, str]:
    """The name in a GGUF of each weight of a model of this shape, "" where it has none."""
    import gguf

    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH[shape.architecture.upper()], shape.blocks)
    return {name: known.get_name(name, try_suffixes=(".weight", ".bias")) or "" for name in names}


def read_gguf(file: Path, source: Path, model: Any) -> None:
    """Dequantizes a GGUF of the model in the folder `source` into `model`, in place.

    Raises KeyError where a weight of the model is missing.
    """
    import gguf

    shape = shape_of(load_model(source))
    own = dict(model.named_parameters())
    stored = {one.name: one for one in gguf.GGUFReader(file).tensors}
    with torch.no_grad():
        for name, there in gguf_names(shape, own).items():
            weight, found = own[name], stored[there]
            values = torch.from_numpy(gguf.dequantize(found.data, found.tensor_type).astype(np.float32))
            order = shape.row_order(name.rpartition(".")[0])
            weight[slice(None) if order is None else order] = values
