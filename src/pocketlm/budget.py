"""What a Pocket may cost and must reach, what was measured, and whether the one meets the other."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pocketlm.errors import BudgetError, UnitError
from pocketlm.floors import Floor
from pocketlm.units import format_latency, format_size, parse_latency, parse_share, parse_size

# An empty Pocket (manifest, card, no weights) is about this large: less cannot be met.
SMALLEST_POCKET_BYTES = 2_000
# Less no process of the runtime has.
LEAST_MEMORY = 10**7


@dataclass(frozen=True)
class QualityFloor:
    """The least quality allowed, in [0, 1], or the most of a figure that is better the lower it is.

    metric: the metric it is about; None means the task's main metric.
    of_teacher: the value is a share of the teacher's figure rather than the figure itself.
    most: it is an upper bound, as of perplexity, and may be over 1.
    """

    value: float
    metric: str | None = None
    of_teacher: bool = True
    most: bool = False

    @classmethod
    def parse(cls, text: str) -> QualityFloor:
        """Read "0.97" or "97%" (a share of the teacher's quality), "f1_macro>=0.8" or "perplexity<=30" (the figure)."""
        match = re.fullmatch(r"\s*([a-z][a-z0-9_+]*)\s*(>=|<=)\s*(.+)", text)
        if match is None:
            try:
                return cls(parse_share(text))
            except UnitError as error:
                raise UnitError(f"{error}; or name a metric, such as accuracy>=0.9") from None
        metric, relation, value = match.groups()
        if relation == "<=":
            return cls(_positive(value), metric, of_teacher=False, most=True)
        return cls(parse_share(value), metric, of_teacher=False)

    def check(self, metrics: Collection[str], lower: Collection[str]) -> None:
        """Raise BudgetError where its metric is none of these, or is bounded on the wrong side. lower: better so."""
        name = self.metric
        if name is None:
            return
        if name not in metrics:
            raise BudgetError(f"--min-quality names the metric {name!r}; this task measures {', '.join(metrics)}")
        if self.most != (name in lower):
            better, sign = ("lower", "<=") if name in lower else ("higher", ">=")
            raise BudgetError(f"--min-quality {self}: {name} is better the {better}; write {name}{sign}{self.value:g}")

    def __str__(self) -> str:
        if self.of_teacher:
            return f"{self.value:g} of the teacher's"
        return f"{self.metric or 'quality'}{'<=' if self.most else '>='}{self.value:g}"


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UnitError(f"{text!r} is not a figure above 0, such as perplexity<=30")
    return value


# The lowest and the highest p50 of several blocks of calls, among a measurement's `extra`.
SPREAD = ("latency_p50_low_ms", "latency_p50_high_ms")


@dataclass(frozen=True)
class Measurement:
    """What one exported Pocket was measured to cost and to reach.

    quality: metric name to value in [0, 1], on the split named by `split`.
    size_bytes: the whole file. latency_p50_ms, latency_p95_ms: one text at a time on one thread over
    real inputs, in a fresh process. memory_bytes: peak resident set of that process. device: the machine that latency
    and memory are estimated for; "" where they were measured on the one that runs it.
    """

    quality: Mapping[str, float]
    size_bytes: int
    latency_p50_ms: float
    latency_p95_ms: float
    memory_bytes: int
    split: str = "dev"
    device: str = ""
    extra: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, quality: Mapping[str, float], costs: Mapping[str, Any], split: str = "dev") -> Measurement:
        """From figures, and from what measuring in a fresh process says."""
        spread = {name: float(costs[name]) for name in SPREAD if name in costs}
        return cls(
            quality, costs["size_bytes"], costs["latency_p50_ms"], costs["latency_p95_ms"], costs["memory_bytes"],
            split, extra=spread,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Quality and costs as plain data, as a result tells them of a candidate."""
        return {
            "quality": dict(self.quality),
            "size_bytes": self.size_bytes,
            "latency_p50_ms": self.latency_p50_ms,
            "latency_p95_ms": self.latency_p95_ms,
            "memory_bytes": self.memory_bytes,
            **({"device": self.device} if self.device else {}),
        }


@dataclass(frozen=True)
class Limit:
    """One limit of a budget held against one measured figure; `over` > 0 is a miss, as a share of the limit.

    most: it is an upper bound. device: the machine that the figure is an estimate for; "" where it was measured.
    spread: between which values it was found when it was taken several times, where that is known.
    """

    name: str
    limit: float
    measured: float
    over: float
    most: bool = False
    device: str = ""
    spread: tuple[float, float] | None = None

    @property
    def close(self) -> bool:
        """Whether the next measurement may well say otherwise."""
        return self.spread is not None and self.spread[0] <= self.limit < self.spread[1]

    @property
    def holds(self) -> bool:
        """Whether the figure is within the limit."""
        return self.over <= 0

    def __str__(self) -> str:
        show = {"size": format_size, "memory": format_size, "latency": format_latency}.get(self.name, "{:.4f}".format)
        relation = "≤" if self.most else "≥"
        verdict = "holds" if self.holds else f"missed by {self.over:.1%}"
        estimated = f", estimated for {self.device}" if self.device else ""
        near = ""
        if self.spread is not None and self.close:
            near = f", though {show(self.spread[0])} to {show(self.spread[1])} were measured"
        return f"{self.name} {show(self.measured)} ({relation} {show(self.limit)}{estimated}): {verdict}{near}"


@dataclass(frozen=True)
class Verdict:
    """Every limit with its measured figure."""

    limits: tuple[Limit, ...]

    @property
    def met(self) -> bool:
        """Whether every limit holds."""
        return all(limit.holds for limit in self.limits)

    @property
    def distance(self) -> float:
        """How far from the budget, in shares of the limits missed; 0 when it is met."""
        return sum(max(0.0, limit.over) for limit in self.limits)

    def to_json(self) -> dict[str, Any]:
        """Plain data: whether it is met, and each limit with a sentence on it."""
        limits = [{**vars(one), "holds": one.holds, "text": str(one)} for one in self.limits]
        return {"met": self.met, "limits": limits}

    def __str__(self) -> str:
        return "; ".join(map(str, self.limits)) or "no limit was set"


@dataclass(frozen=True)
class Budget:
    """Limits on bytes, milliseconds (p50), bytes of RAM, and quality; an absent one means "the less the better".

    floors: bounds on other figures, which a measurement has among its `extra`.
    """

    max_size: int | None = None
    max_latency: float | None = None
    max_memory: int | None = None
    min_quality: QualityFloor | None = None
    floors: tuple[Floor, ...] = ()

    def __post_init__(self) -> None:
        if self.max_size is not None and self.max_size < SMALLEST_POCKET_BYTES:
            raise BudgetError(
                f"max size {self.max_size} bytes is impossible: the file's own frame takes "
                f"{format_size(SMALLEST_POCKET_BYTES)}; the smallest useful Pockets start near 10 kB"
            )
        if self.max_latency is not None and self.max_latency <= 0:
            raise BudgetError(f"max latency {self.max_latency} ms is impossible; it must be above 0, such as 1ms")
        if self.max_memory is not None and self.max_memory < LEAST_MEMORY:
            raise BudgetError(
                f"max memory {format_size(self.max_memory)} is impossible: the Python runtime alone takes some 30 MB"
            )

    @classmethod
    def parse(
        cls,
        max_size: str | None = None,
        max_latency: str | None = None,
        max_memory: str | None = None,
        min_quality: str | None = None,
        floors: Sequence[str] = (),
    ) -> Budget:
        """A budget from texts with units. Raises UnitError or BudgetError."""
        return cls(
            None if max_size is None else parse_size(max_size),
            None if max_latency is None else parse_latency(max_latency),
            None if max_memory is None else parse_size(max_memory),
            None if min_quality is None else QualityFloor.parse(min_quality),
            tuple(Floor.parse(one) for one in floors),
        )

    @property
    def free(self) -> bool:
        """Whether size, latency and memory are without a limit."""
        return self.max_size is None and self.max_latency is None and self.max_memory is None

    @property
    def floor_alone(self) -> bool:
        """Whether nothing but quality is asked for, so that what is larger than one that has it is of no use."""
        return self.free and self.min_quality is not None

    def to_json(self) -> dict[str, Any]:
        """Plain data: bytes, milliseconds, bytes, and the floors in words; "floors" only where there are some."""
        floor = None if self.min_quality is None else str(self.min_quality)
        limits = {
            "max_size": self.max_size,
            "max_latency": self.max_latency,
            "max_memory": self.max_memory,
            "min_quality": floor,
        }
        return limits | ({"floors": [str(one) for one in self.floors]} if self.floors else {})

    def check(
        self, measured: Measurement, metric: str, teacher_quality: Mapping[str, float] | None = None,
        lower: Collection[str] = (),
    ) -> Verdict:  # fmt: skip
        """Hold a measurement against every limit.

        metric: the task's main metric. teacher_quality: the teacher's figures on the same split; without
        a teacher, a share of its quality is read as the figure itself. lower: metrics that are better the lower.
        What floors are about is among `measured.extra`.
        Raises BudgetError for a bound on the wrong side of a metric, or on one that is not measured.
        """
        low, high = (measured.extra.get(name) for name in SPREAD)
        spread = None if low is None or high is None or measured.device else (low, high)
        limits = [
            Limit(name, limit, figure, figure / limit - 1, True, device, spread if name == "latency" else None)
            for name, limit, figure, device in (
                ("size", self.max_size, measured.size_bytes, ""),
                ("latency", self.max_latency, measured.latency_p50_ms, measured.device),
                ("memory", self.max_memory, measured.memory_bytes, measured.device),
            )
            if limit is not None
        ]
        if self.min_quality is not None:
            limits.append(_quality_limit(self.min_quality, measured.quality, metric, teacher_quality, lower))
        return Verdict((*limits, *(_floor_limit(one, measured.extra[one.name]) for one in self.floors)))


def _floor_limit(floor: Floor, figure: float) -> Limit:
    over = figure / floor.value - 1
    return Limit(floor.name, floor.value, figure, over if floor.most else -over, floor.most)


def _quality_limit(
    floor: QualityFloor, quality: Mapping[str, float], main: str, teacher: Mapping[str, float] | None,
    lower: Collection[str],
) -> Limit:  # fmt: skip
    name = floor.metric or main
    floor.check(quality, lower)
    if name in lower:
        limit = teacher[name] / floor.value if floor.of_teacher and teacher else floor.value
        return Limit(name, limit, quality[name], quality[name] / limit - 1, most=True)
    limit = floor.value * teacher[name] if floor.of_teacher and teacher else floor.value
    return Limit(name, limit, quality[name], 1 - quality[name] / limit if limit else 0.0)
