"""Time the building blocks on this machine: python -m pocketlm.measure.calibrate, with nothing but the base install.

The blocks are Pockets of every family in sizes from small to large, whose weights are a pattern; benchmarks/blocks.py
writes them. Prints the milliseconds of each with each of its texts.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np

from pocketlm import __version__
from pocketlm.errors import DeviceError
from pocketlm.measure.device import Device, fitted, off_by, read_device
from pocketlm.measure.fresh import in_fresh_process, measure_pocket
from pocketlm.measure.machine import cpu_flags, cpu_name, usable_cores, vectors
from pocketlm.measure.probe import quantile
from pocketlm.pocket.format import write_atomically
from pocketlm.pocket.work import cache_folder

BLOCKS = resources.files("pocketlm.measure").joinpath("blocks")
# Each block is timed in so many rounds, since what else a machine does slows it down for a while: calls before a text
# is timed; then so many, or as many as take so long.
ROUNDS, WARM_UP, LEAST_CALLS, MOST_SECONDS = 3, 5, 10, 0.05
# Blocks take some ten seconds on a laptop; small boards are slower.
MOST_SECONDS_IN_ALL = 900.0
# Of what is kept of a machine.
CALIBRATION_VERSION = 2
# The blocks whose processes tell what memory a runtime takes: next to nothing of a Pocket, of n-grams and of a graph.
LIGHT, GRAPH = "linear.pocket", "convnet-1x64.pocket"


def described() -> dict[str, Any]:
    """The blocks: {"texts", "blocks": [{"pocket", "works"}], "usual"}; a work for each text, and rates elsewhere."""
    about: dict[str, Any] = json.loads(BLOCKS.joinpath("blocks.json").read_text("utf-8"))
    return about


def calibrate(name: str = "") -> Device:
    """This machine, timed in a process of its own. name: what to call it; by default its processor."""
    about = described()
    measured = in_fresh_process("pocketlm.measure.calibrate", [], "this machine", 1, MOST_SECONDS_IN_ALL)
    light, runtime = (_memory(block, about["texts"]) for block in (LIGHT, GRAPH))
    return device_of({**measured, "light_bytes": light, "runtime_bytes": runtime}, about, name)


def _memory(block: str, texts: list[str]) -> int:
    """Peak bytes of a process that runs this block as any Pocket is measured, without its file."""
    with resources.as_file(BLOCKS.joinpath(block)) as path:
        return int(measure_pocket(path, texts)["memory_bytes"]) - path.stat().st_size


def device_of(measured: Mapping[str, Any], about: Mapping[str, Any], name: str = "") -> Device:
    """The device whose building blocks took so long. measured: as `main` has it, and both bytes."""
    works = [work for block in about["blocks"] for work in block["works"]]
    times = [ms for block in measured["milliseconds"] for ms in block]
    rates = fitted(works, times, about["usual"])
    versions = f"{datetime.date.today()}, pocketlm {__version__}, onnxruntime {metadata.version('onnxruntime')}"
    cpu = cpu_name()
    device = Device(
        name or cpu, rates, cpu, vectors(cpu_flags()), usable_cores(), measured["runtime_bytes"],
        measured["light_bytes"], _ram(),
        shutil.disk_usage(Path.home() if Path.home().is_dir() else "/").total, taken=versions,
    )  # fmt: skip
    return replace(device, error=float(np.median(off_by(device, works, times))))


def _ram() -> int | None:
    """Bytes of memory this machine has, where it tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def this_machine(stage: Callable[[str], None] = lambda _: None) -> Device:
    """This machine as it was calibrated before, or now for the first time; kept in the user's cache.

    stage: is told where it is measured now.
    """
    kept = kept_at()
    if kept.is_file():
        try:
            return read_device(kept)
        except DeviceError:
            kept.unlink(missing_ok=True)
    stage("timing building blocks on this machine")
    device = calibrate()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, device.to_yaml().encode(), replace=True)
    except OSError:
        pass  # a machine that keeps nothing is calibrated again
    return device


def kept_at() -> Path:
    """Where this machine's rates are kept: a file for its processor and these versions."""
    versions = [CALIBRATION_VERSION, __version__, metadata.version("onnxruntime"), np.__version__]
    key = json.dumps([cpu_name(), vectors(cpu_flags()), *versions])
    return cache_folder() / f"device-{hashlib.sha256(key.encode()).hexdigest()[:16]}.yaml"


def main() -> dict[str, Any]:
    """{"milliseconds": of each block a list, one a text}."""
    from pocketlm.runtime.load import load

    about = described()
    models = []
    for block in about["blocks"]:
        with resources.as_file(BLOCKS.joinpath(block["pocket"])) as path:
            models.append(load(path, threads=1))
        models[-1].predict(about["texts"])
    rounds = [[[_calls(model, text) for text in about["texts"]] for model in models] for _ in range(ROUNDS)]
    return {"milliseconds": np.min(rounds, axis=0).tolist()}


def _calls(model: Any, text: str) -> float:
    """The lower quartile of several calls."""
    for _ in range(WARM_UP):
        model.predict([text])
    spent: list[float] = []
    began = time.perf_counter()
    while len(spent) < LEAST_CALLS or time.perf_counter() - began < MOST_SECONDS:
        start = time.perf_counter_ns()
        model.predict([text])
        spent.append((time.perf_counter_ns() - start) / 1e6)
    return quantile(spent, 0.25)


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
