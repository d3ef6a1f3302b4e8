"""What candidates are expected to take before they are made, and what measured ones would take on another machine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pocketlm.budget import Budget, Measurement
from pocketlm.measure.device import Device
from pocketlm.pocket.work import digest
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.facts import Facts
from pocketlm.search.work import TextSize, work_of

# Measured students of a family that correct the estimates of others.
FEWEST = 2
# A graph's file, what is read of it and what the runtime makes of its weights are there at once: so many times its
# bytes at least (2.6 to 4.6 times were measured).
COPIES = 2


@dataclass
class Forecast:
    """Expected latencies on this machine, corrected by what students of the same family were measured to take.

    here: this machine. there: the one that Pockets will run on, None where it is this one. checked: of each student
    that was measured, what building blocks `alone` said of it, and what was expected with what others had shown.
    """

    here: Device
    facts: Facts
    text: TextSize
    there: Device | None = None
    seen: dict[str, list[float]] = field(default_factory=dict)
    checked: list[dict[str, Any]] = field(default_factory=list)

    def milliseconds(self, recipe: Recipe) -> float:
        """The median latency to expect of a student where it will run, of dev texts."""
        expected = self._on(self.there or self.here, recipe)
        ratios = self.seen.get(recipe.family, [])
        return expected * float(np.median(ratios)) if len(ratios) >= FEWEST else expected

    def note(self, recipe: Recipe, measured: Measurement) -> None:
        """Learn from what a student was measured to take on this machine."""
        expected = self._on(self.here, recipe)
        ratios = self.seen.setdefault(recipe.family, [])
        known = float(np.median(ratios)) if len(ratios) >= FEWEST else 1.0
        self.checked.append({
            "name": recipe.name, "key": digest(recipe.to_json()), "alone_ms": expected,
            "expected_ms": expected * known, "measured_ms": measured.latency_p50_ms,
            "least_memory": memory_at_least(self.here, recipe, measured.size_bytes), "memory": measured.memory_bytes,
        })  # fmt: skip
        ratios.append(measured.latency_p50_ms / expected)

    def moved(self, recipe: Recipe, measured: Measurement) -> Measurement:
        """The measurement as it is expected to be on the other machine; as it is where there is none.

        What was measured here is scaled by the ratio of both machines' estimates, in which most of an estimate's error
        cancels; memory differs by that of the runtime, where that of the other machine is known.
        """
        if self.there is None:
            return measured
        ratio = self.ratio(recipe)
        here, there = (one.memory_of(graph=recipe.has_graph) for one in (self.here, self.there))
        memory = measured.memory_bytes + (there - here if there and here else 0)
        return replace(
            measured, latency_p50_ms=measured.latency_p50_ms * ratio, latency_p95_ms=measured.latency_p95_ms * ratio,
            memory_bytes=max(memory, 0), device=self.there.name,
        )  # fmt: skip

    def memory(self, recipe: Recipe, size: int) -> int:
        """Bytes of memory that a student of so many bytes takes at least where it will run; 0 where nobody knows."""
        return memory_at_least(self.there or self.here, recipe, size)

    def room(self, limit: int | None) -> int | None:
        """Bytes that a graph's file may have within so much memory; None where any, or nobody knows."""
        runtime = (self.there or self.here).memory_of(graph=True)
        return (limit - runtime) // COPIES if limit is not None and runtime else None

    def ratio(self, recipe: Recipe) -> float:
        """How many times as long as here a student is expected to take where it will run."""
        return 1.0 if self.there is None else self._on(self.there, recipe) / self._on(self.here, recipe)

    def _on(self, device: Device, recipe: Recipe) -> float:
        return device.milliseconds(work_of(recipe, self.facts, self.text))

    def to_json(self) -> dict[str, Any]:
        """How far expectations were off, at the time they were made, and the machines.

        memory: how many times the least that was expected was measured, which is to be 1 or more.
        """
        off = [abs(one["expected_ms"] / one["measured_ms"] - 1) for one in self.checked]
        about: dict[str, Any] = {
            "device": self.here.name, "blocks_error": self.here.error, "checked": self.checked,
            "median_error": float(np.median(off)) if off else None, "worst_error": max(off, default=None),
        }  # fmt: skip
        times = [one["memory"] / one["least_memory"] for one in self.checked if one["least_memory"]]
        about |= {"memory": {"median": float(np.median(times)), "lowest": min(times)}} if times else {}
        return about | ({"for": self.there.name} if self.there is not None else {})


def memory_at_least(device: Device, recipe: Recipe, size: int) -> int:
    """Bytes of memory that a student of so many bytes takes there at least; 0 where nobody knows."""
    runtime = device.memory_of(graph=recipe.has_graph)
    return runtime + (COPIES if recipe.has_graph else 1) * size if runtime else 0


def with_room_of(budget: Budget, there: Device | None) -> Budget:
    """The budget, with the machine's flash and memory as limits where nothing was said of size and memory."""
    if there is None:
        return budget
    return replace(
        budget,
        max_size=there.flash if budget.max_size is None else budget.max_size,
        max_memory=there.ram if budget.max_memory is None else budget.max_memory,
    )
