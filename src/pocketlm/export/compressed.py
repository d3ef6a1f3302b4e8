"""A compressed pretrained model as an ONNX graph, whatever shapes and forms its layers have.

The module is traced with every linear layer and embedding, and the experts of a block together, as a node of its own
(`stands`); each is then replaced by nodes for the form its weight has (`forms`). What the graph puts out is compared
with torch before it is said to be done, and integer products are timed against float ones on this machine.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from pocketlm.errors import ModelError, NoEffect
from pocketlm.export.int8 import LEAST_GAIN, time_ratio
from pocketlm.export.onnx import OPSET, _quiet, clean
from pocketlm.export.stands import fill, stood_in
from pocketlm.model.pretrained import Model

logger = logging.getLogger(__name__)

KINDS = ("encoder", "decoder", "encoder-decoder")
# ‖onnx − torch‖ / ‖torch‖: of float sums in another order, and where a rounded input may fall on the other side.
FLOAT_DIFFERENCE, INTEGER_DIFFERENCE = 1e-3, 3e-2
# Protobuf holds less than 2 GiB: larger constants go into a file beside.
LARGEST_FILE = 1_900_000_000


@dataclass(frozen=True)
class Exported:
    """A written graph.

    difference: ‖onnx − torch‖ / ‖torch‖. integer_products: 8-bit layers. time_ratio: their graph's time over that of
    the same one in float, on one thread; None without them.
    """

    path: Path
    size_bytes: int
    difference: float
    integer_products: int = 0
    time_ratio: float | None = None


class _Plain(nn.Module):
    """The module as a function of tensors that returns one tensor."""

    def __init__(self, module: nn.Module, cached: bool) -> None:
        super().__init__()
        self.module, self.cached = module, cached

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Logits, or hidden states of a module without a head."""
        rest = {"use_cache": False} if self.cached else {}
        found: Tensor = self.module(**inputs, return_dict=True, **rest)[0]
        return found


def sample_inputs(model: Model, texts: int, tokens: int, seed: int = 0) -> dict[str, Tensor]:
    """Random token ids that the model can read, the last text padded: its inputs by name."""
    generator = torch.Generator().manual_seed(seed)
    words = int(model.module.get_input_embeddings().weight.shape[0])
    ids = torch.randint(words, (texts, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, tokens - tokens // 3 :] = 0
    pad = getattr(model.module.config, "pad_token_id", None)
    if pad is not None:  # by which a decoder with classes knows where a text ends
        ids = ids.masked_fill(mask == 0, pad)
    inputs = {"input_ids": ids, "attention_mask": mask}
    names = getattr(model.tokenizer, "model_input_names", ())
    if "token_type_ids" in names and getattr(model.module.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    if model.spec.kind == "encoder-decoder":
        inputs["decoder_input_ids"] = torch.randint(words, (texts, tokens - 1), generator=generator)
    return inputs


def _trace(model: Model, module: nn.Module) -> ModelProto:
    inputs = sample_inputs(model, 3, 7)
    longest = getattr(model.module.config, "max_position_embeddings", None) or 4096
    most = max(8, int(longest) - 2)  # RoBERTa's first two positions are no token's
    texts = torch.export.Dim("texts", min=1, max=2**16)
    spans = {
        name: torch.export.Dim(name, min=2, max=most)
        for name in ("tokens", *(["decoder_tokens"] if "decoder_input_ids" in inputs else []))
    }
    dynamic = {
        name: {0: texts, 1: spans["decoder_tokens" if name.startswith("decoder") else "tokens"]} for name in inputs
    }
    plain = _Plain(module, model.spec.kind != "encoder").eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                plain, (), kwargs={"inputs": inputs}, dynamo=True, dynamic_shapes={"inputs": dynamic},
                input_names=list(inputs), output_names=[_head(model)], opset_version=OPSET, verbose=False,
            )  # fmt: skip
    except Exception as error:
        why = " ".join(str(error.__cause__ or error).split())
        raise ModelError(f"{model.spec.architecture}: cannot be traced to ONNX: {why[:200]}") from error
    assert program is not None
    return clean(program.model_proto)


def _head(model: Model) -> str:
    """The name of what the module puts out first."""
    return "last_hidden_state" if model.spec.architecture.endswith("Model") else "logits"


def _write(graph: ModelProto, path: Path) -> int:
    """Bytes of the file, and of the one beside it where it needs one."""
    if graph.ByteSize() <= LARGEST_FILE:
        path.write_bytes(graph.SerializeToString(deterministic=True))
        return path.stat().st_size
    beside = _beside(path)
    onnx.save(graph, path, save_as_external_data=True, location=beside.name)
    return path.stat().st_size + beside.stat().st_size


def _beside(path: Path) -> Path:
    """The file of large constants of a graph's file."""
    return path.with_name(f"{path.name}.data")


def _put(new: Path, path: Path) -> None:
    """A graph's files in the place of older ones, constants first."""
    if _beside(new).exists():
        os.replace(_beside(new), _beside(path))
        os.replace(new, path)
    else:
        os.replace(new, path)
        _beside(path).unlink(missing_ok=True)


def run_graph(path: Path, inputs: Mapping[str, Tensor]) -> np.ndarray:
    """What the graph in a file puts out."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {one.name for one in session.get_inputs()}
    found: np.ndarray = session.run(None, {name: one.numpy() for name, one in inputs.items() if name in given})[0]
    return found


def difference(model: Model, path: Path) -> float:
    """The largest ‖onnx − torch‖ / ‖torch‖ over inputs of several shapes, padding left out."""
    worst = 0.0
    for place, (texts, tokens) in enumerate(((1, 6), (3, 11), (2, 17))):
        inputs = sample_inputs(model, texts, tokens, place + 1)
        with torch.no_grad():
            wanted = _Plain(model.module, model.spec.kind != "encoder")(inputs)
        found = torch.from_numpy(run_graph(path, inputs))
        if found.shape != wanted.shape:
            return float("inf")
        mask = inputs["attention_mask"].bool()
        if wanted.ndim == 3 and wanted.shape[:2] == mask.shape:
            found, wanted = found[mask], wanted[mask]
        worst = max(worst, float((found - wanted).norm() / wanted.norm().clamp(min=1e-30)))
    return worst if worst == worst else float("inf")


def export_onnx(model: Model, path: str | Path, *, allow_no_effect: bool = False) -> Exported:
    """Write a model of kind encoder, decoder or encoder-decoder as ONNX, with free numbers of texts and tokens.

    Inputs are input_ids and attention_mask (token_type_ids, decoder_input_ids where the model has them), the output is
    logits or last_hidden_state. Raises ModelError where it cannot be exported or differs from torch, NoEffect where
    its 8-bit layers are not faster than float ones on this machine and that is not allowed; then no file is left.
    """
    path = Path(path)
    if model.spec.kind not in KINDS:
        raise ModelError(
            f"{model.spec.architecture}: is of kind {model.spec.kind}; ONNX export is for {', '.join(KINDS)}"
        )
    module, parts = stood_in(model)
    traced = _trace(model, module)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        aside = Path(folder) / path.name
        graph, forms = fill(traced, parts, False)
        integers = forms.integer_products
        size = _write(graph, aside)
        found = difference(model, aside)
        allowed = INTEGER_DIFFERENCE if integers or forms.rounded_inputs else FLOAT_DIFFERENCE
        if found > allowed:
            raise ModelError(f"{path}: differs from torch by {found:.2g} of its size, more than {allowed:g}")
        ratio = None
        if integers:
            other = Path(folder) / "float.onnx"
            _write(fill(traced, parts, True)[0], other)
            ratio = time_ratio(str(aside), str(other), [_timed(model)])
            if ratio > LEAST_GAIN and not allow_no_effect:
                raise NoEffect(f"{path}: {integers} 8-bit layers take {ratio:.2f} times float's time on this machine")
        _put(aside, path)
    return Exported(path, size, found, integers, ratio)


def _timed(model: Model) -> dict[str, np.ndarray]:
    """What graphs are timed on."""
    return {name: one.numpy() for name, one in sample_inputs(model, 1, 32).items()}
