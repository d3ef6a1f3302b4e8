"""A language model or an encoder-decoder as a Pocket that writes, with its weights in few bits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pocketlm import __version__
from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.gptq import Gptq
from pocketlm.compress.rounding import RoundToNearest
from pocketlm.errors import ModelError, UserError
from pocketlm.export.cached.decoder import draw_decoder
from pocketlm.export.cached.encoder_decoder import draw_encoder_decoder
from pocketlm.export.cached.graph import Graph
from pocketlm.export.cached.prove import Difference, difference
from pocketlm.export.cached.store import FILE, Store
from pocketlm.model.pretrained import Model
from pocketlm.pocket.format import check_output, write_pocket
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.generate import TEMPLATE

BITS = (4, 8, 16, 32)
# Rows of places are few and every token reads them: they keep 8 bits, or 16 where the module reads no ids.
PLACES, SHAPED = ("*wpe", "*relative_attention_bias"), ".embed_positions"
# Vectors and scores of words, which 4 bits harm more than all blocks together (docs/log.md), have 6 beside them.
WORD_BITS = {4: 6}
# ‖onnx − torch‖ / ‖torch‖ of logits: float sums in another order.
FLOAT_DIFFERENCE = 1e-3
# Of a generation config: what changes greedy text, and that the runtime has not.
UNKNOWN = (
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "min_new_tokens", "begin_suppress_tokens",
    "sequence_bias", "exponential_decay_length_penalty",
)  # fmt: skip


@dataclass(frozen=True)
class Packing:
    """How weights are stored that are not quantized yet.

    bits: 32 as they are, 16 as float16, 8 and 4 (vectors and scores of words: 6) on symmetric grids: by error feedback
    (GPTQ) where there is a calibration, else to nearest, clipped to the least squared error. group_size: columns that
    share a scale. rounded: whether products with few bits round their inputs to 8 bits a group, which is several times
    as fast.
    """

    bits: int = 32
    group_size: int = 64
    calibration: Calibration | None = None
    rounded: bool = True

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise UserError(f"bits are one of {', '.join(map(str, BITS))}, got {self.bits}")
        if self.group_size not in (16, 32, 64, 128, 256):
            raise UserError(f"group_size is 16, 32, 64, 128 or 256, got {self.group_size}")


@dataclass(frozen=True)
class Generated:
    """A written Pocket. bits_per_weight: of the whole file. difference: of logits, from torch's with these weights."""

    path: Path
    size_bytes: int
    bits_per_weight: float
    difference: Difference
    facts: Mapping[str, Any] = field(default_factory=dict)


def export_generator(
    model: Model, path: str | Path, packing: Packing | None = None, writing: Writing | None = None,
    task: str = "", force: bool = False,
) -> Generated:  # fmt: skip
    """Write a causal language model or an encoder-decoder as a Pocket that `pocketlm run` writes text with.

    Layers on a grid already, whatever pass made it, keep their codes to the bit. writing: how it writes where nothing
    is said. task: "generation", or for an encoder-decoder "translation", where it is "". Raises ModelError where the
    model cannot be drawn or its graph differs from torch, OutputError where the file exists and force is not given.
    """
    path, packing = Path(path), packing or Packing()
    check_output(path, replace=force)
    if model.tokenizer is None or not getattr(model.tokenizer, "is_fast", False):
        raise ModelError(f"{model.spec.architecture}: has no tokenizer that the runtime reads; a fast one is needed")
    packed = _packed(model, packing)
    about, members = _drawn(packed, packing)
    about |= _words(packed, writing or _writing(model))
    members |= _texts(packed)
    found = difference(packed, about, members, lambda: _drawn(packed, replace(packing, rounded=False))[1])
    if not found.plain < FLOAT_DIFFERENCE:
        raise ModelError(
            f"{path}: differs from torch by {found.plain:.2g} of its logits, more than {FLOAT_DIFFERENCE:g}"
        )
    name = task or ("translation" if about["form"] == "encoder-decoder" else "generation")
    members["CARD.md"] = _card(name, packed).encode()
    manifest = _manifest(packed, packing, name, about)
    size = write_pocket(path, manifest, members, replace=force)
    facts = {"task": name, "context": about["context"], "ignored": _ignored(packed)}
    return Generated(path, size, 8 * size / model.parameters, found, facts)


def _packed(model: Model, packing: Packing) -> Model:
    """The model with its plain weights in the bits asked for; the caller's stays as it is."""
    if packing.bits == 32:
        return model
    small = model.draft()
    if packing.bits == 16:
        for weight in small.module.parameters():
            weight.data = weight.data.half().float()
        return small
    # of layers that share a matrix, one is enough
    again = [name for group in model.spec.ties for name in group[1:]]
    for name, weight in small.module.named_parameters():
        if name.endswith(f"{SHAPED}.weight"):
            weight.data = weight.data.half().float()
            again.append(name.removesuffix(".weight"))
    few = WORD_BITS.get(packing.bits, packing.bits)
    bits = {"*": packing.bits, **dict.fromkeys(PLACES, 8), **dict.fromkeys(_word_layers(small), few)}
    settings: dict[str, Any] = {
        "bits": bits, "group_size": packing.group_size, "symmetric": True, "layers": ("all",), "exclude": tuple(again),
    }  # fmt: skip
    if packing.calibration is not None:
        return Gptq(**settings)(small, Context(calibration=packing.calibration))
    return RoundToNearest(**settings)(small, Context())


def _word_layers(model: Model) -> set[str]:
    """Names of the embeddings of words and the head, and of what shares a matrix with them."""
    both = (model.module.get_input_embeddings(), model.module.get_output_embeddings())
    named = {name for name, one in model.module.named_modules() if any(one is own for own in both)}
    return named.union(*(group for group in model.spec.ties if named & set(group)))


def _drawn(model: Model, packing: Packing) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the manifest says of the graphs, and the graphs with their weights."""
    module, config = model.module, model.module.config
    store, graphs = Store(), {}
    if config.is_encoder_decoder:
        drawn = draw_encoder_decoder(module, packing.rounded)
        graphs = {name: getattr(drawn, name) for name in ("encoder", "decoder", "short", "columns")}
        caches, form = drawn.caches, "encoder-decoder"
    else:
        graphs["decoder"] = Graph(packing.rounded)
        caches, form = draw_decoder(module, graphs["decoder"]), "decoder"
    members = {}
    for name, graph in graphs.items():
        made = graph.model()
        store.take(made)
        members[f"{name}.onnx"] = made.SerializeToString(deterministic=True)
    words = int(module.get_output_embeddings().out_features)
    about = {
        "kind": "generator", "form": form, "caches": [list(one) for one in caches], "words": words,
        "context": int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 512),
    }  # fmt: skip
    return about, {**members, FILE: bytes(store.data)}


def _words(model: Model, writing: Writing) -> dict[str, Any]:
    """Tokens that begin and end a text, and those that are never written."""
    said, config, tokenizer = model.module.generation_config, model.module.config, model.tokenizer
    ends = _ids(said.eos_token_id if said.eos_token_id is not None else tokenizer.eos_token_id)
    never = [one[0] for one in (said.bad_words_ids or []) if len(one) == 1] + _ids(said.suppress_tokens)
    pad = next(iter([*_ids(said.pad_token_id), *_ids(tokenizer.pad_token_id), *ends]), 0)
    starts = _ids(said.decoder_start_token_id if said.decoder_start_token_id is not None else said.bos_token_id)
    if config.is_encoder_decoder and not starts:
        raise ModelError(f"{model.spec.architecture}: its config names no decoder_start_token_id to begin a text with")
    begins = _ids(said.bos_token_id)
    named = {
        name: str(one)
        for name, one in tokenizer.special_tokens_map.items()
        if isinstance(one, str) and name[-5:] == "token"
    }
    return {
        "ends": ends, "never": sorted(set(never)), "pad": pad, "starts": starts + _ids(said.forced_bos_token_id),
        "begins": begins[0] if begins else None, "names": named, "writing": asdict(writing),
    }  # fmt: skip


def _ids(value: Any) -> list[int]:
    if value is None:
        return []
    return [int(one) for one in (value if isinstance(value, (list, tuple)) else [value])]


def _writing(model: Model) -> Writing:
    """Greedy, or for an encoder-decoder with the config's beams; repetition is as rare as the config says."""
    said = model.module.generation_config
    rarer = 1.0 if said.repetition_penalty is None else float(said.repetition_penalty)
    if not model.module.config.is_encoder_decoder or (said.num_beams or 1) == 1:
        return Writing(repetition_penalty=rarer)
    early = said.early_stopping if said.early_stopping is not None else False
    penalty = 1.0 if said.length_penalty is None else float(said.length_penalty)
    return Writing(
        repetition_penalty=rarer, beams=int(said.num_beams), length_penalty=penalty, early_stopping=early
    )  # fmt: skip


def _ignored(model: Model) -> list[str]:
    """What the model's generation config asks of greedy text and the runtime does not do."""
    said = model.module.generation_config
    found = [name for name in UNKNOWN if getattr(said, name, None)]
    if any(len(one) > 1 for one in said.bad_words_ids or []):
        found.append("bad_words_ids of several tokens")
    return found


def _texts(model: Model) -> dict[str, bytes]:
    """The tokenizer, and the chat template where there is one."""
    backend = copy.deepcopy(model.tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    found = {"tokenizer.json": backend.to_str().encode()}
    template = getattr(model.tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = template.get("default")
    if template:
        found[TEMPLATE] = template.encode()
    return found


def _manifest(model: Model, packing: Packing, task: str, about: Mapping[str, Any]) -> dict[str, Any]:
    name = "translation" if task == "translation" else "generated"
    done: list[dict[str, Any]] = [{"pass": str(one["pass"])} for one in model.records]
    if packing.bits < 32:
        done.append({"pass": "pack", "bits": packing.bits, "group_size": packing.group_size})
    return {
        "pocketlm": __version__, "task": task, "outputs": [{"name": name, "kind": "text", "labels": []}],
        "model": dict(about),
        "provenance": {
            "data": {"source": Path(model.spec.source).name}, "teacher": None, "seed": 0, "recipe": done,
            "architecture": model.spec.architecture, "parameters": model.parameters,
        },
    }  # fmt: skip


def _card(task: str, model: Model) -> str:
    """A page for people who find the file alone."""
    return (
        f"# A PocketLM model: {task}\n\nMade from {Path(model.spec.source).name} ({model.spec.architecture}, "
        f"{model.parameters:,} parameters). Run it: `pip install pocketlm`, then\n\n"
        '    pocketlm run FILE.pocket "some text"\n'
    )
