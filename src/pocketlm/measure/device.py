"""A machine as a few rates: what a call, a word, a product or a byte costs there, from which latencies are estimated.

The rates are fitted to building blocks, small Pockets of every family, timed on that machine by the runtime that will
run the real ones. What one text costs a student is a mapping of amounts by unit (see UNITS and `search.work`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.budget import LEAST_MEMORY, SMALLEST_POCKET_BYTES
from pocketlm.errors import DeviceError, UnitError
from pocketlm.tables import did_you_mean
from pocketlm.units import format_size, parse_size

# What is counted of a text, and under which key a file tells what one costs. call: of `predict`. word, gram: split and
# hashed. gathered: numbers of an n-gram's row. hidden: a bag's hidden layer. piece: of the tokenizer. node: of a graph.
# int8, float32: products of matrices, each with its sum. streamed: bytes of weights that are read.
UNITS: dict[str, str] = {
    "call": "call_us", "word": "word_us", "gram": "gram_us", "gathered": "gathered_ns", "hidden": "hidden_us",
    "piece": "piece_us", "node": "node_us", "int8": "int8_gops", "float32": "float32_gflops",
    "streamed": "memory_gbps",
}  # fmt: skip
# Microseconds of one: a time in the file's own unit, or a speed, where a product and its sum are two operations.
_TIMES = {"us": 1.0, "ns": 1e-3}
_SPEEDS = {"int8_gops": 2e-3, "float32_gflops": 2e-3, "memory_gbps": 1e-3}

Floats = NDArray[np.float64]
Work = Mapping[str, float]

# How firmly rates stay near those of another machine, as fast as this on the whole: few blocks cannot tell all apart.
TIED = 0.002
# No rate is fitted below this share of the other machine's.
LEAST = 0.05


@dataclass(frozen=True)
class Device:
    """A machine.

    name: for people. cpu, vectors: its processor. threads: how many it has; the rates are of one, as latency is
    measured. microseconds: of one of each of UNITS. runtime_bytes: memory of a process that has loaded ONNX Runtime and
    next to nothing of a Pocket; light_bytes: of one that has numpy alone, which n-grams need; 0 where nobody said. ram,
    flash: bytes, None where nobody said. error: median share by which estimates of the building blocks were off. taken:
    when and with which versions.
    """

    name: str
    microseconds: Mapping[str, float]
    cpu: str = ""
    vectors: str = ""
    threads: int = 1
    runtime_bytes: int = 0
    light_bytes: int = 0
    ram: int | None = None
    flash: int | None = None
    error: float = 0.0
    taken: str = ""

    def milliseconds(self, work: Work) -> float:
        """What so much work is expected to take."""
        return sum(self.microseconds[unit] * amount for unit, amount in work.items()) / 1e3

    def memory_of(self, *, graph: bool) -> int:
        """Bytes of a process that runs graphs, or n-grams alone, before it has a Pocket; 0 where nobody said."""
        return self.runtime_bytes if graph else self.light_bytes

    def to_yaml(self) -> str:
        """The file that `read_device` reads."""
        import yaml

        about: dict[str, Any] = {"device": self.name, "cpu": self.cpu, "vectors": self.vectors}
        about["threads"] = self.threads
        for unit, key in UNITS.items():
            about[key] = _short(_told(key, self.microseconds[unit]))
        about["runtime"] = format_size(self.runtime_bytes)
        if self.light_bytes:
            about["light"] = format_size(self.light_bytes)
        for key in ("ram", "flash"):
            if getattr(self, key) is not None:
                about[key] = format_size(getattr(self, key))
        about |= {"error": round(self.error, 3), "taken": self.taken}
        return yaml.safe_dump(about, sort_keys=False, allow_unicode=True)


def _short(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def _told(key: str, microseconds: float) -> float:
    """The figure that a file has under this key of a rate."""
    return _SPEEDS[key] / microseconds if key in _SPEEDS else microseconds / _TIMES[key[-2:]]


def _microseconds(key: str, figure: float) -> float:
    """The rate that a file's figure tells."""
    return _SPEEDS[key] / figure if key in _SPEEDS else figure * _TIMES[key[-2:]]


def read_device(path: Path) -> Device:
    """The device in a YAML file. Raises DeviceError, which says what is wrong in it."""
    import yaml

    try:
        given = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DeviceError(
            f"{path}: no such file; pocketlm calibrate-device writes one on the machine it runs on"
        ) from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeviceError(f"{path}: is not a device's YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(given, dict) or not isinstance(given.get("device"), str):
        raise DeviceError(f"{path}: is not a mapping with a device's name, such as device: my-board")
    known = ["device", "cpu", "vectors", "threads", *UNITS.values(), "runtime", "light", "ram", "flash"]
    known += ["error", "taken"]
    for key in given:
        if key not in known:
            raise DeviceError(f"{path}: unknown key {key!r}; there is {', '.join(known)}.{did_you_mean(key, known)}")
    threads = given.get("threads", 1)
    if not isinstance(threads, int) or threads < 1:
        raise DeviceError(f"{path}: threads is {threads!r}; it is a number of threads, at least 1")
    rates = {unit: _microseconds(key, _rate(given, key, path)) for unit, key in UNITS.items()}
    sizes = {key: _size(given, key, path) for key in ("runtime", "light", "ram", "flash")}
    for key, least in (("ram", LEAST_MEMORY), ("flash", SMALLEST_POCKET_BYTES)):
        if (size := sizes[key]) is not None and size < least:
            raise DeviceError(f"{path}: {key} is {format_size(size)}; no Pocket runs in less than {format_size(least)}")
    off = given.get("error", 0.0)
    if not isinstance(off, int | float) or isinstance(off, bool) or not 0 <= off < math.inf:
        raise DeviceError(f"{path}: error is {off!r}; it is a share, such as 0.1")
    return Device(
        given["device"], rates, str(given.get("cpu", "")), str(given.get("vectors", "")), threads,
        sizes["runtime"] or 0, sizes["light"] or 0, sizes["ram"], sizes["flash"], float(off),
        str(given.get("taken", "")),
    )  # fmt: skip


def _rate(given: Mapping[str, Any], key: str, path: Path) -> float:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        found = "is missing" if value is None else f"is {value!r}"
        raise DeviceError(f"{path}: {key} {found}; it is a number above 0, as pocketlm calibrate-device measures it")
    return float(value)


def _size(given: Mapping[str, Any], key: str, path: Path) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    try:
        return parse_size(str(value))
    except UnitError as error:
        raise DeviceError(f"{path}: {key}: {error}") from None


def fitted(works: Sequence[Work], milliseconds: Sequence[float], usual: Mapping[str, float]) -> dict[str, float]:
    """Rates under which the works take about these times: least squares of relative errors, every rate above 0.

    usual: rates of another machine, in microseconds: the fit is tied to them, all times one factor.
    """
    names = list(UNITS)
    amounts = np.array([[work.get(name, 0.0) for name in names] for work in works]) / 1e3
    taken = np.array(milliseconds, np.float64)
    other = np.array([usual[name] for name in names])
    factor = float(np.median(taken / (amounts @ other)))
    shares: Floats = amounts * (other * factor) / taken[:, None]
    tie = TIED * len(taken)
    multiples = np.ones(len(names))
    held = np.zeros(len(names), bool)
    for _ in names:  # rates that would fall below the least stay there, and the others are fitted again
        free = ~held
        left = 1 - shares[:, held] @ multiples[held]
        gram = shares[:, free].T @ shares[:, free] + tie * np.eye(int(free.sum()))
        multiples[free] = np.linalg.solve(gram, shares[:, free].T @ left + tie)
        below = free & (multiples < LEAST)
        if not below.any():
            break
        multiples[below] = LEAST
        held |= below
    return dict(zip(names, (multiples * other * factor).tolist(), strict=True))


def off_by(device: Device, works: Sequence[Work], milliseconds: Sequence[float]) -> list[float]:
    """By which share each estimate is off, at least 0: 0.5 where it is half or half as much again."""
    return [abs(device.milliseconds(work) / taken - 1) for work, taken in zip(works, milliseconds, strict=True)]
