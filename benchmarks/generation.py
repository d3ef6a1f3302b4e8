"""How fast and how well a Pocket writes: python benchmarks/generation.py --models FOLDER --data FOLDER --out FILE.json

FOLDER of --models holds smollm2-135m, a Hugging Face folder of SmolLM2-135M-Instruct (Apache-2.0) with float16 weights.
FOLDER of --data holds wikitext2/test.raw.txt and wikitext2/valid.raw.txt (Merity et al. 2016, CC BY-SA).

Pockets in float32, 8 and 4 bits (to nearest, and fitted to validation text): bytes, bits a weight, tokens a second of
prompts and of text on 1 and 2 threads, perplexity by the runtime itself. The float32 one is compared with torch's
greedy text, token by token. llama.cpp's Q4_0, made by its own quantizer, is timed in turn with ours where `llama_cpp`
is there. Every system is timed in a process of its own, in several rounds, and its best round counts: other work on the
machine only makes it slower.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pocketlm
from pocketlm.measure.fresh import ONE_THREAD, measure_writing
from pocketlm.measure.machine import describe

MODEL = "smollm2-135m"
EVALUATION = {"text": "WikiText-2 test", "tokens": 32_768, "window": 1024}
CALIBRATION = {"text": "WikiText-2 validation", "windows": 64, "tokens": 512}
PARITY = {"prompts": 128, "prompt_tokens": 24, "tokens": 64}
ROUNDS, PROMPT, WRITTEN = 5, 512, 64
POCKETS: dict[str, dict[str, Any]] = {
    "float32": {"bits": 32},
    "4 bits, rounded": {"bits": 4},
    "4 bits, fitted": {"bits": 4, "calibrated": True},
    "8 bits, rounded": {"bits": 8},
}
PEER = "llama.cpp Q4_0"


def export(source: Path, path: Path, valid: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A Pocket at `path`: what is so of the file."""
    from pocketlm.compress.calibration import read_calibration
    from pocketlm.export.generator import Packing, export_generator
    from pocketlm.model.pretrained import load_model

    model = load_model(source)
    text = None
    if settings.get("calibrated"):
        text = read_calibration(valid, model, CALIBRATION["windows"], CALIBRATION["tokens"])
    made = export_generator(model, path, Packing(settings["bits"], calibration=text))
    return {
        "file_bytes": made.size_bytes, "bits_per_weight": made.bits_per_weight, "difference": vars(made.difference),
    }  # fmt: skip


def perplexity(path: Path, text: Path) -> dict[str, float]:
    """Perplexity and bits a byte, with intervals, of the first tokens of a text, by the runtime."""
    from pocketlm.outputs import Example
    from pocketlm.runtime.likelihood import likelihoods
    from pocketlm.runtime.load import load
    from pocketlm.tasks.table import TASKS

    model = load(path).generator
    whole = model.tokenizer.encode(text.read_text("utf-8")[: 8 * EVALUATION["tokens"]])
    head = text.read_text("utf-8")[: whole.offsets[EVALUATION["tokens"] - 1][1]]
    said = likelihoods(model, [head], EVALUATION["window"])
    return {name: vars(one) for name, one in TASKS["generation"].score([Example("")], said, ()).metrics.items()}


def parity(source: Path, path: Path, text: Path) -> dict[str, Any]:
    """On how many prompts the runtime writes, greedily, all the tokens that torch writes."""
    import torch
    from transformers import AutoModelForCausalLM

    from pocketlm.runtime.choose import Writing
    from pocketlm.runtime.load import load

    writer = load(path).generator
    module = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    size, same = PARITY["prompt_tokens"], 0
    lines = [line for line in text.read_text("utf-8").splitlines() if len(line.split()) > size]
    lines = lines[:: max(1, len(lines) // PARITY["prompts"])][: PARITY["prompts"]]
    for line in lines:
        ids = writer.tokenizer.encode(line).ids[:size]
        prompt = writer.decode(ids)
        ids = writer.read(prompt)
        given = torch.tensor([ids])
        with torch.no_grad():
            made = module.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=PARITY["tokens"], do_sample=False
            )
        wanted = [one for one in made[0, len(ids) :].tolist() if one not in writer.ends]
        found = writer.write([prompt], Writing(max_tokens=PARITY["tokens"]))[0].ids
        same += list(found) == wanted
    return {**PARITY, "prompts": len(lines), "same": same, "share": same / len(lines)}


def quantized_gguf(source: Path, folder: Path) -> Path:
    """llama.cpp's own Q4_0 of the model. Raises ImportError without llama_cpp."""
    import ctypes

    import llama_cpp as native

    whole, target = folder / "f16.gguf", folder / "q4_0.gguf"
    pocketlm.export_gguf(pocketlm.load_model(source), whole)
    settings = native.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = native.LLAMA_FTYPE_MOSTLY_Q4_0, 1
    if native.llama_model_quantize(str(whole).encode(), str(target).encode(), ctypes.byref(settings)):
        raise RuntimeError("llama.cpp could not quantize")
    return target


def time_llama(path: str, threads: str) -> dict[str, float]:
    """Tokens a second of llama.cpp in this process."""
    import time

    import llama_cpp

    model = llama_cpp.Llama(
        path, n_ctx=PROMPT + WRITTEN + 64, n_batch=PROMPT, n_threads=int(threads), n_threads_batch=int(threads),
        verbose=False,
    )  # fmt: skip
    prompt, text = 0.0, 0.0
    for _ in range(3):
        model.reset()
        began = time.perf_counter()
        model.eval(list(range(100, 100 + PROMPT)))
        prompt = max(prompt, PROMPT / (time.perf_counter() - began))
        model.reset()
        model.eval(list(range(100, 228)))
        began = time.perf_counter()
        for token in range(WRITTEN):
            model.eval([500 + token])
        text = max(text, WRITTEN / (time.perf_counter() - began))
    return {"prompt_tokens_per_s": prompt, "generation_tokens_per_s": text}


def timed_llama(path: Path, threads: int) -> dict[str, float]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--time-llama", str(path), str(threads)],
        env={**os.environ, **ONE_THREAD, "OMP_NUM_THREADS": str(threads)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def race(files: dict[str, Path], threads: int) -> dict[str, dict[str, float]]:
    """The best of several rounds of every system, taken in turn."""
    best: dict[str, dict[str, float]] = {name: {} for name in files}
    for _ in range(ROUNDS):
        for name, path in files.items():
            taken = timed_llama(path, threads) if name == PEER else measure_writing(path, threads, 600.0)
            for key in ("prompt_tokens_per_s", "generation_tokens_per_s"):
                best[name][key] = max(taken[key], best[name].get(key, 0.0))
            if name != PEER:
                best[name]["memory_by_context"] = taken["memory_by_context"]
    return best


def table(found: dict[str, Any]) -> list[str]:
    """The figures as Markdown, with a column of text a number of threads."""
    counts = list(dict.fromkeys(count for one in found["systems"].values() for count in one.get("threads", {})))
    heads = [f"text, {count} thread{'s' * (count != '1')}" for count in counts]
    first = counts[:1]
    heads = [f"prompt, {count} thread{'s' * (count != '1')}" for count in first] + heads
    lines = [f"| system | file | bits a weight | perplexity | {' | '.join(heads)} |", "| --- " * (4 + len(heads)) + "|"]
    for name, one in found["systems"].items():
        words = f"{one['perplexity']['perplexity']['value']:.2f}" if "perplexity" in one else "–"
        speeds = [f"{one['threads'][count]['prompt_tokens_per_s']:,.0f} tokens/s" for count in first]
        speeds += [f"{one['threads'][count]['generation_tokens_per_s']:,.1f} tokens/s" for count in counts]
        size = f"{one['file_bytes'] / 1e6:.1f} MB"
        lines.append(f"| {name} | {size} | {one['bits_per_weight']:.2f} | {words} | {' | '.join(speeds)} |")
    return lines


def main() -> int:
    """Make the files, judge and time them, and write what was found."""
    if sys.argv[1:2] == ["--time-llama"]:
        print(json.dumps(time_llama(*sys.argv[2:4])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, help_ in (("models", f"folder with {MODEL}/"), ("data", "folder with wikitext2/"), ("out", "JSON file")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=help_)
    parser.add_argument("--only", choices=tuple(POCKETS), action="append", help="these Pockets; all without")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="threads to time on")
    given = parser.parse_args()
    source, texts = given.models / MODEL, given.data / "wikitext2"
    found: dict[str, Any] = {
        "model": MODEL, "machine": describe(), "evaluation": EVALUATION, "calibration": CALIBRATION, "systems": {},
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        files: dict[str, Path] = {}
        for name in given.only or POCKETS:
            files[name] = Path(work) / f"{name.replace(', ', '-').replace(' ', '-')}.pocket"
            one = found["systems"][name] = export(source, files[name], texts / "valid.raw.txt", POCKETS[name])
            one["perplexity"] = perplexity(files[name], texts / "test.raw.txt")
            if name == "float32":
                one["parity"] = parity(source, files[name], texts / "test.raw.txt")
            print(f"{name}: {json.dumps(one)}", flush=True)
        try:
            files[PEER] = quantized_gguf(source, Path(work))
            size = files[PEER].stat().st_size
            weights = 8 * found["systems"][next(iter(given.only or POCKETS))]["file_bytes"]
            weights /= found["systems"][next(iter(given.only or POCKETS))]["bits_per_weight"]
            found["systems"][PEER] = {"file_bytes": size, "bits_per_weight": 8 * size / weights}
        except ImportError as error:
            found["left_out"] = {PEER: str(error)}
        for threads in given.threads:
            for name, speed in race(files, threads).items():
                found["systems"][name].setdefault("threads", {})[str(threads)] = speed
    given.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
