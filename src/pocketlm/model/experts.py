"""Mixtures of experts as PocketLM works on them: every expert a module of its own with linear layers of its own.

`transformers` keeps the matrices of all experts of a block in two tensors, (experts, 2 · units, width) and
(experts, width, units), and the router as a bare matrix: hooks on linear layers see neither. Here the same numbers are
`experts.0.gate_proj`, `experts.0.up_proj`, `experts.0.down_proj`, …, and `gate.proj`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


class Expert(nn.Module):
    """One gated feed-forward net: down(act(gate(x)) · up(x))."""

    def __init__(self, gate_proj: nn.Module, up_proj: nn.Module, down_proj: nn.Module, act_fn: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj, self.act_fn = gate_proj, up_proj, down_proj, act_fn

    def forward(self, inputs: Tensor) -> Tensor:
        """(tokens, width) to (tokens, width)."""
        out: Tensor = self.down_proj(self.act_fn(self.gate_proj(inputs)) * self.up_proj(inputs))
        return out


class Router(nn.Module):
    """Which experts read a token, and with what weight: the `top_k` most probable ones.

    normalize: whether the weights of the chosen are made to sum to 1.
    """

    def __init__(self, proj: nn.Module, top_k: int, normalize: bool) -> None:
        super().__init__()
        self.proj, self.top_k, self.normalize = proj, top_k, normalize

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (tokens, routes), weights (tokens, top_k) and chosen routes (tokens, top_k) of (…, width)."""
        logits = self.proj(inputs.reshape(-1, inputs.shape[-1]))
        weights, chosen = torch.topk(torch.softmax(logits, -1, dtype=torch.float32), self.top_k, dim=-1)
        if self.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        return logits, weights.to(logits.dtype), chosen


class RoutedExperts(nn.ModuleList):
    """The experts of a block, numbered from 0; an expert runs on the tokens that are routed to it only.

    mapping: of every route (row of the router) the number of its expert, where several lead to one that was merged of
    theirs; None where route and expert have one number.
    """

    mapping: list[int] | None

    def __init__(self, experts: Iterable[nn.Module] = ()) -> None:
        super().__init__(experts)
        self.mapping = None

    def to_experts(self, routes: Tensor) -> Tensor:
        """Numbers of the experts that these routes lead to."""
        return routes if self.mapping is None else torch.tensor(self.mapping, device=routes.device)[routes]

    def routed(self, routes: Tensor, weights: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(expert, numbers of its tokens, their weights) of every expert that a token is routed to."""
        chosen = self.to_experts(routes)
        for number in torch.unique(chosen).tolist():
            taken = chosen == number
            tokens = taken.any(-1).nonzero()[:, 0]
            yield number, tokens, (weights * taken).sum(-1)[tokens]

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """The weighted sum of the experts' outputs: (tokens, width)."""
        total = torch.zeros_like(hidden_states)
        for number, tokens, weights in self.routed(top_k_index, top_k_weights):
            out = self[number](hidden_states[tokens]) * weights[:, None]
            total.index_add_(0, tokens, out.to(total.dtype))
        return total


def is_fused_experts(module: nn.Module) -> bool:
    """Whether it holds the matrices of all experts in two tensors, as `transformers` does."""
    found = [module._parameters.get(name) for name in ("gate_up_proj", "down_proj")]
    return all(one is not None and one.dim() == 3 for one in found)


def split_experts(block: nn.Module) -> None:
    """Give the block whose `experts` are fused experts and a router of linear layers, in place."""
    fused: Any = block.experts
    experts = []
    for gate_up, down in zip(fused.gate_up_proj.detach(), fused.down_proj.detach(), strict=True):
        gate, up = gate_up.chunk(2)
        experts.append(Expert(_linear(gate), _linear(up), _linear(down), fused.act_fn))
    block.experts = RoutedExperts(experts)
    del fused.gate_up_proj, fused.down_proj  # freed now, whoever still holds the module
    router: Any = block.gate
    # Mixtral always normalizes and has no setting for it
    block.gate = Router(_linear(router.weight.detach()), router.top_k, getattr(router, "norm_topk_prob", True))


def _linear(matrix: Tensor) -> nn.Linear:
    linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(matrix.clone(), requires_grad=False)
    return linear


def moe_blocks(module: nn.Module) -> dict[str, nn.Module]:
    """Modules with a router `gate` and routed `experts`, by path."""
    return {
        name: child
        for name, child in module.named_modules()
        if isinstance(getattr(child, "experts", None), RoutedExperts)
    }
