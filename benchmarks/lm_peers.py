"""The peers that compress language models: python benchmarks/lm_peers.py --models FOLDER --data FOLDER --out FILE.json

FOLDER of --models holds smollm2-135m, a Hugging Face folder of SmolLM2-135M-Instruct (Apache-2.0) with float16 weights.
FOLDER of --data holds wikitext2/test.raw.txt and wikitext2/valid.raw.txt (Merity et al. 2016, CC BY-SA).

llama.cpp (Q4_0, Q3_K_M, Q3_K_S, Q2_K), HQQ (Badri and Shaji 2023) and AutoRound (Cheng et al. 2023) each write a file;
its weights, dequantized, are judged by one evaluation in float32. Files are counted as they are: a GGUF has the
tokenizer in it (about 2 MB), the others have not. Every row goes into FILE as soon as it is there; rows of peers that
were not run now stay. A peer whose packages are missing is left out, and why is said.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_gguf import read_gguf

from pocketlm.export.gguf import export_gguf
from pocketlm.measure.machine import describe, usable_cores
from pocketlm.model.pretrained import load_model

MODEL = "smollm2-135m"
EVALUATION: dict[str, Any] = {"text": "WikiText-2 test", "tokens": 32_768, "context": 1024, "dtype": "float32"}
CALIBRATION: dict[str, Any] = {"text": "WikiText-2 validation", "rows": 64, "tokens": 512}
SEED = 0
LLAMA_KINDS = ("Q4_0", "Q3_K_M", "Q3_K_S", "Q2_K")
HQQ_GRIDS = ((4, 64), (3, 64), (2, 32))  # bits, weights that share a scale

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What every peer is given: the model's folder, one to write to, and token ids (tokens,) of test and validation."""

    source: Path
    work: Path
    test: torch.Tensor
    valid: torch.Tensor

    def row(self, name: str, model: torch.nn.Module, file: Path, seconds: float, **about: Any) -> Row:
        """A line of the table: the bytes of `file` and the perplexity of `model`, which holds the file's weights."""
        size, found = file.stat().st_size, perplexity(model, self.test)
        print(f"{name}: {size / 1e6:.1f} MB, perplexity {found:.3f}, {seconds:.1f} s", flush=True)
        busy = round(os.getloadavg()[0], 1)  # above the cores, something else ran too and the seconds are too many
        return {"name": name, "file_bytes": size, "perplexity": found, "seconds": seconds, "load": busy, **about}


@torch.inference_mode()
def perplexity(model: torch.nn.Module, ids: torch.Tensor, context: int = EVALUATION["context"]) -> float:
    """exp of the mean negative log-likelihood, in nats, of token ids (tokens,) under a model in float32.

    The tokens fall into windows of `context` that do not overlap; the first token of a window is not predicted.
    """
    total, count = 0.0, 0
    for window in ids.split(context):
        if len(window) > 1:
            logits = model(window[None]).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum"))
            count += len(window) - 1
    return math.exp(total / count)


def first_tokens(source: Path, text: Path, count: int) -> torch.Tensor:
    """Ids (count,) of the first tokens of a text; eight characters a token are enough of it."""
    from transformers import AutoTokenizer

    head = text.read_text("utf-8")[: count * 8]
    return AutoTokenizer.from_pretrained(source)(head, return_tensors="pt").input_ids[0, :count]


def load_float32(source: Path) -> Any:
    """The model, every weight in float32, ready to be judged."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()


def block_linears(model: Any) -> dict[str, torch.nn.Linear]:
    """The linear layers of the blocks by name: every one but the head, which shares the embedding's weights."""
    return {
        name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and name != "lm_head"
    }


def original(bench: Bench) -> Iterator[Row]:
    """The model as it is stored."""
    yield bench.row("original", load_float32(bench.source), bench.source / "model.safetensors", 0.0)


def llama_cpp(bench: Bench) -> Iterator[Row]:
    """llama.cpp's own quantizer on a float16 GGUF; rows that 256 does not divide fall back to types of 32 a block."""
    import ctypes

    import gguf
    import llama_cpp as native

    whole = bench.work / "f16.gguf"
    export_gguf(load_model(bench.source), whole)
    quiet = native.llama_log_callback(lambda level, text, data: None)
    native.llama_log_set(quiet, ctypes.c_void_p(0))
    model = load_float32(bench.source)
    system = native.llama_print_system_info().decode().strip()
    for kind in LLAMA_KINDS:
        target = bench.work / f"{kind}.gguf"
        settings = native.llama_model_quantize_default_params()
        settings.ftype, settings.nthread = getattr(native, f"LLAMA_FTYPE_MOSTLY_{kind}"), usable_cores()
        began = time.perf_counter()
        code = native.llama_model_quantize(str(whole).encode(), str(target).encode(), ctypes.byref(settings))
        seconds = time.perf_counter() - began
        if code:
            raise RuntimeError(f"llama.cpp {kind}: llama_model_quantize returned {code}")
        read_gguf(target, bench.source, model)
        types = Counter(one.tensor_type.name for one in gguf.GGUFReader(target).tensors)
        yield bench.row(f"llama.cpp {kind}", model, target, seconds, types=dict(types.most_common()), system=system)


def hqq(bench: Bench) -> Iterator[Row]:
    """Half-quadratic quantization of the blocks' linears, its own defaults; needs no data. Embedding in float16."""
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    from safetensors.torch import save_file

    for bits, group in HQQ_GRIDS:
        model, target = load_float32(bench.source), bench.work / f"hqq-{bits}.safetensors"
        linears = block_linears(model)
        kept = {name: weight.half() for name, weight in model.named_parameters() if name[:-7] not in linears}
        began = time.perf_counter()
        for name, linear in linears.items():
            settings = BaseQuantizeConfig(nbits=bits, group_size=group)
            small = HQQLinear(linear, settings, compute_dtype=torch.float16, device="cpu", del_orig=False)
            kept |= {f"{name}.W_q": small.W_q.data, **{f"{name}.{key}": small.meta[key] for key in ("scale", "zero")}}
            linear.weight.data = small.dequantize().float()
        seconds = time.perf_counter() - began
        save_file({name: weight.detach().contiguous() for name, weight in kept.items()}, target)
        yield bench.row(f"HQQ {bits}-bit g{group}", model, target, seconds)


def auto_round(bench: Bench) -> Iterator[Row]:
    """AutoRound, 3 bits, groups of 64, 50 steps a block on rows of the validation text; embedding and norms as stored.

    The codes and scales are read back from the file it saves, so that its tuning in bfloat16 costs it nothing.
    """
    from auto_round import AutoRound
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows, tokens, target = CALIBRATION["rows"], CALIBRATION["tokens"], bench.work / "auto-round"
    stored = AutoModelForCausalLM.from_pretrained(bench.source, dtype="auto")
    began = time.perf_counter()
    rounder = AutoRound(
        stored,
        AutoTokenizer.from_pretrained(bench.source),
        scheme="W3A16",
        group_size=64,
        iters=50,
        dataset=list(bench.valid.view(rows, tokens).split(8)),
        nsamples=rows,
        seqlen=tokens,
        batch_size=8,
        device_map="cpu",
        enable_torch_compile=False,  # as fast without on two cores, and no compiler is needed
        seed=SEED,
    )
    rounder.quantize()
    seconds = time.perf_counter() - began
    rounder.save_quantized(target, format="auto_round", inplace=False)
    model, saved = load_float32(bench.source), load_file(target / "model.safetensors")
    for name, linear in block_linears(model).items():
        codes = three_bits(saved[f"{name}.qweight"].T)
        zeros = three_bits(saved[f"{name}.qzeros"]).T + 1  # GPTQ's files hold one less
        centred = codes.unflatten(1, (zeros.shape[1], -1)) - zeros[:, :, None]
        linear.weight.data = (centred * saved[f"{name}.scales"].T[:, :, None].float()).flatten(1)
    yield bench.row("AutoRound 3-bit g64", model, target / "model.safetensors", seconds, calibration=CALIBRATION)


def three_bits(words: torch.Tensor) -> torch.Tensor:
    """Codes 0–7 (rows, columns * 32 / 3) that stand, lowest bit first and without gaps, in int32 (rows, columns)."""
    bits = np.unpackbits(np.ascontiguousarray(words.numpy()).view(np.uint8), axis=1, bitorder="little")
    return torch.from_numpy(bits.reshape(len(bits), -1, 3) @ np.array([1, 2, 4], np.float32))


PEERS: dict[str, tuple[Callable[[Bench], Iterator[Row]], tuple[str, ...]]] = {
    "original": (original, ()),
    "llama.cpp": (llama_cpp, ("llama-cpp-python", "gguf")),
    "hqq": (hqq, ("hqq",)),
    "auto-round": (auto_round, ("auto-round",)),
}


def run(peer: str, bench: Bench, out: Path, command: str) -> None:
    """Every row of one peer, each written to `out` as soon as it is there, or why the peer is left out."""
    make, packages = PEERS[peer]
    torch.manual_seed(SEED)
    taken = {"command": command, "date": datetime.date.today().isoformat(), "machine": describe(), "seed": SEED}
    found: dict[str, Any] = {"rows": [], "taken": taken}
    try:
        for row in make(bench):
            taken["versions"] = {name: version(name) for name in packages}
            found["rows"].append(row)
            merge(out, peer, found)
    except ImportError as error:
        print(f"{peer} is left out: {error} (pip install {' '.join(packages)})", flush=True)
        merge(out, peer, {"left_out": str(error)})


def merge(out: Path, peer: str, found: Mapping[str, Any]) -> None:
    """Puts one peer's figures into the JSON file `out`, whole or not at all; the other peers' stay."""
    known = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    peers = {name: found if name == peer else known.get("peers", {}).get(name) for name in PEERS}
    whole = {
        **known,
        "model": MODEL,
        "evaluation": EVALUATION,
        "peers": {name: one for name, one in peers.items() if one},
    }
    part = out.with_name(out.name + ".part")
    part.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")
    os.replace(part, out)


def table(found: Mapping[str, Any]) -> list[str]:
    """The figures of `merge` as Markdown, and a line for each peer that is left out."""
    lines = ["| system | file | perplexity | seconds |", "| --- | --- | --- | --- |"]
    for one in found["peers"].values():
        for row in one.get("rows", ()):
            seconds = f"{row['seconds']:.1f}" if row["seconds"] else "–"
            lines.append(f"| {row['name']} | {row['file_bytes'] / 1e6:.1f} MB | {row['perplexity']:,.2f} | {seconds} |")
    left_out = {name: one["left_out"] for name, one in found["peers"].items() if "left_out" in one}
    return lines + [line for name, why in left_out.items() for line in ("", f"{name} is left out: {why}")]


def main() -> int:
    """Run the peers asked for and print the table of all that the file holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help=f"folder with {MODEL}/")
    parser.add_argument("--data", type=Path, required=True, help="folder with wikitext2/")
    parser.add_argument("--out", type=Path, required=True, help="JSON file that the figures go into")
    parser.add_argument("--only", choices=tuple(PEERS), help="one peer; the file keeps the others' figures")
    given = parser.parse_args()
    source, texts = given.models / MODEL, given.data / "wikitext2"
    for needed in (source / "model.safetensors", texts / "test.raw.txt", texts / "valid.raw.txt"):
        if not needed.is_file():
            parser.error(f"{needed}: no such file")
    test = first_tokens(source, texts / "test.raw.txt", EVALUATION["tokens"])
    valid = first_tokens(source, texts / "valid.raw.txt", CALIBRATION["rows"] * CALIBRATION["tokens"])
    command = "python benchmarks/lm_peers.py --models FOLDER --data FOLDER --out FILE.json"
    command += f" --only {given.only}" if given.only else ""
    for peer in [given.only] if given.only else PEERS:
        with tempfile.TemporaryDirectory() as work:
            run(peer, Bench(source, Path(work), test, valid), given.out, command)
    print("\n".join(table(json.loads(given.out.read_text("utf-8")))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
