"""How much the loss feels an error in each layer's output: one backward pass over calibration data.

For a weight error E in a layer with input moments S, the loss rises by about ½ Σ_i g_i · E_i S E_iᵀ, where g_i is the
mean square of the loss's gradient at output i: the Kronecker-factored Fisher information with a diagonal output
factor (Martens and Grosse 2015, arXiv:1503.05671). It makes bits, ranks and sparsities of layers comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.compress.calibration import Batch, Calibration, batch_masks
from pocketlm.model.anatomy import is_embedding, is_linear
from pocketlm.model.pretrained import Model

# Tokens of one backward pass: its logits and activations are what takes the memory.
BACKWARD_TOKENS = 512

Loss = Callable[[Any, Batch], Tensor]


def calibration_loss(model: Model) -> Loss:
    """The loss (a sum over tokens or texts) whose gradients tell how sensitive the model is.

    Language models: cross-entropy of labels drawn from the model's own predictions, which is what the Fisher
    information is about and needs no labels. Encoders without a head: squared change of the hidden states.
    """
    generator = torch.Generator().manual_seed(0)

    def loss(output: Any, batch: Batch) -> Tensor:
        if getattr(output, "logits", None) is None:
            hidden = output[0]
            noise = torch.randn(hidden.shape, generator=generator)
            total: Tensor = (hidden * noise).sum()
            return total
        logits = output.logits.float().flatten(0, -2)
        with torch.no_grad():
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        each = F.cross_entropy(logits, drawn, reduction="none")
        masks = [mask for mask in batch_masks(batch) if mask.numel() == len(each)]
        return (each * masks[-1].flatten()).sum() if masks else each.sum()

    return loss


def gradient_energy(
    model: Model, calibration: Calibration, names: list[str] | None = None, batches: int = 4, fast: bool = False
) -> dict[str, Tensor]:
    """Mean square, over tokens, of the loss's gradient at every output of linear layers: {name: (out,)}.

    Under "" that at the output of the token embedding (width,), where there is one. names: layers wanted; all linear
    layers without. batches: how many calibration batches are run backward.
    """
    wanted = {
        name: child
        for name, child in model.module.named_modules()
        if is_linear(child) and (names is None or name in names)
    }
    energy: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    loss = calibration_loss(model)
    with ExitStack() as stack:
        for name, child in wanted.items():
            stack.callback(child.register_forward_hook(_listener(name, energy, counts)).remove)
        for batch in small_batches(calibration, batches):
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast), _grown(model) as grown:
                torch.autograd.backward(loss(model.module(**batch), batch))
            for output in grown.outputs:
                _add("", output.grad, energy, counts)
    return {name: total / max(1, counts[name]) for name, total in energy.items()}


def small_batches(calibration: Calibration, batches: int) -> Iterator[Batch]:
    """The sequences of `batches` calibration batches, spread over all, a few at a time: a way back takes memory."""
    for batch in calibration.batches[:: max(1, len(calibration.batches) // batches)][:batches]:
        first = next(iter(batch.values()))
        size = max(1, BACKWARD_TOKENS // max(1, first.shape[1]))
        for start in range(0, len(first), size):
            yield {name: tensor[start : start + size] for name, tensor in batch.items()}


def _add(name: str, gradient: Tensor | None, energy: dict[str, Tensor], counts: dict[str, int]) -> None:
    if gradient is None:
        return
    flat = gradient.reshape(-1, gradient.shape[-1]).float()
    energy[name] = energy.get(name, torch.zeros(flat.shape[1])) + flat.square().sum(0)
    counts[name] = counts.get(name, 0) + int(flat.any(1).sum())


def _listener(name: str, energy: dict[str, Tensor], counts: dict[str, int]) -> Any:
    def hook(module: nn.Module, given: Any, output: Tensor) -> None:
        def receive(gradient: Tensor) -> None:
            _add(name, gradient, energy, counts)

        if output.requires_grad:
            output.register_hook(receive)  # type: ignore[no-untyped-call]

    return hook


class _grown:
    """While open, what embeddings (and a sound's first layers) give requires gradients: a way back to the first block.

    outputs: of the embeddings of tokens.
    """

    def __init__(self, model: Model) -> None:
        self.module = model.module
        self.outputs: list[Tensor] = []
        self.handles: list[Any] = []

    def __enter__(self) -> _grown:
        for child in self.module.modules():
            if is_embedding(child):
                tokens = child.num_embeddings == getattr(self.module.config, "vocab_size", None)
                self.handles.append(child.register_forward_hook(self._grow(bool(tokens))))
            elif isinstance(child, nn.Conv1d):
                self.handles.append(child.register_forward_hook(self._grow(False)))
        return self

    def _grow(self, tokens: bool) -> Any:
        def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            output = output.detach().requires_grad_(True)
            if tokens:
                self.outputs.append(output)
            return output

        return hook

    def __exit__(self, *stopped: object) -> None:
        for handle in self.handles:
            handle.remove()


def token_counts(calibration: Calibration, size: int) -> Tensor:
    """How often each token stands in the calibration inputs: (size,)."""
    counts = torch.zeros(size)
    for batch in calibration.batches:
        for name, mask in (("input_ids", "attention_mask"), ("decoder_input_ids", "decoder_attention_mask")):
            if name in batch:
                ids = batch[name] if mask not in batch else batch[name][batch[mask].bool()]
                counts += torch.bincount(ids.reshape(-1), minlength=size)[:size]
    return counts


def smoothed(energy: Tensor, share: float) -> Tensor:
    """Energies mixed with `share` of their mean: few calibration tokens leave some of them by chance near 0."""
    return energy + share * energy.mean()
