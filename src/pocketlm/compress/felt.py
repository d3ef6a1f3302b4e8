"""What the loss feels of every matrix of a model: each with the metric that makes an error of it nats a token.

One backward pass gives the energy of the loss's gradient at every output, one walk the moments of every input, a block
at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.costs import Metric
from pocketlm.compress.curvature import Curvature, curvature_of
from pocketlm.compress.moments import Moments
from pocketlm.compress.outer import outer_moments
from pocketlm.compress.vocabulary import count_rows
from pocketlm.compress.walk import BlockView, walk
from pocketlm.errors import ModelError
from pocketlm.model.anatomy import LayerInfo, is_embedding
from pocketlm.model.layers import PackedEmbedding, PackedLinear
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight

# Smaller matrices stay as they are: what describes a form of theirs takes more than it saves.
SMALLEST = 512
# Called with a layer's first name, what it is, its matrix, and one metric for each way it is used.
Take = Callable[[str, LayerInfo, Tensor, list[Metric]], None]


def matrices(model: Model) -> list[tuple[tuple[str, ...], LayerInfo]]:
    """Every matrix once, with the names of all modules that use it."""
    tied = {name: tuple(group) for group in model.spec.ties for name in group}
    found: dict[tuple[str, ...], LayerInfo] = {}
    for layer in model.layers:
        found.setdefault(tied.get(layer.name, (layer.name,)), layer)
    return list(found.items())


def plain_matrix(model: Model, layer: LayerInfo) -> Tensor | None:
    """The float32 matrix of a layer that holds a plain one worth compressing. Raises ModelError where not finite."""
    module: Any = model.module.get_submodule(layer.name)
    if isinstance(module, (PackedLinear, PackedEmbedding)):
        matrix = module.stored.matrix() if isinstance(module.stored, DenseWeight) else None
    else:
        matrix = module.weight.detach().float()
    if matrix is None or layer.kind == "router" or matrix.numel() < SMALLEST:
        return None
    if not bool(matrix.isfinite().all()):
        bad = int((~matrix.isfinite()).sum())
        raise ModelError(f"layer {layer.name}: {bad:,} of its weights are NaN or infinite; repair the model first")
    found: Tensor = matrix
    return found


def each_matrix(model: Model, calibration: Calibration, context: Context, take: Take) -> None:
    """Call `take` on every plain matrix of the model, which stays as it is, while its block is looked at."""
    energy = _energies(model, calibration, context)
    groups = {name: (names, layer) for names, layer in matrices(model) for name in names}
    done: set[str] = set()

    def visit(view: BlockView) -> None:
        for name in view.linears():
            names, layer = groups[name]
            if len(names) == 1:
                done.add(name)
                if (matrix := plain_matrix(model, layer)) is not None:
                    take(name, layer, matrix, [_seen_through(name, energy, view.statistics.moments[name], layer)])

    walk(
        model, calibration, visit, fast=context.fast, disk=context.disk,
        progress=context.ticks("sensitivity of layers"),
    )  # fmt: skip
    _outside(model, calibration, context, energy, done, take)


def _energies(model: Model, calibration: Calibration, context: Context) -> Curvature:
    """The gradient's energy at every output of linear layers and embeddings."""
    names = [one.name for one in model.layers if one.kind != "embedding"]
    words = {one.name: model.module.get_submodule(one.name) for one in model.layers}
    with _waking({name: one for name, one in words.items() if is_embedding(one)}) as found:
        made = curvature_of(
            model, calibration, names, full=False, seed=context.seed, fast=context.fast,
            progress=context.ticks("gradients"),
        )  # fmt: skip
    made.outer.update(found)
    return made


def _outside(
    model: Model, calibration: Calibration, context: Context, energy: Curvature, done: set[str], take: Take
) -> None:
    """Heads, embeddings, and matrices that are both."""
    rest = [(names, one) for names, one in matrices(model) if names[0] not in done]
    known = {one.name: one for one in model.layers}
    members = [known[name] for names, _ in rest for name in names if name in known]
    linears = {one.name: model.module.get_submodule(one.name) for one in members if one.kind != "embedding"}
    heard = outer_moments(model, linears, calibration, context.fast) if linears else None
    counts = count_rows(model, members, calibration)
    for names, layer in rest:
        metrics = []
        for name in [one for one in names if one in known]:
            if name in counts and name in energy.outer:
                metrics.append(Metric(_frequencies(counts[name].float()), energy.mean(name)))
            elif heard is not None and name in heard.moments:
                metrics.append(_seen_through(name, energy, heard.moments[name], known[name]))
        if metrics and (matrix := plain_matrix(model, layer)) is not None:
            take(names[0], layer, matrix, metrics)


def _seen_through(name: str, energy: Curvature, moments: Moments, layer: LayerInfo) -> Metric:
    """What an error in a linear layer costs; where no token reached it, what one costs in the others on average."""
    if name in energy.outer:
        return Metric(energy.mean(name), moments.mean)
    mean = sum(energy.energy(one) for one in energy.outer) / max(1, len(energy.outer))
    return Metric(torch.full((layer.shape[0],), mean), moments.mean)


def _frequencies(counts: Tensor) -> Tensor:
    """How often each row is read: seen ones by their counts, the rest by what is read once (Good 1953): (rows,)."""
    total = counts.sum().clamp(min=1)
    unseen = ((counts == 1).sum() + 1) / (total + 1)
    return (1 - unseen) * counts / total + unseen / len(counts)


@contextmanager
def _waking(embeddings: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """While open, gradients flow back to the outputs of embeddings, where their energies add up: {name: (width,)}."""
    found: dict[str, Tensor] = {}

    def listen(name: str) -> Callable[..., Tensor]:
        def take(gradient: Tensor) -> None:
            summed = gradient.reshape(-1, gradient.shape[-1]).float().square().sum(0)
            found[name] = found[name] + summed if name in found else summed

        def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                return output
            woken = output.detach().requires_grad_(True)
            woken.register_hook(take)  # type: ignore[no-untyped-call]
            return woken

        return hook

    handles = [one.register_forward_hook(listen(name)) for name, one in embeddings.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
