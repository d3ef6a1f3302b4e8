"""Blocks beside what they were: inputs of the compressed model and of the dense one, token by token.

A layer that reads x̂ where the dense model's reads x should give what the dense one gave: the least-squares weight is
M = W + W Σ(x − x̂)x̂ᵀ Ŝ⁻¹, and where its output is added to a stream that has drifted by e = h − ĥ, + Σ e x̂ᵀ Ŝ⁻¹, with
Ŝ = Σ x̂ x̂ᵀ (the update of SVD-LLM, Wang et al. 2024, arXiv:2403.07378; GPTAQ, Li et al. 2025, arXiv:2504.02692, has
the same targets).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Moments
from pocketlm.compress.factors import Root, root_of
from pocketlm.compress.moments import massive_weights
from pocketlm.compress.walk import BlockView, first_tensor, precision
from pocketlm.model.anatomy import is_linear, stacks
from pocketlm.model.pretrained import Model


@dataclass
class PairedMoments:
    """Sums over tokens for one layer. s: Σ x̂ x̂ᵀ. drift: Σ (x − x̂) x̂ᵀ. tokens: how many.

    stream: Σ e x̂ᵀ (out, in), where it is added to a stream. Both are None where tokens do not match (experts).
    """

    s: Tensor
    drift: Tensor | None
    stream: Tensor | None = None
    tokens: int = 0
    roots: dict[float, Root] = field(default_factory=dict)

    def root(self, damping: float) -> Root:
        """The root of S, found once for all layers that share these moments."""
        if damping not in self.roots:
            self.roots[damping] = root_of(self.s, damping)
        return self.roots[damping]

    def target(self, weight: Tensor, damping: float, pull: float) -> Tensor:
        """The weight (out, in) with the dense model's output, or a share `pull` of the way from W to it."""
        wanted = torch.zeros_like(weight) if self.drift is None else weight @ self.drift
        if self.stream is not None:
            wanted = wanted + self.stream
        if not pull or not bool(wanted.any()):
            return weight
        return weight + pull * self.root(damping).solve(wanted.double()).float()


def plain_moments(paired: PairedMoments) -> Moments:
    """Those of the layer's inputs alone."""
    moments = Moments.empty(len(paired.s))
    moments.s, moments.tokens = paired.s, paired.tokens
    return moments


class _Stop(Exception):
    """All that was asked for is known."""


@dataclass
class DensePath:
    """The dense model's hidden states, kept beside those of a walk.

    block: the present block as it was. heard: a batch each, what its layers and streams read, by path in the block.
    wanted: its results, where the block ran already.
    """

    firsts: frozenset[str]
    hidden: list[Tensor] = field(default_factory=list)
    block: Any = None
    heard: list[dict[str, Tensor]] = field(default_factory=list)
    results: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, model: Model) -> DensePath:
        """Of a model still to be walked through."""
        return cls(frozenset(stack[0] for stack in stacks(model.module)))

    def enter(self, view: BlockView, teacher: Any = None) -> None:
        """Keep the block as it is now, or take the teacher's in its place."""
        if view.name in self.firsts:
            self.hidden = [view.inputs[place] for place in range(len(view.calls))]
        self.block = copy.deepcopy(view.module) if teacher is None else teacher
        self.heard, self.results = [], []

    def listen(self, view: BlockView, names: set[str], fast: bool) -> None:
        """Run the block as it was once, keeping what the submodules `names` read: in bfloat16 where `fast`."""
        for place, hidden in enumerate(self.hidden):
            call = view.calls[place]
            with precision(fast):
                found, result = _heard(self.block, names, hidden, call.args, call.kwargs, whole=True)
            kept: dict[int, Tensor] = {}
            for tensor in found.values():  # q, k and v read one tensor: it is kept once
                kept.setdefault(id(tensor), tensor.bfloat16() if fast else tensor)
            self.heard.append({name: kept[id(tensor)] for name, tensor in found.items()})
            self.results.append(result)

    def leave(self, view: BlockView, fast: bool) -> None:
        """Go on to the next block's hidden states."""
        self.hidden = [self.outputs(view, place, fast) for place in range(len(self.hidden))]
        self.block, self.heard, self.results = None, [], []

    def outputs(self, view: BlockView, place: int, fast: bool) -> Tensor:
        """The dense block's hidden states on a batch."""
        if self.results:
            return self.results[place]
        call = view.calls[place]
        with precision(fast):
            return first_tensor(self.block(self.hidden[place], *call.args, **call.kwargs))

    def collect(
        self, view: BlockView, names: Sequence[str], streams: Mapping[str, str], fast: bool
    ) -> dict[str, PairedMoments]:
        """Moments of the layers `names` (paths in the block) as the block is now."""
        found: dict[str, PairedMoments] = {}
        for place, call in enumerate(view.calls):
            wanted = {*names, *(streams[name] for name in names if name in streams)}
            with precision(fast):
                now, _ = _heard(view.module, wanted, view.inputs[place], call.args, call.kwargs)
            then = self.heard[place] if self.heard else {}
            done: dict[int, PairedMoments] = {}
            for name in names:
                if name in now:
                    shared = done.get(id(now[name]))
                    if shared is not None and name not in streams:  # q, k and v read one tensor
                        found[name] = shared
                        continue
                    own = found.get(name)
                    found[name] = done[id(now[name])] = _add(own, name, now, then, streams, view.masks[place])
        return found


def _add(
    own: PairedMoments | None, name: str, now: Mapping[str, Tensor], then: Mapping[str, Tensor],
    streams: Mapping[str, str], masks: Sequence[Tensor],
) -> PairedMoments:  # fmt: skip
    mask = next((one for one in masks if one.shape == now[name].shape[:-1]), None)

    def flat(tensor: Tensor) -> Tensor:
        return (tensor.reshape(-1, tensor.shape[-1]) if mask is None else tensor[mask]).float()

    x = flat(now[name])
    weights = massive_weights(x)
    weighted = x if weights is None else x * weights[:, None]
    s = x.t() @ weighted
    matched = name in then and then[name].shape == now[name].shape
    drift = (flat(then[name]) - x).t() @ weighted if matched else None
    stream = None
    if matched and name in streams:
        stream = (flat(then[streams[name]]) - flat(now[streams[name]])).t() @ weighted
    if own is None:
        return PairedMoments(s, drift, stream, len(x))
    return PairedMoments(own.s + s, _sum(own.drift, drift), _sum(own.stream, stream), own.tokens + len(x))


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else first + second


def _heard(
    block: Any, names: set[str], hidden: Tensor, args: Any, kwargs: Mapping[str, Any], *, whole: bool = False
) -> tuple[dict[str, Tensor], Any]:
    """Inputs of submodules by path ("": the block itself) and, of a whole run, the result; else it ends early."""
    found: dict[str, Tensor] = {"": hidden} if "" in names else {}
    result = None
    with ExitStack() as stack:
        for name in names - {""}:

            def hook(module: nn.Module, given: Any, name: str = name) -> None:
                found[name] = given[0].detach()
                if len(found) == len(names) and not whole:
                    raise _Stop

            stack.callback(block.get_submodule(name).register_forward_pre_hook(hook).remove)
        with suppress(_Stop):
            result = first_tensor(block(hidden, *args, **kwargs))
    return found, result


def stages(view: BlockView) -> list[list[str]]:
    """Paths of the block's linear layers in the order they run, those that read the same tensor together.

    Experts count as one layer: they are told apart by their inputs only.
    """
    order: list[tuple[str, Tensor]] = []
    with _recording(view, order):
        view.run(0)
    found: dict[str, list[str]] = {}
    keys: dict[int, str] = {}
    for name, tensor in order:
        key = re.sub(r"experts\.\d+\.", "experts.*.", name)
        key = key if key != name else keys.setdefault(id(tensor), name)
        found.setdefault(key, []).append(name)
    return [list(dict.fromkeys(names)) for names in found.values()]


@contextmanager
def _recording(view: BlockView, order: list[tuple[str, Tensor]]) -> Iterator[None]:
    handles = []
    for name, child in view.module.named_modules():
        if is_linear(child):

            def hook(module: nn.Module, given: Any, name: str = name) -> None:
                order.append((name, given[0]))

            handles.append(child.register_forward_pre_hook(hook))
    try:
        with precision(False):
            yield
    finally:
        for handle in handles:
            handle.remove()


def added_streams(view: BlockView) -> dict[str, str]:
    """Of the linear layers whose output is added to a stream, the submodule ("": the block) that reads the stream.

    Found by looking: the sum of the layer's output and an earlier tensor is what a later submodule reads, or the
    block's result.
    """
    seen: list[tuple[str, Tensor]] = [("", view.inputs[0])]
    outputs: list[tuple[str, int, Tensor]] = []
    handles = []
    for name, child in view.module.named_modules():
        if name and (is_linear(child) or not list(child.children())):  # a packed layer's weight is its child

            def before(module: nn.Module, given: Any, name: str = name) -> None:
                if given and isinstance(given[0], Tensor):
                    seen.append((name, given[0]))

            handles.append(child.register_forward_pre_hook(before))
            if is_linear(child):

                def after(module: nn.Module, given: Any, output: Tensor, name: str = name) -> None:
                    outputs.append((name, len(seen), output))

                handles.append(child.register_forward_hook(after))
    try:
        with precision(False):
            result = view.run(0)
    finally:
        for handle in handles:
            handle.remove()
    read = [*(tensor for _, tensor in seen), result]
    found: dict[str, str] = {}
    for name, count, output in outputs:
        found.update(_stream_of(name, output, seen[:count], read[count:]))
    return found


def _stream_of(
    name: str, output: Tensor, earlier: Sequence[tuple[str, Tensor]], later: Sequence[Tensor]
) -> dict[str, str]:
    """{name: source} where output + source is one of the later tensors."""
    for source, tensor in earlier:
        if tensor.shape == output.shape and tensor.is_floating_point():
            total = tensor + output
            if any(one.shape == total.shape and torch.allclose(one, total, rtol=1e-4, atol=1e-5) for one in later):
                return {name: source}
    return {}
