"""The stream of hidden states as the uncompressed model has it, beside the one that compressed blocks give.

With both, a layer can be fitted to what it should put out: with x̃ the uncompressed model's input of a layer, x the one
it gets, and e by how much the stream that its output is added to has drifted, W* = W + (W D + E)(S + λI)⁻¹ minimizes
Σ ‖W* x − W x̃ − e‖², D = Σ (x̃ − x) xᵀ, E = Σ e xᵀ (GPTAQ: Li et al. 2025, arXiv:2504.02692; a share of it: QEP, Arai
and Ichikawa 2025, arXiv:2504.09629; E: as SVD-LLM's update, Wang et al. 2024, arXiv:2403.07378). Of an expert, a token
that only the compressed model routes to it counts in S, and not in D: there is nothing of it to be made up for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.moments import massive_weights, tokens_of
from pocketlm.compress.routed import hearing_routes, matched
from pocketlm.compress.stages import Change, Listen, Plans, Stage, run_in_stages, stages_of
from pocketlm.compress.store import Store
from pocketlm.compress.walk import (
    BlockView,
    fill_unreached,
    first_tensor,
    masks_of,
    measure,
    no_padding,
    precision,
)
from pocketlm.model.anatomy import is_linear


@dataclass
class Drift:
    """D (in, in) of what a layer reads and, where its output is added to a stream, E (out, in)."""

    inputs: Tensor
    stream: Tensor | None = None

    def target(self, matrix: Tensor, s: Tensor, share: float, damping: float) -> Tensor:
        """W + share · (W D + E)(S + λI)⁻¹ with λ = damping · mean(diag S). matrix: (out, in). s: (in, in)."""
        damped = s + damping * s.diagonal().mean() * torch.eye(len(s))
        factor, failed = torch.linalg.cholesky_ex(damped)
        if int(failed):
            return matrix
        wanted = matrix @ self.inputs
        if self.stream is not None:
            wanted += self.stream
        step: Tensor = torch.cholesky_solve(wanted.t(), factor).t()
        return matrix + share * step


@dataclass
class Upstream:
    """Hidden states of the uncompressed model before a block, and what is read in it there.

    A decoder's are those it has with the compressed encoder's output: what the encoder lost is not made up for there.

    hidden: a batch each, where the walk has its own, in memory or on disk; empty before the first block of a stack.
    heard: by the first name of a stage, a batch each, None where no token reached it; routes: of an expert's, tokens.
    drift: by the first name of a stage. sources: of the block's stages whose output is added to a stream, the submodule
    that reads that stream ("": the block).
    """

    hidden: Store = field(default_factory=lambda: Store([]))
    heard: dict[str, Store] = field(default_factory=dict)
    routes: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    drift: dict[str, Drift] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    _known: dict[tuple[Any, ...], dict[str, str]] = field(default_factory=dict)

    def enter(
        self, view: BlockView, stages: Iterable[tuple[str, ...]], fast: bool, block: nn.Module | None = None
    ) -> None:
        """Run a block that is not yet changed: what its stages and their streams read is kept to be compared.

        block: the uncompressed one, where it is not the view's.
        """
        block = view.module if block is None else block
        folder, count = getattr(view.inputs, "folder", None), range(len(view.calls))
        if not self.hidden or self.hidden[0].shape != view.inputs[0].shape or view.name.endswith(".0"):
            self.hidden = Store((view.inputs[place] for place in count), folder, "dense")
        stages = list(stages)
        self.sources = self._sources(view, stages)
        kept = [*dict.fromkeys([names[0] for names in stages] + [*self.sources.values()])]
        self.heard = {name: Store([None for _ in count], folder, f"read-{place}") for place, name in enumerate(kept)}
        self.routes, self.drift = {}, {}
        if "" in self.heard:
            self.heard[""] = self.hidden.kept("stream")
        start, batch = len(view.name) + 1, 0

        def keep(name: str, dtype: torch.dtype | None) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
                self.heard[name][batch] = args[0] if dtype is None else args[0].to(dtype)

            return hook

        def route(path: str, tokens: Tensor) -> None:
            self.routes[f"{view.name}.{path}", batch] = tokens

        with ExitStack() as stack:
            for names in stages:
                hook = keep(names[0], torch.bfloat16 if fast else None)
                stack.callback(block.get_submodule(names[0][start:]).register_forward_pre_hook(hook).remove)
            for source in {*self.sources.values()} - {""}:
                stack.callback(block.get_submodule(source).register_forward_pre_hook(keep(source, None)).remove)
            stack.enter_context(hearing_routes(block, route))
            for batch in count:
                self.hidden[batch] = self._run(view, block, batch, fast)

    def _run(self, view: BlockView, block: nn.Module, place: int, fast: bool) -> Tensor:
        """What the block makes of a batch of the uncompressed model's hidden states."""
        call = view.calls[place]
        with precision(fast):
            return first_tensor(block(self.hidden[place], *call.args, **call.kwargs))

    def _sources(self, view: BlockView, stages: list[tuple[str, ...]]) -> dict[str, str]:
        start = len(view.name) + 1
        kind = (type(view.module), *(tuple(name[start:] for name in names) for names in stages))
        if kind not in self._known:
            self._known[kind] = added_streams(view) if stages else {}
        alone = {names[0] for names in stages if len(names) == 1}
        found = {f"{view.name}.{name}": source for name, source in self._known[kind].items()}
        return {name: source for name, source in found.items() if name in alone}

    def compare(
        self, view: BlockView, stage: Stage, batch: int, inputs: Tensor, read: Mapping[str, Tensor],
        tokens: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Add a batch of a stage to its drift: of differences, so that bfloat16 products lose little of it.

        read: what the sources of streams read of this batch. tokens: of an expert, those that `inputs` holds.
        """
        name, masks = stage.names[0], masks_of(view, batch, inputs)
        kept = self.heard[name][batch]
        if kept is None:
            return
        if tokens is None:
            mine, away = tokens_of(inputs, masks), tokens_of(kept.float() - inputs.float(), masks)
        else:
            real = no_padding(view, batch)[tokens]
            away = matched(inputs, tokens, kept, self.routes[name, batch]) - inputs.float()
            mine, away = inputs[real], away[real]
        if not len(mine):
            return
        weights = massive_weights(mine)  # as in S
        mine = mine if weights is None else mine * weights[:, None]
        with torch.autocast("cpu", enabled=False):
            product = (away.to(kept.dtype).t() @ mine.to(kept.dtype)).float()
            stream = None
            source = self.sources.get(name)
            if source is not None and source in read:
                dense = self.heard[source][batch].float()
                lost = tokens_of(dense - read[source].float(), masks)
                large = massive_weights(tokens_of(dense, masks))  # else the drift of a massive one were all of E
                lost = lost if large is None else lost * large[:, None]
                stream = (lost.to(kept.dtype).t() @ mine.to(kept.dtype)).float()
        if name in self.drift:
            known = self.drift[name]
            product = known.inputs + product
            stream = None if stream is None or known.stream is None else known.stream + stream
        self.drift[name] = Drift(product, stream)


def run_block(
    view: BlockView, plans: Plans, fast: bool, change: Change, upstream: Upstream | None = None, *,
    compare: bool = True, block: nn.Module | None = None,
) -> set[str]:  # fmt: skip
    """Run a block stage by stage, as `run_in_stages`; the layers whose stages were changed.

    Where it has no stages, its layers are measured and none is changed; nor are experts that no token reached.
    upstream: moves on with it, if there is one; with `compare`, drift of every stage is there before its change. block:
    the uncompressed one, where it is not the view's.
    """
    stages = stages_of(view, fast, plans)
    if upstream is not None:
        upstream.enter(view, stages if compare else [], fast, block)
    if not stages:
        measure(view, fast)
        return set()
    listen: Listen | None = None
    if upstream is not None and compare:
        listen = lambda *heard: upstream.compare(view, *heard)  # noqa: E731
    run_in_stages(view, stages, fast, change, listen, () if upstream is None else upstream.sources.values())
    if upstream is not None:
        upstream.heard.clear()
    heard = {name for names in stages for name in names if name in view.statistics}
    fill_unreached(view)
    return heard


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
