"""What the loss makes of a change in each linear layer's output, from one backward pass over calibration text.

G = E[g gᵀ], g the gradient of the log-likelihood of outputs drawn from the model's own prediction: half of
tr[G ΔW E[x xᵀ] ΔWᵀ] is what a change of weights costs in nats a token, to second order (Martens & Grosse 2015,
arXiv:1503.05671). A model without predictions is judged by its hidden states, each feature alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Batch, Calibration, batch_masks
from pocketlm.compress.factors import Root, root_of
from pocketlm.model.anatomy import stacks
from pocketlm.model.pretrained import Model

# More tokens hardly change G; few sequences at a time, as a backward pass holds the activations of all blocks.
TOKENS = 16_384
SEQUENCES = 2


@dataclass
class Curvature:
    """Of linear layers by name. outer: Σ g gᵀ, (out, out), or its diagonal, (out,). tokens: how many were seen.

    rows: Σ over sequences and inputs of (∂L/∂W)², (out,), as FWSVD weights rows. inputs: Σ x xᵀ (in, in), one for all
    layers that read the same tensor.
    """

    outer: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    tokens: int = 0
    _last: tuple[int, Root] | None = None

    def root(self, name: str, damping: float) -> Root:
        """The root of E[x xᵀ] of a layer's inputs."""
        s = self.inputs[name]
        if self._last is None or self._last[0] != id(s):
            self._last = (id(s), root_of(s / max(1, self.tokens), damping))
        return self._last[1]

    def mean(self, name: str) -> Tensor:
        """E[g gᵀ] a token: (out, out) or (out,)."""
        return self.outer[name] / max(1, self.tokens)

    def energy(self, name: str) -> float:
        """E[g²] of one output, the mean over the layer's outputs."""
        mean = self.mean(name)
        return float((mean if mean.dim() == 1 else mean.diagonal()).mean())


def curvature_of(
    model: Model,
    calibration: Calibration,
    names: Sequence[str],
    *,
    full: bool = True,
    rows: bool = False,
    inputs: bool = False,
    seed: int = 0,
    fast: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Curvature:
    """The curvature at the outputs of the layers `names`.

    full: whole outer products, else their diagonals. rows: FWSVD's sums, too. inputs: Σ x xᵀ of their inputs, too.
    """
    found = Curvature()
    generator = torch.Generator().manual_seed(seed)
    parts = _parts(calibration)
    masks: list[Tensor] = []
    with _listening(model, names, found, full, rows), _reading(model, names if inputs else (), found, masks):
        for place, part in enumerate(parts):
            masks[:] = batch_masks(part)
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
                output = model.module(**part)
            torch.autograd.backward(_drawn_loss(output, part, generator))
            found.tokens += int(masks[-1].sum()) if masks else _length(output)
            if progress is not None:
                progress(place + 1, len(parts), "")
    return found


def _parts(calibration: Calibration) -> list[Batch]:
    """A few sequences each, evenly from the whole calibration, of at most TOKENS tokens in all."""
    parts: list[Batch] = [
        {name: value[start : start + SEQUENCES] for name, value in batch.items()}
        for batch in calibration.batches
        for start in range(0, len(next(iter(batch.values()))), SEQUENCES)
    ]
    keep = max(1, min(len(parts), round(len(parts) * TOKENS / max(1, calibration.tokens))))
    return [parts[place * len(parts) // keep] for place in range(keep)]


def _length(output: Any) -> int:
    states = output[0]
    return int(states.shape[0] * states.shape[1])


def _drawn_loss(output: Any, batch: Batch, generator: torch.Generator) -> Tensor:
    """A loss whose gradients' outer products have the curvature as their mean."""
    masks = batch_masks(batch)
    logits = getattr(output, "logits", None)
    states: Tensor = (output[0] if logits is None else logits).float()
    if masks and states.shape[:2] == masks[-1].shape:
        states = states[masks[-1]]
    states = states.reshape(-1, states.shape[-1])
    if logits is None:
        signs = torch.randint(0, 2, states.shape, generator=generator) * 2.0 - 1
        return (states * signs).sum()
    spread = states.log_softmax(-1)
    drawn = torch.multinomial(spread.detach().exp(), 1, generator=generator)
    return -spread.gather(1, drawn).sum()


@contextmanager
def _listening(model: Model, names: Sequence[str], found: Curvature, full: bool, rows: bool) -> Iterator[None]:
    handles = []
    for stack in stacks(model.module):
        handles.append(model.module.get_submodule(stack[0]).register_forward_pre_hook(_follow_from, with_kwargs=True))
    for name in names:
        handles.append(model.module.get_submodule(name).register_forward_hook(_listener(name, found, full, rows)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _reading(model: Model, names: Sequence[str], found: Curvature, masks: Sequence[Tensor]) -> Iterator[None]:
    """While open, Σ x xᵀ of tokens that are no padding is added up. masks: of the batch at hand."""
    last: list[Any] = [None, ""]
    handles = []

    def listener(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            known = found.inputs.get(name)
            if last[0] is given[0] and (known is None or known is found.inputs[last[1]]):
                found.inputs[name] = found.inputs[last[1]]
                return
            states = given[0].detach()
            mask = next((one for one in masks if one.shape == states.shape[:-1]), None)
            flat = (states.reshape(-1, states.shape[-1]) if mask is None else states[mask]).float()
            if known is None:
                known = found.inputs[name] = torch.zeros(flat.shape[-1], flat.shape[-1])
            with torch.autocast("cpu", enabled=False):
                known.addmm_(flat.t(), flat)
            last[:] = given[0], name

        return hook

    for name in names:
        handles.append(model.module.get_submodule(name).register_forward_pre_hook(listener(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _follow_from(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Gradients are followed back to the first block: weights themselves need none."""
    hidden = args[0] if args else kwargs["hidden_states"]
    if not hidden.requires_grad:
        hidden.requires_grad_()


def _listener(name: str, found: Curvature, full: bool, rows: bool) -> Callable[..., None]:
    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        inputs = given[0].detach()

        def take(gradient: Tensor) -> None:
            flat = gradient.reshape(-1, gradient.shape[-1]).float()
            outer = flat.t() @ flat if full else flat.square().sum(0)
            found.outer[name] = found.outer[name] + outer if name in found.outer else outer
            if rows:
                one = torch.einsum("...to,...ti->...oi", gradient.float(), inputs.float()).square()
                energy = one.reshape(-1, *one.shape[-2:]).sum((0, 2))
                found.rows[name] = found.rows[name] + energy if name in found.rows else energy

        if output.requires_grad:
            listen: Callable[..., Any] = output.register_hook
            listen(take)

    return hook
