"""Which matrices a pass works on, and what it finds there: the leaves of every form a layer's weight may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from pocketlm.compress.calibration import Moments
from pocketlm.errors import ModelError, RecipeError
from pocketlm.model.anatomy import LayerInfo, replace_module
from pocketlm.model.layers import packed
from pocketlm.model.pivots import PivotWeight
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import DenseWeight, ProductWeight, SumWeight
from pocketlm.tables import did_you_mean

# Words for groups of layers; anything else is a pattern on names, such as "*.mlp.*".
GROUPS: dict[str, Callable[[LayerInfo], bool]] = {
    "blocks": lambda layer: bool(layer.block) and layer.kind in ("linear", "expert"),
    "embeddings": lambda layer: layer.kind == "embedding",
    "head": lambda layer: layer.kind == "head" or (layer.kind == "linear" and not layer.block),
    "experts": lambda layer: layer.kind == "expert",
    "all": lambda layer: layer.kind != "router",
}


def select(model: Model, layers: Sequence[str], exclude: Sequence[str] = ()) -> list[LayerInfo]:
    """Layers that any of `layers` (a key of GROUPS or a pattern) takes and none of `exclude` does.

    Raises RecipeError for a pattern that takes no layer.
    """
    known = model.layers
    chosen = {one.name: False for one in known}
    for patterns, value in ((layers, True), (exclude, False)):
        for pattern in patterns:
            taken = [pattern] if pattern in chosen else [one.name for one in known if _takes(pattern, one)]
            if not taken and value:
                names = [*GROUPS, *chosen]
                raise RecipeError(f"layers {pattern!r}: takes no layer.{did_you_mean(pattern, names)}")
            chosen.update(dict.fromkeys(taken, value))
    return [one for one in known if chosen[one.name]]


def _takes(pattern: str, layer: LayerInfo) -> bool:
    return GROUPS[pattern](layer) if pattern in GROUPS else fnmatchcase(layer.name, pattern)


def setting_for(value: Any, name: str) -> Any:
    """A setting that is the same for all layers, or a mapping from names or patterns to values.

    The name itself counts before patterns, of which the last that fits counts.
    """
    if not isinstance(value, Mapping):
        return value
    if name in value:
        return value[name]
    fitting = [one for pattern, one in value.items() if fnmatchcase(name, pattern)]
    if not fitting:
        raise RecipeError(f"layer {name}: no entry of {', '.join(value)} is for it; add one for '*'")
    return fitting[-1]


@dataclass
class Leaf:
    """A plain matrix inside a layer, which a pass may replace by another form.

    name: the layer's, with "/left" or "/right" for a factor. matrix: float32 (out, in). moments: of its inputs, where
    they are known. put: takes the weight that stands in its place from now on.
    """

    name: str
    matrix: Tensor
    moments: Moments | None
    put: Callable[[nn.Module], None]


def leaves(name: str, owner: nn.Module, moments: Moments | None = None, *, check: bool = True) -> Iterator[Leaf]:
    """The plain matrices of a packed layer's weight: itself, or of a product its right and then its left factor.

    A matrix that is quantized already is none: it cannot be changed again without losing what it was made for.
    Raises ModelError where a matrix holds what is not finite.
    """
    stored = owner.stored
    if isinstance(stored, DenseWeight):
        yield _leaf(name, owner, "stored", moments, check)
    elif isinstance(stored, ProductWeight):
        if isinstance(stored.right, DenseWeight):
            yield _leaf(f"{name}/right", stored, "right", moments, check)
        owner, place = (stored.left, "inner") if isinstance(stored.left, PivotWeight) else (stored, "left")
        if isinstance(getattr(owner, place), DenseWeight):
            inner = None if moments is None else moments.through(stored.right.matrix())
            yield _leaf(f"{name}/left", owner, place, inner, check)
    elif isinstance(stored, SumWeight):
        for part in ("base", "correction"):
            if isinstance(getattr(stored, part), DenseWeight):
                yield _leaf(f"{name}/{part}", stored, part, moments, check)


def _leaf(name: str, owner: nn.Module, place: str, moments: Moments | None, check: bool) -> Leaf:
    weight = getattr(owner, place).matrix()
    if check and not bool(weight.isfinite().all()):
        bad = int((~weight.isfinite()).sum())
        raise ModelError(f"layer {name}: {bad:,} of its weights are NaN or infinite; repair the model first")
    return Leaf(name, weight, moments, lambda new: setattr(owner, place, new))


def pack_layer(module: nn.Module, name: str) -> Any:
    """The layer called `name`, packed in place if it was not."""
    layer = packed(module.get_submodule(name))
    if layer is not module.get_submodule(name):
        replace_module(module, name, layer)
    return layer


def share_ties(model: Model) -> None:
    """Let every layer that shared its matrix with a packed one share the packed form, too."""
    for group in model.spec.ties:
        owners = [model.module.get_submodule(name) for name in group]
        forms = [owner.stored for owner in owners if hasattr(owner, "stored")]
        if not forms:
            continue
        # the one that a pass changed, where it packed all of them first
        forms.sort(key=lambda form: isinstance(form, DenseWeight))
        for name in group:
            pack_layer(model.module, name).stored = forms[0]


def zeros_of(matrix: Tensor) -> Tensor | None:
    """Where a pruned matrix is zero, so that later passes keep it so; None where hardly anything is."""
    mask = matrix == 0
    return mask if float(mask.float().mean()) > 0.02 else None


def relative_error(weight: Tensor, found: Tensor, moments: Moments | None = None) -> float:
    """‖(W − Ŵ)X‖² / ‖WX‖² by the moments of X, or ‖W − Ŵ‖² / ‖W‖² without."""
    lost = weight - found
    if moments is None:
        return float(lost.square().sum() / weight.square().sum().clamp(min=1e-30))
    s = moments.s
    return float(((lost @ s) * lost).sum() / ((weight @ s) * weight).sum().clamp(min=1e-30))


def names_now(dense: Model, compressed: Model) -> dict[str, str]:
    """Of the dense model's layers that are left, the names they have in the compressed one."""
    present = {one.name for one in compressed.layers}
    found = {}
    for layer in dense.layers:
        name: str | None = layer.name
        for stack in compressed.spec.kept:
            if name is not None and name.startswith(f"{stack}."):
                name = _moved(name, stack, dense.spec.kept.get(stack), compressed.spec.kept[stack])
        if name in present:
            found[layer.name] = name
    return found


def _moved(name: str, stack: str, before: Sequence[int] | None, after: Sequence[int]) -> str | None:
    place, _, rest = name.removeprefix(f"{stack}.").partition(".")
    first = int(place) if before is None else before[int(place)]
    return f"{stack}.{after.index(first)}.{rest}" if first in after else None
