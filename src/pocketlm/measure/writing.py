"""Measure how fast a Pocket writes, in this process: python -m pocketlm.measure.writing POCKET THREADS.

Nothing but the base install is needed. Prints one JSON object. See measure.fresh.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

import numpy as np

from pocketlm.measure.probe import peak_memory
from pocketlm.runtime.generate import Generator

# Tokens of the prompts whose reading is timed, and tokens written after the first of them.
PROMPTS, WRITTEN = (128, 512), 64
# Contexts at which memory is taken, as far as the model has places.
CONTEXTS = (256, 1024, 4096)
REPEATS = 3
MOST_SECONDS = 40.0


def main(pocket: str, threads: str = "1") -> dict[str, Any]:
    """What writing costs here.

    {"size_bytes", "load_ms", "prompt_tokens_per_s" and "generation_tokens_per_s" (the best of REPEATS), "prompt_tokens"
    of the prompt whose reading that is, "token_p50_ms" and "token_p95_ms" of a token written, "cache_bytes_per_token",
    "memory_by_context" ({tokens: peak resident set once they are read}), "memory_bytes", "memory_import_bytes",
    "threads"}. Of an encoder-decoder, the prompt is the source.
    """
    from pocketlm.runtime.load import load

    imported, began = peak_memory(), time.perf_counter()
    loaded = load(pocket, threads=int(threads))
    model = loaded.generator
    _write(model, 4, 2)  # opens the graphs
    load_ms = (time.perf_counter() - began) * 1e3
    # before anything longer is read: a peak does not fall again
    memory = {str(size): _memory(model, size) for size in CONTEXTS if size <= model.context and not model.translates}
    prompt, spent, deadline = 0.0, [], time.perf_counter() + MOST_SECONDS
    steps = min(WRITTEN, model.context // 4)
    tokens = [min(one, model.context - steps) for one in PROMPTS]
    gc.collect()
    gc.disable()
    for _ in range(REPEATS):
        for count in dict.fromkeys(tokens):
            seconds, each = _write(model, count, steps if count == tokens[0] else 2)
            prompt = max(prompt, count / seconds) if count == tokens[-1] else prompt
            spent.append(each)
        if time.perf_counter() > deadline:
            break
    gc.enable()
    runs = [one for one in spent if len(one) == steps - 1]
    every = np.concatenate(runs) * 1e3
    return {
        "size_bytes": loaded.size_bytes, "load_ms": load_ms, "threads": int(threads),
        "prompt_tokens": tokens[-1], "prompt_tokens_per_s": prompt,
        "generation_tokens_per_s": max(len(one) / float(one.sum()) for one in runs),
        "token_p50_ms": float(np.quantile(every, 0.5)), "token_p95_ms": float(np.quantile(every, 0.95)),
        "cache_bytes_per_token": model.cache_bytes, "memory_by_context": memory,
        "memory_bytes": peak_memory(), "memory_import_bytes": imported,
    }  # fmt: skip


def _write(model: Generator, tokens: int, steps: int) -> tuple[float, Any]:
    """Seconds that reading so many tokens takes, and those of every token after it: (steps - 1,)."""
    ids = np.arange(tokens, dtype=np.int64)[None] % model.decoder.words
    began = time.perf_counter()
    if model.translates:
        run = model.decoder.begin_from(ids, np.ones_like(ids), steps + len(model.about["starts"]))
        logits = run.read(np.array([model.about["starts"]], np.int64))
    else:
        run = model.decoder.begin(1, tokens + steps)
        logits = run.read(ids)
    read, spent = time.perf_counter() - began, []
    for _ in range(steps - 1):
        began = time.perf_counter()
        logits = run.read(logits.argmax(axis=1)[:, None])
        spent.append(time.perf_counter() - began)
    return read, np.array(spent)


def _memory(model: Generator, tokens: int) -> int:
    """Peak memory of the process once so many tokens were read, part by part as `Generator` does."""
    run, part = model.decoder.begin(1, tokens), 256
    for begin in range(0, tokens, part):
        run.read(np.zeros((1, min(part, tokens - begin)), np.int64))
    return peak_memory()


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:3]), sys.stdout)
