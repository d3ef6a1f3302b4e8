"""Experts while a block runs: which tokens each of their layers reads, and the order in which they would all run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.model.anatomy import is_linear
from pocketlm.model.experts import RoutedExperts


@contextmanager
def every_expert(block: nn.Module) -> Iterator[None]:
    """While open, all experts of the block read all tokens, each a copy of its own; what they put out is left out."""
    found = [one for one in block.modules() if isinstance(one, RoutedExperts)]

    def run_all(experts: RoutedExperts) -> Callable[..., Tensor]:
        def forward(hidden: Tensor, routes: Tensor, weights: Tensor) -> Tensor:
            for expert in experts:
                expert(hidden.clone())
            return torch.zeros_like(hidden)

        return forward

    for one in found:
        one.forward = run_all(one)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for one in found:
            del one.forward


@contextmanager
def hearing_routes(block: nn.Module, told: Callable[[str, Tensor], None]) -> Iterator[None]:
    """While open, `told` gets the path in the block of every layer of an expert that is about to run, and its tokens.

    Tokens are numbers of the rows of what the mixture reads, ascending: those of the input of the layer.
    """

    def listen(path: str) -> Any:
        def hook(module: RoutedExperts, given: tuple[Tensor, ...]) -> None:
            for number, tokens, _ in module.routed(*given[1:]):
                for name, child in module[number].named_modules():
                    if is_linear(child):
                        told(f"{path}.{number}.{name}", tokens)

        return hook

    mixtures = {name: one for name, one in block.named_modules() if isinstance(one, RoutedExperts)}
    handles = [one.register_forward_pre_hook(listen(name)) for name, one in mixtures.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def matched(inputs: Tensor, tokens: Tensor, others: Tensor, their_tokens: Tensor) -> Tensor:
    """`others` (float32) row by row for `tokens`: where a token is not among theirs, the row of `inputs` as it is."""
    found, both = inputs.float().clone(), torch.isin(tokens, their_tokens)
    found[both] = others[torch.searchsorted(their_tokens, tokens[both])].float()
    return found
