"""Measure a Pocket in a fresh process on one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pocketlm.errors import PocketLMError, UserError
from pocketlm.runtime.inputs import Text
from pocketlm.runtime.question import Question
from pocketlm.units import format_duration

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"),
    **{"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
}
# Real inputs the latency is taken over.
MOST_TEXTS = 500
# Loading, warming up and timing take some ten seconds; a process that takes longer than this hangs.
MOST_SECONDS = 120.0
# What misses the milliseconds allowed by less than this share is taken so many times more, after so many seconds each:
# what else a machine does slows a clock down for a while, and next to nothing speeds one up.
CLOSE, AGAIN, PAUSE = 0.25, 2, 5.0


def measure_pocket(
    path: Path, texts: Sequence[Text], max_seconds: float = MOST_SECONDS, allowed: float | None = None
) -> dict[str, Any]:
    """What the Pocket at `path` costs in a process of its own; see `probe.main` for what is in it.

    texts: real inputs (at most MOST_TEXTS are used, spread over the whole). Latency is one text at a time on
    one thread, memory the process's peak resident set. allowed: a median of so many milliseconds; where it is missed
    by little some processes more take it, "processes" in all, until one does not: the fastest counts, and
    latency_p50_low_ms and latency_p50_high_ms are of all their blocks of calls. Raises UserError without texts, and
    PocketLMError where the first process fails or takes longer than max_seconds.
    """
    if not texts:
        raise UserError(f"{path}: there is no text to measure it with")
    taken = [_measured(path, texts, max_seconds)]
    while allowed is not None and len(taken) <= AGAIN:
        if not misses_closely(min(one["latency_p50_ms"] for one in taken), allowed):
            break
        time.sleep(PAUSE)
        try:
            taken.append(_measured(path, texts, max_seconds))
        except PocketLMError:  # what is known stays known
            break
    if len(taken) == 1:
        return taken[0]
    fastest = min(taken, key=lambda one: float(one["latency_p50_ms"]))
    return {
        **fastest,
        "latency_p50_low_ms": min(one["latency_p50_low_ms"] for one in taken),
        "latency_p50_high_ms": max(one["latency_p50_high_ms"] for one in taken),
        "processes": len(taken),
    }


def misses_closely(milliseconds: float, allowed: float) -> bool:
    """Whether what was taken may be within what is allowed when it is taken again."""
    return allowed < milliseconds <= (1 + CLOSE) * allowed


def _measured(path: Path, texts: Sequence[Text], max_seconds: float) -> dict[str, Any]:
    """What one process says."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "texts.jsonl")
        lines.write_text("".join(_line(text) for text in spread(texts, MOST_TEXTS)), "ascii")
        arguments = [str(path.resolve()), str(lines)]
        measured: dict[str, Any] = in_fresh_process("pocketlm.measure.probe", arguments, str(path), 1, max_seconds)
        return measured


def measure_writing(path: Path, threads: int = 1, max_seconds: float = MOST_SECONDS) -> dict[str, Any]:
    """How fast the Pocket at `path` writes in a process of its own; see `writing.main` for what is in it.

    Raises PocketLMError where the process fails or takes longer than max_seconds.
    """
    arguments = [str(path.resolve()), str(threads)]
    measured: dict[str, Any] = in_fresh_process("pocketlm.measure.writing", arguments, str(path), threads, max_seconds)
    return measured


def in_fresh_process(module: str, arguments: Sequence[str], what: str, threads: int, max_seconds: float) -> Any:
    """What the module of this package prints last, as JSON, run with these arguments in a process of its own.

    what: is measured, for messages. Raises PocketLMError where the process fails or takes longer than max_seconds.
    """
    pinned = {**ONE_THREAD, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **pinned, "PYTHONPATH": _python_path()},
                cwd=folder,  # Python imports from where it starts: nothing of the user's may be there
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=max_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PocketLMError(f"{what}: could not be measured within {format_duration(max_seconds)}") from None
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        reason = (done.stderr.strip().splitlines() or [how])[-1]
        raise PocketLMError(f"{what}: could not be measured in a fresh process ({reason})")
    return json.loads(done.stdout.splitlines()[-1])


def _line(text: Text) -> str:
    return json.dumps(text.to_json() if isinstance(text, Question) else text) + "\n"


def spread(texts: Sequence[Text], most: int) -> list[Text]:
    """At most so many of the texts, evenly over the whole."""
    count = min(len(texts), most)
    return [texts[place * len(texts) // count] for place in range(count)]


def _python_path() -> str:
    """Where the fresh process finds this package, then what the user set; absolute, since it starts elsewhere."""
    package = str(Path(__file__).resolve().parents[2])
    given = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    return os.pathsep.join(map(os.path.abspath, [package, *given]))
