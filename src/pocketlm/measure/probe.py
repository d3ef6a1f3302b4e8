"""Measure a Pocket in this process, with nothing but the base install: python -m pocketlm.measure.probe POCKET TEXTS.

TEXTS is a JSON Lines file of texts or token lists. Prints one JSON object. The caller pins the threads
through the environment before this process starts; see measure.fresh.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WARM_UP = 30
LEAST_CALLS = 300
LEAST_SECONDS = 1.5
MOST_SECONDS = 5.0
BLOCKS = 5


def peak_memory() -> int:
    """Peak resident set of this process so far, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    # a forked child inherits its parent's peak here: right for `measure.fresh` only where there is no VmHWM
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def time_calls(predict: Any, texts: Sequence[Any]) -> list[float]:
    """Milliseconds of each call on one text, in order, after a warm-up; the texts come round until it is enough."""
    batches = [[text] for text in texts]
    began = time.perf_counter()
    for place in range(WARM_UP):
        predict(batches[place % len(batches)])
        if time.perf_counter() - began > MOST_SECONDS:
            break
    spent: list[float] = []
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        while True:
            one = batches[len(spent) % len(batches)]
            start = time.perf_counter_ns()
            predict(one)
            spent.append((time.perf_counter_ns() - start) / 1e6)
            elapsed = time.perf_counter() - began
            if elapsed > MOST_SECONDS or (len(spent) >= LEAST_CALLS and elapsed > LEAST_SECONDS):
                return spent
    finally:
        gc.enable()


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(spent: Sequence[float]) -> dict[str, float]:
    """p50 and p95 with the spread of p50 over consecutive blocks of calls."""
    size = max(1, len(spent) // BLOCKS)
    medians = [quantile(spent[at : at + size], 0.5) for at in range(0, size * BLOCKS, size) if spent[at : at + size]]
    return {
        "calls": len(spent),
        "latency_p50_ms": quantile(spent, 0.5),
        "latency_p95_ms": quantile(spent, 0.95),
        "latency_mean_ms": sum(spent) / len(spent),
        "latency_min_ms": min(spent),
        "latency_p50_low_ms": min(medians),
        "latency_p50_high_ms": max(medians),
    }


def main(pocket: str, texts_file: str) -> dict[str, Any]:
    """What the Pocket costs here.

    {"size_bytes", "load_ms", "texts" and "calls" (how many), "latency_{p50,p95,mean,min}_ms" of one text,
    "latency_p50_{low,high}_ms" (p50 over consecutive blocks of calls), "memory_bytes" (peak resident set),
    "memory_import_bytes" (the same before the Pocket was opened)}.
    """
    from pocketlm.runtime.load import load

    imported = peak_memory()
    began = time.perf_counter()
    model = load(pocket, threads=1)
    load_ms = (time.perf_counter() - began) * 1e3
    with open(texts_file, encoding="utf-8") as lines:
        texts = [json.loads(line) for line in lines]
    spent = time_calls(model.predict, texts)
    return {
        "size_bytes": model.size_bytes,
        "load_ms": load_ms,
        "texts": len(texts),
        **summary(spent),
        "memory_bytes": peak_memory(),
        "memory_import_bytes": imported,
    }


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:3]), sys.stdout)
