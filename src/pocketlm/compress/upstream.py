"""The stream of hidden states as the uncompressed model has it, beside the one that compressed blocks give.

With both, a layer can be fitted to what it should put out: W* = W + W D (S + λI)⁻¹, D = Σ (x̃ − x) xᵀ with x̃ the
uncompressed model's input of a layer and x the one it gets, minimizes ‖W* X − W X̃‖² (GPTAQ: Li et al. 2025,
arXiv:2504.02692; a share of it: QEP, Arai and Ichikawa 2025, arXiv:2504.09629).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.moments import massive_weights
from pocketlm.compress.stages import Stage
from pocketlm.compress.walk import BlockView, precision, read_tokens


@dataclass
class Upstream:
    """Hidden states of the uncompressed model before a block, and its stages' inputs there.

    hidden: a batch each; empty before the first block of a stack. drift: D by the first name of a stage.
    """

    hidden: list[Tensor] = field(default_factory=list)
    heard: dict[str, list[Tensor]] = field(default_factory=dict)
    drift: dict[str, Tensor] = field(default_factory=dict)

    def enter(self, view: BlockView, firsts: list[str], fast: bool) -> None:
        """Run a block that is not yet changed: its stages' inputs are kept until they are compared."""
        if not self.hidden or self.hidden[0].shape != view.inputs[0].shape or view.name.endswith(".0"):
            self.hidden = [view.inputs[place] for place in range(len(view.calls))]
        self.heard, self.drift = {name: [] for name in firsts}, {}
        linears = view.linears()

        def keep(name: str) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
                self.heard[name].append(args[0].to(torch.bfloat16) if fast else args[0])

            return hook

        handles = [linears[name].register_forward_pre_hook(keep(name)) for name in firsts]
        try:
            self.hidden = outputs_of(view, self.hidden, fast)
        finally:
            for handle in handles:
                handle.remove()

    def compare(self, view: BlockView, stage: Stage, batch: int, inputs: Tensor) -> None:
        """Add a batch of a stage to D: of differences, so that bfloat16 products lose little of it."""
        name = stage.names[0]
        mine = read_tokens(view, batch, inputs)
        away = read_tokens(view, batch, self.heard[name][batch].float() - inputs.float())
        kept = self.heard[name][batch].dtype
        weights = massive_weights(mine)  # as in S
        away = away if weights is None else away * weights[:, None]
        with torch.autocast("cpu", enabled=False):
            product = (away.to(kept).t() @ mine.to(kept)).float()
        self.drift[name] = self.drift[name] + product if name in self.drift else product


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


def corrected(matrix: Tensor, s: Tensor, drift: Tensor, share: float, damping: float) -> Tensor:
    """W + share · W D (S + λI)⁻¹ with λ = damping · mean(diag S). matrix: (out, in). s, drift: (in, in)."""
    damped = s + damping * s.diagonal().mean() * torch.eye(len(s))
    factor, failed = torch.linalg.cholesky_ex(damped)
    if int(failed):
        return matrix
    step: Tensor = torch.cholesky_solve((matrix @ drift).t(), factor).t()
    return matrix + share * step
