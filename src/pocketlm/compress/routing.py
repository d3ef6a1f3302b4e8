"""What routers do on calibration tokens: how often each expert is chosen, and how much it adds when it is.

The saliency of expert j is the mean over the tokens x routed to it of g_j(x) · ‖f_j(x)‖₂, its weight times the length
of its output (REAP, Lasby et al. 2025, arXiv:2510.13999). Padding counts nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.context import Context
from pocketlm.compress.moments import counted
from pocketlm.compress.targets import select
from pocketlm.compress.walk import BlockView, precision, walk
from pocketlm.errors import RecipeError
from pocketlm.model.experts import RoutedExperts, moe_blocks
from pocketlm.model.pretrained import Model


@dataclass
class Routing:
    """Of one mixture, a value an expert. tokens: routed to it. weight: Σ g(x). length: Σ g(x) · ‖f(x)‖.

    energy: Σ g(x)² · ‖f(x)‖². sample: inputs of the mixture, the first ones, (tokens, width).
    """

    tokens: Tensor
    weight: Tensor
    length: Tensor
    energy: Tensor
    sample: list[Tensor] = field(default_factory=list)

    @classmethod
    def empty(cls, experts: int) -> Routing:
        """Of no token yet."""
        tokens, weight, length, energy = torch.zeros(4, experts, dtype=torch.float64)
        return cls(tokens, weight, length, energy)

    @property
    def saliency(self) -> Tensor:
        """Mean g(x) · ‖f(x)‖ of the tokens routed to each; 0 where there are none."""
        return self.length / self.tokens.clamp(min=1)

    @property
    def unreached(self) -> list[int]:
        """Experts that no token was routed to."""
        return (self.tokens == 0).nonzero()[:, 0].tolist()

    def facts(self) -> dict[str, Any]:
        """Plain data for the journal."""
        return {
            "tokens": [int(one) for one in self.tokens],
            "saliency": [float(f"{one:.4g}") for one in self.saliency],
        }


def chosen_mixtures(model: Model, layers: tuple[str, ...], exclude: tuple[str, ...], name: str) -> list[str]:
    """Paths of the mixtures whose experts `layers` takes. Raises RecipeError, naming the pass, where there are none."""
    if not moe_blocks(model.module):
        raise RecipeError(f"pass {name}: {model.spec.model_type} has no experts; it is for mixtures of experts")
    taken = [one.name for one in select(model, layers, exclude) if one.kind == "expert"]
    found = [path for path in moe_blocks(model.module) if any(one.startswith(f"{path}.experts.") for one in taken)]
    if not found:
        raise RecipeError(f"pass {name}: layers {', '.join(layers)} take no expert")
    return found


@contextmanager
def _watching(experts: RoutedExperts, routing: Routing, masks: list[Tensor], sample: int) -> Iterator[None]:
    """While open, what the experts are given and give is added to `routing`."""
    open_calls: dict[int, tuple[int, Tensor, Tensor]] = {}

    def route(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        hidden, routes, weights = given
        real = counted(hidden, masks)
        for number, tokens, gates in experts.routed(routes, weights):
            open_calls[id(experts[number])] = number, real[tokens], gates
        missing = sample - sum(len(one) for one in routing.sample)
        if missing > 0:
            routing.sample.append(hidden[real][:missing].float().clone())

    def hear(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        number, real, gates = open_calls[id(module)]
        gates, lengths = gates[real].double(), out[real].double().norm(dim=-1)
        routing.tokens[number] += len(gates)
        routing.weight[number] += gates.sum()
        routing.length[number] += (gates * lengths).sum()
        routing.energy[number] += (gates * lengths).square().sum()

    handles = [experts.register_forward_pre_hook(route), *(one.register_forward_hook(hear) for one in experts)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def observe(view: BlockView, experts: RoutedExperts, fast: bool, sample: int = 0) -> Routing:
    """What the block's router does on all batches. sample: inputs of the mixture to keep."""
    routing = Routing.empty(len(experts))
    for place in range(len(view.calls)):
        with precision(fast), _watching(experts, routing, view.masks[place], sample):
            view.run(place)
    return routing


def mixture_in(view: BlockView, paths: list[str]) -> str | None:
    """Which of the mixtures is in this block."""
    return next((path for path in paths if path.startswith(f"{view.name}.")), None)


def observe_all(model: Model, context: Context, paths: list[str], name: str) -> dict[str, Routing]:
    """What the routers of the mixtures at `paths` do, the model as it is. name: of the pass that asks."""
    found: dict[str, Routing] = {}

    def visit(view: BlockView) -> None:
        if (path := mixture_in(view, paths)) is not None:
            found[path] = observe(view, experts_at(model, path), context.fast)

    walk(
        model, context.calibrated(name), visit, fast=context.fast, statistics=False, disk=context.disk,
        progress=context.ticks("routers"),
    )  # fmt: skip
    return found


def experts_at(model: Model, path: str) -> RoutedExperts:
    """The experts of the mixture at `path`."""
    experts = model.module.get_submodule(path).experts
    assert isinstance(experts, RoutedExperts)
    return experts


def say_unreached(routings: Mapping[str, Routing], what: str) -> str | None:
    """A line on the experts that no calibration token was routed to, and what became of them; None if all were."""
    names = [f"{path}.experts.{number}" for path, one in routings.items() for number in one.unreached]
    return f"no calibration token was routed to {', '.join(names)}: {what}" if names else None
