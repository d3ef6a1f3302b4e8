"""Bits for each expert: more for those that are used much and suffer much, fewer for others, at one average.

The error of expert e at b bits is taken as E_e · r_e(b): E_e = Σ g(x)² ‖f_e(x)‖² over the tokens routed to it, as a
share of its mixture's, and r_e(b) the mean over its matrices of ‖(W − Ŵ_b)X‖² / ‖WX‖² for plain rounding. Bits go step
by step to whom they take most error per byte, on the lower convex hull of each expert's errors (as MC-MoE, Huang
et al. 2024, arXiv:2410.06270, does by integer programming on frequency, weight and error).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, ClassVar

import torch
from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.grid import grid_for
from pocketlm.compress.moments import Moments
from pocketlm.compress.passes import PASSES
from pocketlm.compress.removal import matrix_of
from pocketlm.compress.rounding import check_bits
from pocketlm.compress.routing import Routing, chosen_mixtures, experts_at, mixture_in, observe, say_unreached
from pocketlm.compress.targets import relative_error
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.experts import Expert
from pocketlm.model.pretrained import Model

QUANTIZERS = ("round-to-nearest", "gptq")
MATRICES = ("gate_proj", "up_proj", "down_proj")


def allot_bits(errors: Tensor, sizes: Tensor, choices: Sequence[int], average: float) -> list[int]:
    """Bits of each expert, of `choices`, so that Σ sizes · bits ≤ average · Σ sizes and errors are small.

    errors: (experts, choices), of each expert at each choice. sizes: (experts,), weights. choices: rising.
    Raises ValueError where even the fewest bits are more than the average.
    """
    if average < choices[0]:
        raise ValueError(f"an average of {average} bits is below the fewest of {', '.join(map(str, choices))}")
    places, left = [0] * len(errors), float(sizes.sum()) * (average - choices[0])
    table, weights = errors.tolist(), sizes.tolist()

    def step(expert: int) -> tuple[float, int, int, float] | None:
        """The step up that takes most error per bit and is not too dear: (-gain, expert, choice, cost)."""
        place = places[expert]
        costs = {
            higher: weights[expert] * (choices[higher] - choices[place]) for higher in range(place + 1, len(choices))
        }
        return min(
            (
                ((table[expert][higher] - table[expert][place]) / cost, expert, higher, cost)
                for higher, cost in costs.items()
                if cost <= left + 1e-6
            ),
            default=None,
        )

    queue = [found for expert in range(len(errors)) if (found := step(expert)) is not None]
    heapify(queue)
    while queue:
        gain, expert, higher, cost = heappop(queue)
        if gain >= 0:
            break
        if cost <= left + 1e-6:
            places[expert], left = higher, left - cost
        if (found := step(expert)) is not None:
            heappush(queue, found)
    return [choices[place] for place in places]


def expert_errors(expert: Expert, moments: Mapping[str, Moments], choices: Sequence[int], group_size: int) -> Tensor:
    """r(b) of an expert at each choice of bits: (choices,). moments: by the names of its matrices."""
    found = []
    for bits in choices:
        each = []
        for name in MATRICES:
            matrix = matrix_of(getattr(expert, name), name)
            grid = grid_for(matrix, bits, group_size, symmetric=False)
            each.append(relative_error(matrix, grid.weight(grid.codes(matrix)).matrix(), moments[name]))
        found.append(sum(each) / len(each))
    return torch.tensor(found, dtype=torch.float64)


@dataclass(frozen=True)
class ExpertBits:
    """Quantize experts, each at bits of its own, at an average over all.

    average: bits. choices: what an expert may get. by: the pass that quantizes, "gptq" or "round-to-nearest".
    group_size: columns that share a scale. layers, exclude: groups or name patterns; all experts of a mixture are
    quantized where any of them is named.
    """

    name: ClassVar[str] = "expert-bits"
    kind: ClassVar[str] = "quantize"
    average: float = 3.0
    choices: tuple[int, ...] = (2, 3, 4)
    by: str = "gptq"
    group_size: int = 64
    layers: tuple[str, ...] = ("experts",)
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for bits in self.choices:
            check_bits(bits, self.group_size)
        if list(self.choices) != sorted(set(self.choices)) or not self.choices:
            raise ValueError(f"choices rise and are there once each, got {', '.join(map(str, self.choices))}")
        if not self.choices[0] <= self.average <= self.choices[-1]:
            raise ValueError(
                f"average is from {self.choices[0]} to {self.choices[-1]}, the choices; got {self.average}"
            )
        if self.by not in QUANTIZERS:
            raise ValueError(f"by is one of {', '.join(QUANTIZERS)}, got {self.by!r}")

    def __call__(self, model: Model, context: Context) -> Model:
        """The model with its experts quantized."""
        paths = chosen_mixtures(model, self.layers, self.exclude, self.name)
        bits, routings = self._allot(model, paths, context)
        if (line := say_unreached(routings, f"they get {self.choices[0]} bits, by their weights alone")) is not None:
            context.journal.note(line)
        for path, routing in routings.items():
            given = [bits[f"{path}.experts.{number}.gate_proj"] for number in range(len(routing.tokens))]
            context.journal.note(f"{path}: bits {given} for tokens {routing.facts()['tokens']}")
        step = PASSES[self.by](bits=bits, group_size=self.group_size, layers=tuple(bits))
        changed: Model = step(model, context)
        return changed

    def _allot(self, model: Model, paths: list[str], context: Context) -> tuple[dict[str, int], dict[str, Routing]]:
        """Bits by the name of each matrix, and what the routers did."""
        routings: dict[str, Routing] = {}
        errors: list[Tensor] = []
        names: list[str] = []

        def visit(view: BlockView) -> None:
            if (path := mixture_in(view, paths)) is None:
                return
            experts = experts_at(model, path)
            routing = routings[path] = observe(view, experts, context.fast)
            for number, share in enumerate((routing.energy / routing.energy.sum().clamp(min=1e-30)).tolist()):
                one = f"{path}.experts.{number}"
                moments = {name: view.statistics[f"{one}.{name}"] for name in MATRICES}
                names.append(one)
                errors.append(share * expert_errors(experts[number], moments, self.choices, self.group_size))  # type: ignore[arg-type]

        walk(
            model, context.calibrated(self.name), visit, fast=context.fast, disk=context.disk,
            progress=context.ticks("expert errors"),
        )  # fmt: skip
        sizes = torch.tensor([float(_size(model, name)) for name in names])
        given = allot_bits(torch.stack(errors), sizes, self.choices, self.average)
        return {f"{name}.{one}": bits for name, bits in zip(names, given, strict=True) for one in MATRICES}, routings


def _size(model: Model, name: str) -> int:
    expert: Any = model.module.get_submodule(name)
    return sum(getattr(expert, one).in_features * getattr(expert, one).out_features for one in MATRICES)
