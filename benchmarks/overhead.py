"""What the runtime itself costs: its import, and its work around the bare onnxruntime call and tokenizer."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pocketlm.pocket.format import read_pocket
from pocketlm.runtime.load import load

_IMPORT = "import time; began = time.perf_counter(); {}; print((time.perf_counter() - began) * 1e3)"


def import_ms(statement: str, rounds: int = 9) -> float:
    """Median milliseconds of a statement in a fresh process."""
    command = [sys.executable, "-c", _IMPORT.format(statement)]
    taken = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(rounds)]
    return float(np.median(taken))


def predict_and_bare_ms(pocket: Path, texts: Sequence[str], rounds: int = 5) -> tuple[float, float]:
    """Median milliseconds of `predict`, and of the tokenizer and graph alone, taking turns; one thread.

    Raises KeyError for a Pocket that holds no graph.
    """
    import onnxruntime
    from tokenizers import Tokenizer

    file, model = read_pocket(pocket), load(pocket, threads=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.members["graph.onnx"], options)
    tokenizer = Tokenizer.from_str(file.members["tokenizer.json"].decode())
    tokenizer.enable_truncation(file.manifest["model"]["inputs"]["max_length"])

    def bare(text: str) -> object:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})

    spent: dict[Callable[[str], object], list[float]] = {model.predict: [], bare: []}
    for _ in range(rounds):
        for call, taken in spent.items():
            for text in texts:
                began = time.perf_counter()
                call(text)
                taken.append((time.perf_counter() - began) * 1e3)
    own, least = (float(np.median(taken[len(texts) :])) for taken in spent.values())
    return own, least
