"""A choice of options as the recipe that carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pocketlm.compress.allocate import Allocation
from pocketlm.compress.costs import MULTIPLE
from pocketlm.compress.passes import PASSES
from pocketlm.compress.targets import GROUPS
from pocketlm.errors import BudgetError
from pocketlm.model.anatomy import LayerInfo
from pocketlm.model.pretrained import Model
from pocketlm.recipe.recipe import Recipe

# What kind of option a pass carries out.
KIND_OF = {
    "drop-layers": "drop",
    "prune-ffn": "width",
    "low-rank": "low-rank",
    "sparsegpt": "prune",
    "gptq": "grid",
    "entropy-coded": "entropy-coded",
}


def recipe_of(allocation: Allocation, model: Model) -> Recipe:
    """The choice as passes: blocks, then units, factors, zeros, and bits. Layers go by the names they then have."""
    names = _new_names(allocation, model)
    ties = {name: group for group in model.spec.ties for name in group}
    steps: list[dict[str, Any]] = [
        {"pass": "drop-layers", "stack": stack, "blocks": places} for stack, places in _dropped(allocation).items()
    ]

    def users(kind: str, setting: str) -> dict[str, Any]:
        """The setting of every module whose choice asks for this kind of pass."""
        return {
            names[name]: one.settings[setting] for first, one in allocation.chosen.items()
            if kind in one.losses and setting in one.settings
            for name in ties.get(first, (first,)) if name in names
        }  # fmt: skip

    if widths := users("width", "width"):
        steps.append({"pass": "prune-ffn", "share": widths, "multiple": MULTIPLE, "layers": list(widths)})
    if shares := users("low-rank", "share"):
        steps.append({"pass": "low-rank", "method": "kronecker", "share": shares, "layers": list(shares)})
    if rates := users("prune", "sparsity"):
        steps.append({"pass": "sparsegpt", "sparsity": rates, "layers": list(rates)})
    if grids := {name: int(one) for name, one in users("grid", "bits").items()}:
        steps.append({"pass": "gptq", "bits": grids, "layers": list(grids)})
    if coded := users("entropy-coded", "bits"):
        known = [replace(one, name=names[one.name]) for one in model.layers if one.name in names]
        mean = round(min(8.0, max(1.0, _mean_bits(allocation, model))), 4)
        steps.append({"pass": "entropy-coded", "bits": mean, "layers": _grouped(list(coded), known)})
    if not steps:
        raise BudgetError("the model meets the target as it is: there is nothing to choose")
    return Recipe.from_json(steps, PASSES, "by target size")


def _mean_bits(allocation: Allocation, model: Model) -> float:
    """Bits a weight of what is entropy-coded, of a pruned matrix zeros too, of a factorized one its factors."""
    sizes = {one.name: one.parameters for one in model.layers}
    coded = {name: one for name, one in allocation.chosen.items() if "entropy-coded" in one.losses}
    weights = sum(
        sizes[name] * (1 - one.settings.get("width", 0.0)) * (1 - one.settings.get("share", 0.0))
        for name, one in coded.items()
    )
    return 8 * sum(one.bytes for one in coded.values()) / weights


def _dropped(allocation: Allocation) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for block in allocation.dropped:
        stack, _, place = block.rpartition(".")
        found.setdefault(stack, []).append(int(place))
    return {stack: sorted(places) for stack, places in found.items()}


def _new_names(allocation: Allocation, model: Model) -> dict[str, str]:
    """Names of layers after blocks are dropped, by the names they have now; those of dropped blocks are left out."""
    gone = _dropped(allocation)
    found = {}
    for layer in model.layers:
        if layer.block in allocation.dropped:
            continue
        stack, _, place = layer.block.rpartition(".")
        before = sum(one < int(place) for one in gone.get(stack, ())) if layer.block else 0
        new = f"{stack}.{int(place) - before}" if layer.block else ""
        found[layer.name] = new + layer.name.removeprefix(layer.block)
    return found


def _grouped(names: list[str], known: Sequence[LayerInfo]) -> list[str]:
    """The names, groups of which all members are among them by the group's word."""
    words, rest = [], set(names)
    inside: Mapping[str, Callable[[LayerInfo], bool]] = {one: GROUPS[one] for one in ("blocks", "embeddings", "head")}
    for word, holds in inside.items():
        members = {one.name for one in known if holds(one)}
        if members and members <= rest:
            words.append(word)
            rest -= members
    return [*words, *[name for name in names if name in rest]]
