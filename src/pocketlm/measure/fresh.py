"""Measure a Pocket in a fresh process on one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pocketlm.errors import PocketLMError
from pocketlm.runtime.inputs import Text

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
# Real inputs the latency is taken over.
MOST_TEXTS = 500


def measure_pocket(path: Path, texts: Sequence[Text]) -> dict[str, Any]:
    """{"size_bytes", "load_ms", "latency_p50_ms", "latency_p95_ms", "memory_bytes", …} of the Pocket at `path`.

    texts: real inputs (at most MOST_TEXTS are used, spread over the whole). Latency is one text at a time on
    one thread, memory the process's peak resident set. Raises PocketLMError where the process fails.
    """
    step = max(1, len(texts) // MOST_TEXTS)
    package = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "texts.jsonl")
        lines.write_text(
            "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts[::step][:MOST_TEXTS]), "utf-8"
        )
        done = subprocess.run(
            [sys.executable, "-m", "pocketlm.measure.probe", str(path), str(lines)],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": python_path},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PocketLMError(f"{path}: could not be measured in a fresh process ({reason})")
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured
