"""What a pass did: to every layer, at what error, and what it promises of the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pocketlm.model.block_weight import BlockWeight
from pocketlm.model.layers import packed
from pocketlm.model.pretrained import Model
from pocketlm.model.weights import ProductWeight, SumWeight


@dataclass(frozen=True)
class LayerRecord:
    """One layer in one pass. done: "quantized", "pruned", "left", …; why: of a layer left alone.

    error: relative, ‖(W − Ŵ)X‖² / ‖WX‖² where inputs were known, ‖W − Ŵ‖² / ‖W‖² otherwise; W is what
    the layer was fitted to, which is not its own weight where it makes up for what others lost. facts: bits, rank, ….
    """

    name: str
    done: str
    error: float | None = None
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data without what is empty."""
        value: dict[str, Any] = {"name": self.name, "done": self.done, **self.facts}
        if self.error is not None:
            value["error"] = float(f"{self.error:.4g}")
        if self.why:
            value["why"] = self.why
        return value


@dataclass(frozen=True)
class Promise:
    """What a pass says holds of a layer afterwards: a key of KEPT, and the value it is held to."""

    layer: str
    kind: str
    value: Any


@dataclass
class Journal:
    """Records and promises of one pass while it runs. notes: for people."""

    layers: dict[str, LayerRecord] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def layer(self, name: str, done: str, error: float | None = None, **facts: Any) -> None:
        """The layer was changed."""
        self.layers[name] = LayerRecord(name, done, None if error is None else float(error), "", facts)

    def left(self, name: str, why: str) -> None:
        """The layer was left alone."""
        self.layers.setdefault(name, LayerRecord(name, "left", None, why))

    def promise(self, layer: str, kind: str, value: Any) -> None:
        """Something holds of the layer from now on."""
        self.promises.append(Promise(layer, kind, value))

    def note(self, text: str) -> None:
        """A line for people."""
        self.notes.append(text)

    @property
    def changed(self) -> int:
        """Layers that were changed."""
        return sum(one.done != "left" for one in self.layers.values())


def _matrix(model: Model, name: str) -> Tensor | None:
    try:
        return packed(model.module.get_submodule(name)).weight
    except AttributeError:
        return None


def _sparsity(model: Model, name: str, value: float) -> bool:
    matrix = _matrix(model, name)
    return matrix is not None and float((matrix == 0).float().mean()) >= value - 1e-6


def _pattern(model: Model, name: str, value: tuple[int, int]) -> bool:
    """At most `keep` of every `of` neighbours in a row are not zero."""
    matrix, (keep, of) = _matrix(model, name), value
    if matrix is None:
        return False
    whole = matrix[:, : matrix.shape[1] // of * of].reshape(len(matrix), -1, of)
    return bool(((whole != 0).sum(-1) <= keep).all())


def _blocks(model: Model, name: str, value: tuple[int, int, float]) -> bool:
    """At least a share of the (rows x columns) blocks is zero."""
    matrix, (rows, columns, share) = _matrix(model, name), value
    if matrix is None:
        return False
    high, wide = matrix.shape[0] // rows * rows, matrix.shape[1] // columns * columns
    tiles = matrix[:high, :wide].reshape(high // rows, rows, wide // columns, columns)
    return float((tiles.abs().amax((1, 3)) == 0).float().mean()) >= share - 1e-6


def _rank(model: Model, name: str, value: int) -> bool:
    stored = getattr(model.module.get_submodule(name), "stored", None)
    base = stored.base if isinstance(stored, SumWeight) else stored
    return isinstance(base, ProductWeight) and base.rank <= value


def _bits(model: Model, name: str, value: int) -> bool:
    stored = getattr(model.module.get_submodule(name), "stored", None)
    stored = stored.base if isinstance(stored, SumWeight) else stored  # a correction has bits of its own
    grids = [one for one in (stored.modules() if stored is not None else ()) if hasattr(one, "bits")]
    return bool(grids) and all(one.bits <= value for one in grids)


def _type(model: Model, name: str, value: str) -> bool:
    """Every matrix of the layer is in blocks of the type."""
    stored = getattr(model.module.get_submodule(name), "stored", None)
    found = [one.kind.name for one in (stored.modules() if stored is not None else ()) if isinstance(one, BlockWeight)]
    return bool(found) and set(found) == {value}


def _shape(model: Model, name: str, value: tuple[int, int]) -> bool:
    matrix = _matrix(model, name)
    return matrix is not None and tuple(matrix.shape) == tuple(value)


# Whether a promise still holds: of a model, a layer's name, and the value promised.
KEPT: dict[str, Callable[[Model, str, Any], bool]] = {
    "sparsity": _sparsity,
    "pattern": _pattern,
    "blocks": _blocks,
    "rank": _rank,
    "bits": _bits,
    "shape": _shape,
    "type": _type,
}


def broken(model: Model, promises: list[Promise]) -> list[Promise]:
    """Promises that do not hold of the model."""
    names = {name for name, _ in model.module.named_modules()}
    return [one for one in promises if one.layer not in names or not KEPT[one.kind](model, one.layer, one.value)]
