"""The stream of hidden states as the uncompressed model has it, beside the one that compressed blocks give.

With both, a layer can be fitted to what it should put out: with x̃ the uncompressed model's input of a layer, x the one
it gets, and e by how much the stream that its output is added to has drifted, W* = W + (W D + E)(S + λI)⁻¹ minimizes
Σ ‖W* x − W x̃ − e‖², D = Σ (x̃ − x) xᵀ, E = Σ e xᵀ (GPTAQ: Li et al. 2025, arXiv:2504.02692; a share of it: QEP, Arai
and Ichikawa 2025, arXiv:2504.09629; E: as SVD-LLM's update, Wang et al. 2024, arXiv:2403.07378).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.moments import massive_weights
from pocketlm.compress.paired import added_streams
from pocketlm.compress.stages import Stage
from pocketlm.compress.walk import BlockView, precision, read_tokens


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

    hidden: a batch each; empty before the first block of a stack. drift: by the first name of a stage. sources: of the
    block's stages whose output is added to a stream, the submodule that reads that stream ("": the block).
    """

    hidden: list[Tensor] = field(default_factory=list)
    heard: dict[str, list[Tensor]] = field(default_factory=dict)
    drift: dict[str, Drift] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    _known: dict[tuple[Any, ...], dict[str, str]] = field(default_factory=dict)

    def enter(self, view: BlockView, stages: Iterable[tuple[str, ...]], fast: bool) -> None:
        """Run a block that is not yet changed: what its stages and their streams read is kept to be compared."""
        if not self.hidden or self.hidden[0].shape != view.inputs[0].shape or view.name.endswith(".0"):
            self.hidden = [view.inputs[place] for place in range(len(view.calls))]
        stages = list(stages)
        self.sources = self._sources(view, stages)
        self.heard, self.drift = {names[0]: [] for names in stages}, {}
        self.heard |= {source: list(self.hidden) if not source else [] for source in self.sources.values()}
        linears = view.linears()

        def keep(name: str, dtype: torch.dtype | None) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
                self.heard[name].append(args[0] if dtype is None else args[0].to(dtype))

            return hook

        with ExitStack() as stack:
            for names in stages:
                hook = keep(names[0], torch.bfloat16 if fast else None)
                stack.callback(linears[names[0]].register_forward_pre_hook(hook).remove)
            for source in {*self.sources.values()} - {""}:
                module = view.module.get_submodule(source)
                stack.callback(module.register_forward_pre_hook(keep(source, None)).remove)
            self.hidden = outputs_of(view, self.hidden, fast)

    def _sources(self, view: BlockView, stages: list[tuple[str, ...]]) -> dict[str, str]:
        start = len(view.name) + 1
        kind = (type(view.module), *(tuple(name[start:] for name in names) for names in stages))
        if kind not in self._known:
            self._known[kind] = added_streams(view) if stages else {}
        alone = {names[0] for names in stages if len(names) == 1}
        found = {f"{view.name}.{name}": source for name, source in self._known[kind].items()}
        return {name: source for name, source in found.items() if name in alone}

    def compare(self, view: BlockView, stage: Stage, batch: int, inputs: Tensor, read: Mapping[str, Tensor]) -> None:
        """Add a batch of a stage to its drift: of differences, so that bfloat16 products lose little of it.

        read: what the sources of streams read of this batch.
        """
        name = stage.names[0]
        mine = read_tokens(view, batch, inputs)
        weights = massive_weights(mine)  # as in S
        mine = mine if weights is None else mine * weights[:, None]
        kept = self.heard[name][batch]
        away = read_tokens(view, batch, kept.float() - inputs.float())
        with torch.autocast("cpu", enabled=False):
            product = (away.to(kept.dtype).t() @ mine.to(kept.dtype)).float()
            stream = None
            source = self.sources.get(name)
            if source is not None and source in read:
                dense = self.heard[source][batch].float()
                lost = read_tokens(view, batch, dense - read[source].float())
                large = massive_weights(read_tokens(view, batch, dense))
                lost = lost if large is None else lost * large[:, None]
                stream = (lost.to(kept.dtype).t() @ mine.to(kept.dtype)).float()
        if name in self.drift:
            known = self.drift[name]
            product = known.inputs + product
            stream = None if stream is None or known.stream is None else known.stream + stream
        self.drift[name] = Drift(product, stream)


def outputs_of(view: BlockView, hidden: list[Tensor], fast: bool) -> list[Tensor]:
    """What the block makes of other hidden states than its own inputs, a batch each."""
    mine, made = view.inputs, []
    view.inputs = hidden
    try:
        for place in range(len(view.calls)):
            with precision(fast):
                made.append(view.run(place))
    finally:
        view.inputs = mine
    return made
