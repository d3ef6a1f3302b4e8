"""What a target is counted in: bytes of the saved folder, or microseconds of a forward pass on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from pocketlm.compress.factors import rank_for
from pocketlm.compress.options import Survey, SurveyedLayer
from pocketlm.model.pretrained import Model, save_model
from pocketlm.units import format_latency, format_size

# Passes of a model, or products of a shape, whose median counts; as many again warm up before.
ROUNDS = 7


class Currency(Protocol):
    """What a target is counted in. word: "size" or "time". kinds: of options that can lower it.

    A result is right from `least` of the target to `most`, and tries aim at `aim` of it.
    """

    @property
    def word(self) -> str:
        """Of messages."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of options."""
        ...

    @property
    def least(self) -> float:
        """The share of a target that should be used."""
        ...

    @property
    def aim(self) -> float:
        """The share that tries aim at."""
        ...

    def most(self, target: int) -> float:
        """What a result may have, so that it still has it when it is measured again."""
        ...

    def of(self, model: Model) -> int:
        """What a model has."""
        ...

    def table(self, found: Survey) -> Survey:
        """A survey whose sizes are in this currency."""
        ...

    def said(self, value: float) -> str:
        """An amount for people."""
        ...


@dataclass(frozen=True)
class Bytes:
    """Bytes of the folder that is written. A record may be longer another time, as seconds and memory are in it."""

    word: str = "size"
    kinds: tuple[str, ...] = ("entropy-coded", "low-rank", "prune", "width", "drop")
    least: float = 0.98
    aim: float = 0.993
    room: int = 256

    def most(self, target: int) -> float:
        """All but a few bytes."""
        return target - self.room

    def of(self, model: Model) -> int:
        """Of the folder, as it is really saved."""
        with tempfile.TemporaryDirectory() as place:
            return save_model(model, Path(place) / "model")

    def table(self, found: Survey) -> Survey:
        """As it is."""
        return found

    def said(self, value: float) -> str:
        """Such as "60 MB"."""
        return format_size(value)


@dataclass(frozen=True)
class Microseconds:
    """Of one forward pass over `row` (a batch of one sequence) by torch in float32 on this machine, the median of some.

    Bits and zeros buy no time there: factors, fewer units and fewer blocks do.
    """

    row: Mapping[str, Tensor] = field(hash=False)
    word: str = "time"
    kinds: tuple[str, ...] = ("low-rank", "width", "drop")
    least: float = 0.92
    aim: float = 0.96
    room: float = 0.02

    def most(self, target: int) -> float:
        """A little less than the target: times differ from run to run."""
        return (1 - self.room) * target

    def of(self, model: Model) -> int:
        """Microseconds of a pass."""
        extra = {} if model.spec.kind == "encoder" else {"use_cache": False}

        def run() -> None:
            model.module(**self.row, **extra)

        return _microseconds(run)

    def table(self, found: Survey) -> Survey:
        """Each matrix by the time of its product, measured for its shape; each rank by that of its two."""
        tokens = next(iter(self.row.values())).shape[-1]

        @cache
        def product(rows: int, columns: int) -> int:
            inputs, matrix = torch.randn(tokens, columns), torch.randn(rows, columns)
            return _microseconds(lambda: F.linear(inputs, matrix))

        def timed(layer: SurveyedLayer) -> SurveyedLayer:
            if layer.kind == "embedding" and len(layer.names) == 1:
                return replace(layer, bytes=0, options=())
            rows, columns = layer.shape
            options = []
            for one in layer.options:
                if set(one.losses) == {"low-rank"}:
                    rank = rank_for(layer.shape, int((1 - one.settings["share"]) * layer.parameters), True)
                    options.append(replace(one, bytes=product(rank, columns) + product(rows, rank)))
            whole = product(rows, columns)
            return replace(layer, bytes=whole, options=tuple(one for one in options if one.bytes < whole))

        return replace(found, layers=tuple(map(timed, found.layers)), other_bytes=0)

    def said(self, value: float) -> str:
        """Such as "12.4 ms"."""
        return format_latency(value / 1000)


def _microseconds(run: Callable[[], object]) -> int:
    """The median time of a call, in microseconds, at least 1."""
    spent = []
    with torch.inference_mode():
        for _ in range(2 * ROUNDS):
            began = time.perf_counter()
            run()
            spent.append(time.perf_counter() - began)
    return max(1, round(1e6 * median(spent[ROUNDS:])))
