"""Sizes, times and shares as people write them: "1MB", "0.5 ms", "10m", "97%"."""

from __future__ import annotations

import re

from pocketlm.errors import UnitError

# Decimal prefixes are SI (1 MB = 1,000,000 bytes); the "i" forms are binary (IEC 80000-13).
BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

_QUANTITY = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]+)?|\.[0-9]+)\s*([a-zA-Zµμ%]*)\s*")


def _parse(text: str, units: dict[str, float] | dict[str, int], kind: str, example: str) -> float:
    match = _QUANTITY.fullmatch(text)
    allowed = ", ".join(units)
    if match is None:
        raise UnitError(f"{text!r} is not a {kind}; write a number and a unit, such as {example}")
    number, unit = match.groups()
    if not unit:
        raise UnitError(f"{text!r} has no unit; a {kind} is written with one of {allowed}, such as {example}")
    if unit.lower() not in units:
        raise UnitError(f"{text!r} has the unknown unit {unit!r}; a {kind} takes one of {allowed}, such as {example}")
    return float(re.sub("[_,]", "", number)) * units[unit.lower()]


def parse_size(text: str) -> int:
    """Bytes of a size such as "300kB" or "1.5 MB" (decimal) or "1MiB" (binary). Raises UnitError."""
    return round(_parse(text, BYTES, "size", '"1MB"'))


def parse_latency(text: str) -> float:
    """Milliseconds of a time such as "0.5 ms", "200us" or "1s". Raises UnitError."""
    return _parse(text, MILLISECONDS, "latency", '"1ms"')


def parse_duration(text: str) -> float:
    """Seconds of a duration such as "90s", "10m" or "1.5h". Raises UnitError."""
    return _parse(text, SECONDS, "duration", '"10m"')


def parse_share(text: str) -> float:
    """A fraction in (0, 1] from "0.97" or "97%". Raises UnitError."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match.group(2) not in ("", "%"):
        raise UnitError(f"{text!r} is not a share; write a fraction such as 0.97 or a percentage such as 97%")
    value = float(match.group(1).replace(",", "")) / (100.0 if match.group(2) else 1.0)
    if not 0 < value <= 1:
        raise UnitError(f"{text!r} is not a share above 0 and up to 1 (0.97) or up to 100%")
    return value


def format_size(size_bytes: float) -> str:
    """A size for people: "57 kB", "1.58 MB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return (
                f"{size_bytes / factor:.3g} {unit}"
                if size_bytes < 999 * factor
                else f"{size_bytes / factor:,.0f} {unit}"
            )
    return f"{size_bytes:.0f} B"


def format_latency(latency_ms: float) -> str:
    """A latency for people: "85 µs", "1.24 ms", "2.1 s"."""
    if latency_ms >= 1000:
        return f"{latency_ms / 1000:.3g} s"
    return f"{latency_ms:.3g} ms" if latency_ms >= 1 else f"{latency_ms * 1000:.3g} µs"


def format_duration(seconds: float) -> str:
    """A duration for people: "4.2 s", "3m 05s", "1h 02m"."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def exact_size(size_bytes: int) -> str:
    """As an option is given: with a unit where that loses nothing, in bytes otherwise."""
    text = format_size(size_bytes).replace(" ", "").replace(",", "")
    return text if parse_size(text) == size_bytes else f"{size_bytes}B"
