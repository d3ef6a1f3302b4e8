"""A model of Llama's kind as a GGUF file, which llama.cpp loads as it is.

Matrices in blocks of ggml's types (the pass `ggml-quantize`) go in as they are, plain ones as F16, or as BF16 or F32
where that would lose something; vectors as F32. The file is read back by the `gguf` package, which decodes it without
any of this code, and compared with what torch runs, before it is said to be done.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pocketlm.errors import MissingExtraError, ModelError
from pocketlm.export.gguf_shape import Shape, shape_of, write_shape
from pocketlm.export.gguf_tokenizer import write_tokenizer
from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.layers import PackedLinear, packed
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight


@dataclass(frozen=True)
class Written:
    """A written file. types: how many tensors of each type it holds."""

    path: Path
    size_bytes: int
    types: Mapping[str, int]


@dataclass(frozen=True)
class _Entry:
    """A tensor under its name in the file. data: its rows as they are stored. values: what they stand for, float32."""

    name: str
    type: str
    data: NDArray[Any]
    values: Tensor


def export_gguf(model: Model, path: str | Path) -> Written:
    """Write a model of a type in `gguf_shape.ARCHITECTURES`, with its tokenizer, as GGUF.

    Written aside and put in place when whole. Raises ModelError where it cannot be, or the file does not decode to what
    torch runs; MissingExtraError without the package `gguf`.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("GGUF export", "gguf") from None
    path = Path(path)
    shape = shape_of(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        aside = Path(folder) / path.name
        writer = gguf.GGUFWriter(aside, shape.architecture)
        types: Counter[str] = Counter()
        for one in _entries(model, shape):
            types[one.type] += 1
            writer.add_tensor(one.name, one.data, raw_dtype=gguf.GGMLQuantizationType[one.type])
        writer.add_name(Path(model.spec.source).name)
        write_shape(writer, shape)
        write_tokenizer(writer, model.tokenizer, shape.vocabulary)
        writer.add_file_type(_file_type(types))
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        _prove(model, shape, aside, path)
        os.replace(aside, path)
    return Written(path, path.stat().st_size, dict(types))


def _prove(model: Model, shape: Shape, aside: Path, path: Path) -> None:
    """Raises ModelError where a tensor of the file does not decode to what torch runs, to the bit."""
    import gguf

    stored = {one.name: one for one in gguf.GGUFReader(aside).tensors}
    for one in _entries(model, shape):
        found = stored.pop(one.name)
        values = gguf.dequantize(found.data, found.tensor_type).astype(np.float32)
        if values.shape != tuple(one.values.shape) or not np.array_equal(values, one.values.numpy()):
            raise ModelError(f"{path}: tensor {one.name} decodes to other values than the model's; no file is left")
    assert not stored


def _entries(model: Model, shape: Shape) -> Iterator[_Entry]:
    """Every tensor of the file, one at a time."""
    import gguf

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[shape.architecture.upper()], shape.blocks)

    def named(name: str) -> str:
        found: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise ModelError(f"weight {name}: has no place in a GGUF of {shape.architecture}")
        return found

    owners = set()
    for layer in model.layers:
        owners.add(layer.name)
        if layer.name == shape.tied_head:
            continue
        module = model.module.get_submodule(layer.name)
        yield _matrix(named(f"{layer.name}.weight"), layer.name, module, shape.row_order(layer.name))
    for name, vector in model.module.named_parameters():
        owner, _, last = name.rpartition(".")
        if (owner in owners and last == "weight") or any(name.startswith(f"{one}.stored.") for one in owners):
            continue
        order = shape.row_order(owner)
        values = vector.detach().float() if order is None else vector.detach().float()[order]
        yield _Entry(named(name), "F32", values.numpy(), values)
    if shape.frequency_factors is not None:
        yield _Entry("rope_freqs.weight", "F32", shape.frequency_factors.numpy(), shape.frequency_factors)


def _matrix(name: str, layer: str, module: Any, order: Tensor | None) -> _Entry:
    """A layer's matrix, its rows in the order that the file has them."""
    owner = packed(module)
    stored = owner.stored
    if isinstance(owner, PackedLinear) and owner.rounding is not None:
        raise ModelError(f"layer {layer}: reads inputs of 8 bits, which a GGUF does not say; leave the pass int8 out")
    if isinstance(stored, BlockWeight):
        data, values = stored.packed(), stored.matrix()
        if order is not None:
            data, values = data[order.numpy()], values[order]
        return _Entry(name, stored.kind.name, np.ascontiguousarray(data), values)
    if not isinstance(stored, DenseWeight):
        form = stored.settings()["kind"]
        raise ModelError(
            f"layer {layer}: is held in the form '{form}', which a GGUF has not; use the pass ggml-quantize alone"
        )
    values = stored.matrix().detach()
    return _plain(name, values if order is None else values[order])


def _plain(name: str, values: Tensor) -> _Entry:
    """A matrix as F16, BF16 or F32, the first that loses nothing."""
    for kind, dtype in (("F16", torch.float16), ("BF16", torch.bfloat16)):
        rounded = values.to(dtype)
        if torch.equal(rounded.float(), values):
            raw = rounded.contiguous().view(torch.uint8).numpy() if kind == "BF16" else rounded.contiguous().numpy()
            return _Entry(name, kind, raw, values)
    return _Entry(name, "F32", values.contiguous().numpy(), values)


def _file_type(types: Mapping[str, int]) -> int:
    """What the file says it mostly is: the most frequent type of matrices."""
    import gguf

    matrices = {name: count for name, count in types.items() if name != "F32"}
    most = max(matrices, key=lambda name: matrices[name], default="F32")
    known = gguf.LlamaFileType.__members__
    name = next(one for one in (f"MOSTLY_{most}", f"MOSTLY_{most}_S", "ALL_F32") if one in known)
    return int(known[name])
