"""How much of each layer goes, so that a share of all of them does: alike, by outliers, or by what the loss feels.

OWL (Yin et al. 2023, arXiv:2310.05175): a block's rate falls with its share of outliers, |W_ij| ‖X_j‖ > M · mean.
Sensitivity: removing w_ij and letting the row make up for it costs the loss about g_i² w_ij² / [S⁻¹]_jj, where g_i² is
the mean squared gradient at output i (the Fisher information as a Kronecker product, Martens & Grosse 2015,
arXiv:1503.05671; OBS of Hassibi & Stork 1993). One threshold on that cost for all layers fills each to its level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.masks import damped, inverse_factor
from pocketlm.compress.moments import Moments
from pocketlm.compress.targets import leaves, pack_layer
from pocketlm.compress.walk import BlockView, walk
from pocketlm.model.anatomy import LayerInfo, is_linear
from pocketlm.model.pretrained import Model

OUTLIER = 5.0
# Points of a layer's curve of costs, and sequences that layers are measured on.
POINTS = 4096
SEQUENCES = 24
HIGHEST = 0.98


def seen_moments(view: BlockView, name: str) -> Moments | None:
    """What a layer's inputs are like, or None where no calibration token reached it."""
    return view.statistics[name] if name in view.statistics else None  # noqa: SIM401 - no dict: a missing key is an error


def owl_rates(
    outliers: Mapping[str, float], sizes: Mapping[str, int], sparsity: float, spread: float
) -> dict[str, float]:
    """Rates that fall linearly with the share of outliers, `spread` about their mean, which by size is `sparsity`."""
    low, high = min(outliers.values()), max(outliers.values())
    width = max(high - low, 1e-12)
    raw = {name: -(value - low) / width * 2 * spread for name, value in outliers.items()}
    mean = sum(raw[name] * sizes[name] for name in raw) / sum(sizes[name] for name in raw)
    return {name: min(HIGHEST, max(0.0, value - mean + sparsity)) for name, value in raw.items()}


def filled_rates(
    costs: Mapping[str, Tensor], sizes: Mapping[str, int], sparsity: float, spread: float
) -> dict[str, float]:
    """Rates at which one threshold cuts every layer's sorted costs, within `spread` of `sparsity`, which they come to.

    costs: of each layer some of its weights' costs, sorted, that stand for all of them.
    """
    low, high = max(0.0, sparsity - spread), min(HIGHEST, sparsity + spread)
    logs = {name: one.clamp(min=1e-30).log() for name, one in costs.items()}
    total = sum(sizes.values())

    def at(level: float) -> dict[str, float]:
        point = torch.tensor(level)
        shares = {name: float(torch.searchsorted(one, point)) / len(one) for name, one in logs.items()}
        return {name: min(high, max(low, share)) for name, share in shares.items()}

    least = min(float(one[0]) for one in logs.values()) - 1
    most = max(float(one[-1]) for one in logs.values()) + 1
    for _ in range(60):
        middle = (least + most) / 2
        mean = sum(rate * sizes[name] for name, rate in at(middle).items()) / total
        least, most = (middle, most) if mean < sparsity else (least, middle)
    return _exact(at(least), sizes, sparsity, low, high)


def _exact(
    rates: dict[str, float], sizes: Mapping[str, int], sparsity: float, low: float, high: float
) -> dict[str, float]:
    """The rates moved alike, within their bounds, until they come to `sparsity`: a step of a curve is not a point."""
    for _ in range(8):
        lacking = sparsity - sum(rates[name] * sizes[name] for name in rates) / sum(sizes.values())
        rates = {name: min(high, max(low, rate + lacking)) for name, rate in rates.items()}
    return rates


@dataclass(frozen=True)
class Rates:
    """Of each matrix by name: the share that goes, and how much an error in each of its outputs counts."""

    shares: Mapping[str, float]
    rows: Mapping[str, Tensor]


def allocate(
    model: Model, context: Context, chosen: Sequence[LayerInfo], sparsity: Mapping[str, float], kind: str,
    spread: float, name: str,
) -> Rates:  # fmt: skip
    """Rates by `kind` ("owl" or "sensitivity") of the layers inside blocks, each group of equal sparsity on its own.

    Layers that no calibration token reaches keep the rate they are given.
    """
    calibration = beginning(context.calibrated(name), SEQUENCES)
    rows = output_gradients(model, calibration, [one.name for one in chosen], context) if kind == "sensitivity" else {}
    seen: dict[str, Tensor] = {}
    sizes: dict[str, int] = {}
    wanted = {one.name: one for one in chosen if one.block}

    def look(view: BlockView) -> None:
        for layer in [layer for layer in view.linears() if layer in wanted]:
            for leaf in leaves(layer, pack_layer(model.module, layer), seen_moments(view, layer)):
                if leaf.moments is not None:
                    sizes[leaf.name] = leaf.matrix.numel()
                    seen[leaf.name] = _curve(leaf.matrix, leaf.moments, rows.get(leaf.name), kind)

    walk(model, calibration, look, fast=context.fast, disk=context.disk, progress=context.ticks("measuring layers"))
    shares: dict[str, float] = {}
    for rate in sorted({sparsity[leaf.partition("/")[0]] for leaf in seen}):
        group = {leaf: one for leaf, one in seen.items() if sparsity[leaf.partition("/")[0]] == rate}
        if kind == "owl":
            shares |= _owl_by_block(group, sizes, wanted, rate, spread)
        else:
            shares |= filled_rates(group, sizes, rate, spread)
    return Rates(shares, {leaf: one for leaf, one in rows.items() if leaf in shares})


def beginning(calibration: Calibration, sequences: int) -> Calibration:
    """The first batches of a calibration, until they hold so many sequences."""
    taken, held = 0, 0
    while taken < len(calibration.batches) and held < sequences:
        held += len(next(iter(calibration.batches[taken].values())))
        taken += 1
    return replace(calibration, batches=calibration.batches[:taken])


def _curve(matrix: Tensor, moments: Moments, rows: Tensor | None, kind: str) -> Tensor:
    """For OWL the share of outliers (1,); else the sorted costs of `POINTS` weights that stand for all."""
    if kind == "owl":
        scores = matrix.abs() * moments.norms
        return (scores > OUTLIER * scores.mean()).float().mean()[None]
    costs = matrix.square() / inverse_factor(damped(moments.mean)).square().sum(0)
    if rows is not None:
        costs = costs * rows[:, None]
    ordered = costs.reshape(-1).sort().values
    places = ((torch.arange(min(POINTS, len(ordered))) + 0.5) * (len(ordered) / min(POINTS, len(ordered)))).long()
    return ordered[places]


def _owl_by_block(
    found: Mapping[str, Tensor], sizes: Mapping[str, int], layers: Mapping[str, LayerInfo], rate: float, spread: float
) -> dict[str, float]:
    """OWL's rates: one for every block."""
    block = {leaf: layers[leaf.partition("/")[0]].block for leaf in found}
    total: dict[str, int] = {}
    outliers: dict[str, float] = {}
    for leaf, share in found.items():
        total[block[leaf]] = total.get(block[leaf], 0) + sizes[leaf]
        outliers[block[leaf]] = outliers.get(block[leaf], 0.0) + float(share) * sizes[leaf]
    rates = owl_rates({one: value / total[one] for one, value in outliers.items()}, total, rate, spread)
    return {leaf: rates[block[leaf]] for leaf in found}


def output_gradients(
    model: Model, calibration: Calibration, names: Sequence[str], context: Context, sequences: int = SEQUENCES
) -> dict[str, Tensor]:
    """The mean squared gradient at each output of the layers called `names`: (rows,) each.

    Of the cross entropy with tokens drawn from the model's own predictions; of a model that predicts none, of a random
    projection of its last hidden states.
    """
    summed: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    generator = torch.Generator().manual_seed(context.seed)
    handles = [_listen(name, model.module.get_submodule(name), summed, counts) for name in names]
    tick, done = context.ticks("gradients"), 0
    try:
        for batch in calibration.batches:
            size = next(iter(batch.values())).shape[0]
            for start in range(0, min(size, sequences - done), 2):
                part = {key: value[start : start + 2] for key, value in batch.items()}
                with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=context.fast):
                    loss = _probe(model.module(**part), part, generator)
                loss.backward()  # type: ignore[no-untyped-call]
                tick(min(sequences, done + start + 2), sequences, "")
            done += size
            if done >= sequences:
                break
    finally:
        for handle in handles:
            handle.remove()
    return {name: summed[name] / counts[name] for name in summed}


def _listen(name: str, module: nn.Module, summed: dict[str, Tensor], counts: dict[str, int]) -> Any:
    assert is_linear(module) or hasattr(module, "stored") or hasattr(module, "weight")

    def take(gradient: Tensor) -> None:
        rows = gradient.detach().float().reshape(-1, gradient.shape[-1])
        summed[name] = summed.get(name, torch.zeros(rows.shape[1])) + rows.square().sum(0)
        counts[name] = counts.get(name, 0) + len(rows)

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            output = output if output.requires_grad else output.detach().requires_grad_()
            output.register_hook(take)  # type: ignore[no-untyped-call]
        return output

    return module.register_forward_hook(hook)


def _probe(output: Any, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
    """The sum over tokens of a loss whose gradient's mean square is the Fisher information."""
    logits = getattr(output, "logits", None)
    hidden = (logits if logits is not None else output.last_hidden_state).float()
    rows = hidden.reshape(-1, hidden.shape[-1])
    if "attention_mask" in batch and batch["attention_mask"].shape == hidden.shape[:-1]:
        rows = rows[batch["attention_mask"].reshape(-1).bool()]
    if logits is None:
        signs = torch.randint(0, 2, rows.shape, generator=generator).float() * 2 - 1
        projected: Tensor = (rows * signs).sum() / rows.shape[1] ** 0.5
        return projected
    drawn = torch.multinomial(rows.detach().softmax(-1), 1, generator=generator)[:, 0]
    return torch.nn.functional.cross_entropy(rows, drawn, reduction="sum")
