"""The loss a part of a model answers for: gradients at the outputs of layers on calibration data.

G = E[g gᵀ], g the gradient at a layer's output of the loss of one token: of the next token for models of language, of
`context.labels` where there are some. An encoder without a head has no loss of its own: there g is that of its hidden
states times random signs, whose G is the Gauss-Newton matrix of the squared error against the model itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pocketlm.compress.calibration import batch_masks
from pocketlm.compress.context import Context
from pocketlm.compress.walk import first_tensor
from pocketlm.model.pretrained import Model

# Tokens whose activations are held at once for the way back.
CHUNK = 1024


def batch_loss(model: Model, batch: Mapping[str, Tensor], labels: Tensor | None, generator: torch.Generator) -> Tensor:
    """The loss of a batch, summed over its tokens (or sequences, where labels are of those)."""
    extra = {"use_cache": False} if model.spec.kind != "encoder" else {}
    out = model.module(**batch, **extra)
    logits = getattr(out, "logits", None)
    if labels is not None and logits is not None:
        return _labelled(logits.float(), labels)
    inputs = batch.get("decoder_input_ids", batch.get("input_ids"))
    if logits is not None and logits.ndim == 3 and inputs is not None and model.spec.kind != "encoder":
        masks = [mask for mask in batch_masks(batch) if mask.shape == inputs.shape]
        losses = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), inputs[:, 1:], reduction="none")
        return (losses * masks[-1][:, 1:]).sum() if masks else losses.sum()
    hidden = first_tensor(out).float()
    signs = torch.randint(2, hidden.shape, generator=generator) * 2.0 - 1
    for mask in batch_masks(batch):
        if hidden.ndim == 3 and mask.shape == hidden.shape[:2]:
            signs = signs * mask[..., None]
    return (hidden * signs).sum()


def _labelled(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():
        return (logits.squeeze(-1) - labels).square().sum()
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="sum", ignore_index=-100)


def chunks(context: Context, name: str, most: int) -> Iterator[tuple[dict[str, Tensor], Tensor | None]]:
    """Parts of the calibration's batches, few sequences each, with their labels; `most` sequences in all."""
    seen = 0
    for place, batch in enumerate(context.calibrated(name).batches):
        labels = torch.as_tensor(context.labels[place]) if context.labels else None
        main = next(iter(batch.values()))
        size = max(1, CHUNK // max(1, main.shape[-1]))
        for start in range(0, len(main), size):
            if seen >= most:
                return
            end = min(start + size, start + most - seen, len(main))
            yield {key: value[start:end] for key, value in batch.items()}, None if labels is None else labels[start:end]
            seen += end - start


@contextmanager
def _listening(model: Model, names: Sequence[str], found: dict[str, Tensor]) -> Iterator[None]:
    """While open, gradients at the outputs of these layers add to their G."""

    def listen(name: str) -> Any:
        def add(gradient: Tensor) -> None:
            flat = gradient.detach().float().reshape(-1, gradient.shape[-1])
            found[name] = found.get(name, 0) + flat.t() @ flat

        def hook(module: nn.Module, given: Any, output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(add)  # type: ignore[no-untyped-call]

        return hook

    def wake(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        return output if output.requires_grad else output.detach().requires_grad_(True)

    first = {name: model.module.get_submodule(name) for name in names}
    handles = [layer.register_forward_hook(wake) for layer in first.values()]
    handles += [layer.register_forward_hook(listen(name)) for name, layer in first.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def output_gradients(model: Model, names: Sequence[str], context: Context, name: str, most: int) -> dict[str, Tensor]:
    """G of each of these layers, (out, out), in nats² a token of calibration. name: of the pass; most: sequences."""
    found: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(context.seed)
    tokens = 0
    ticks = context.ticks("gradients")
    with _listening(model, names, found):
        for place, (batch, labels) in enumerate(chunks(context, name, most)):
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=context.fast):
                loss = batch_loss(model, batch, labels, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            masks = batch_masks(batch)
            tokens += int(masks[-1].sum()) if masks else len(next(iter(batch.values())))
            ticks(place + 1, 0, "")
    return {key: value / max(1, tokens) for key, value in found.items()}
