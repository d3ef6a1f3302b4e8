"""Figures as the report writes them, and absent ones as a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pocketlm.units import format_duration, format_latency, format_size

ABSENT = "–"
# Before a figure that was estimated for another machine.
ESTIMATE = "≈\u00a0"
_LOWER = ("perplexity", "bits_per_byte")
# A figure and its unit stay on one line.
_HOLD = "\u00a0"
_METRICS = {
    "chrf++": "chrF++",
    "bleu": "BLEU",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "f1_weighted": "weighted F1",
    "precision_macro": "macro precision",
    "precision_micro": "micro precision",
    "recall_macro": "macro recall",
    "recall_micro": "micro recall",
    "intent_f1_macro": "intent macro F1",
    "slot_f1": "slot F1",
    "spearman": "Spearman",
    "pearson": "Pearson",
    "recall_at_1": "recall@1",
    "recall_at_10": "recall@10",
    "mrr": "MRR",
    "calibration_error_before": "calibration error before",
    "risk_area": "area under risk",
    "coverage": "texts answered",
    "answered_accuracy": "accuracy of answers",
}


def number(value: object) -> float | None:
    """A finite figure, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def figure(of: object, *path: str) -> float | None:
    """The finite figure at a path of keys, or None where any of it is absent."""
    for key in path:
        of = of.get(key) if isinstance(of, Mapping) else None
    return number(of)


def part(of: object, key: str) -> Mapping[str, Any]:
    """The mapping under `key`, empty where it is absent or null."""
    found = of.get(key) if isinstance(of, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def rows(of: object, key: str) -> list[Any]:
    """The list under `key`, empty where it is absent or null."""
    found = of.get(key) if isinstance(of, Mapping) else None
    return list(found) if isinstance(found, Sequence) and not isinstance(found, str) else []


def size(value: object) -> str:
    """A size such as "267 kB"; a dash where it is absent."""
    known = number(value)
    return ABSENT if known is None else format_size(known).replace(" ", _HOLD)


def latency(value: object) -> str:
    """A latency such as "85 µs"; a dash where it is absent."""
    known = number(value)
    return ABSENT if known is None else format_latency(known).replace(" ", _HOLD)


def duration(value: object) -> str:
    """A duration such as "3m 05s"; a dash where it is absent."""
    known = number(value)
    return ABSENT if known is None else format_duration(known).replace(" ", _HOLD)


def count(value: object) -> str:
    """A count such as "1,204,224"; a dash where it is absent."""
    known = number(value)
    return ABSENT if known is None else f"{known:,.0f}"


def lower_is_better(metric: str) -> bool:
    """Whether less of the metric is more quality; such figures are no shares."""
    return metric in _LOWER


def quality(metric: str, value: object, digits: int = 2) -> str:
    """A metric's value: a share in percent, or the figure itself where it is no share; a dash where it is absent."""
    known = number(value)
    return f"{known:.4g}" if known is not None and lower_is_better(metric) else percent(value, digits)


def percent(value: object, digits: int = 2) -> str:
    """A share as "92.31 %"; a dash where it is absent."""
    known = number(value)
    return ABSENT if known is None else f"{100 * known:.{digits}f}{_HOLD}%"


def interval(low: object, high: object, metric: str = "") -> str:
    """An interval such as "91.3 to 92.8 %", or "1.02 to 1.04" of a metric that is no share; empty where absent."""
    bounds = number(low), number(high)
    if bounds[0] is None or bounds[1] is None:
        return ""
    if lower_is_better(metric):
        return f"{bounds[0]:.4g} to {bounds[1]:.4g}"
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}{_HOLD}%"


def metric_name(name: str) -> str:
    """A metric as people say it: "macro F1", "frame accuracy"."""
    return _METRICS.get(name, name.replace("_", " "))


def limit_figure(name: str, value: object) -> str:
    """A limit's figure in its own unit: bytes, milliseconds, a share, or the figure of a metric that is none."""
    writers = {"size": size, "memory": size, "latency": latency}
    return writers[name](value) if name in writers else quality(name, value)


def plain(value: object) -> str:
    """Any value of the data as one line of text: lists with commas, mappings as "key: value"."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {plain(one)}" for key, one in value.items())
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ABSENT if value is None else str(value)


def step_name(step: Mapping[str, Any]) -> str:
    """The name of a recipe's step."""
    return str(step.get("pass", step.get("name", "step")))


def step_text(step: Mapping[str, Any], most: int | None = None) -> str:
    """A recipe's step with its settings: "quantize (bits 4, epochs 2)"; with `most`, only the first settings."""
    settings = [f"{key} {plain(value)}" for key, value in step.items() if key not in ("pass", "name")]
    if most is not None and len(settings) > most:
        settings = [*settings[:most], "…"]
    return f"{step_name(step)} ({', '.join(settings)})" if settings else step_name(step)


def recipe_summary(recipe: Sequence[Mapping[str, Any]]) -> str:
    """A recipe in one line, with the first settings of each step."""
    return " → ".join(step_text(step, 2) for step in recipe)
