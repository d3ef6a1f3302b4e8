"""Why a compressed model lost what it lost: which layers cost the loss, and what keeping them would cost in bytes.

Each layer's change is weighed by what the dense model's loss feels of it (see `costs`), which shares the rise out to
layers; the few that matter most are put back alone, and what that regains is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.costs import GROUP, SCALE_BYTES, ZERO_BYTES, Metric, Sample, draw
from pocketlm.compress.felt import each_matrix, matrices
from pocketlm.compress.rise import Reference, reference_of
from pocketlm.compress.targets import names_now
from pocketlm.model.anatomy import LayerInfo, replace_module
from pocketlm.model.layers import packed
from pocketlm.model.pretrained import Model
from pocketlm.model.rebuild import stored_tensors
from pocketlm.model.tensors import encode_tensor

# Layers put back alone, and the share of the rise that the layers named make up.
PUT_BACK, MOST = 5, 0.8


@dataclass(frozen=True)
class Blame:
    """One layer's part. predicted: rise of the loss by its change alone. share: of all predicted.

    regained: what the loss falls by when the layer alone is put back, where that was measured. bytes_more: that it
    would take at 8 bits beyond what it takes now.
    """

    layer: str
    predicted: float
    share: float
    regained: float | None = None
    bytes_more: int | None = None


@dataclass(frozen=True)
class Explanation:
    """Where the rise of the loss comes from. layers: greatest part first. gone: dropped or reshaped, so not shared out.

    unit: of losses.
    """

    rise: float
    layers: tuple[Blame, ...]
    gone: tuple[str, ...]

    def worst(self, share: float = MOST) -> tuple[Blame, ...]:
        """The fewest layers that make up this share of what is predicted."""
        total, found = 0.0, []
        for one in self.layers:
            if total >= share or one.predicted <= 0:
                break
            found.append(one)
            total += one.share
        return tuple(found)

    @property
    def text(self) -> str:
        """What a person should know, in a sentence or two."""
        worst = self.worst()
        parts = [f"the loss rises by {self.rise:.3g} nats a token on calibration"]
        if worst:
            names = ", ".join(one.layer for one in worst[:PUT_BACK]) + (", …" if len(worst) > PUT_BACK else "")
            plural = "layer makes" if len(worst) == 1 else "layers make"
            share = sum(one.share for one in worst)
            parts.append(f"{len(worst)} of {len(self.layers)} {plural} up {share:.0%} of what is predicted: {names}")
        known = [one for one in worst if one.bytes_more is not None]
        if known:
            more = sum(one.bytes_more or 0 for one in known)
            which = "it" if len(known) == 1 else f"the first {len(known)}"
            parts.append(f"keeping {which} at 8 bits costs {more / 1e6:+.3g} MB")
        if self.gone:
            parts.append(f"{len(self.gone)} layers were removed or reshaped, which is not shared out")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain data: the layers named in the text, with what putting them back regains."""
        kept = {one.layer: one for one in (*self.layers[:PUT_BACK], *self.worst())}
        return {"rise": self.rise, "layers": [vars(one) for one in kept.values()], "gone": len(self.gone)}


def explain(
    dense: Model,
    compressed: Model,
    calibration: Calibration,
    context: Context | None = None,
    put_back: int = PUT_BACK,
    reference: Reference | None = None,
) -> Explanation:
    """Where the compressed model's rise of the loss comes from; both models stay as they are."""
    context = context or Context()
    reference = reference or reference_of(dense, calibration, fast=context.fast)
    rise, names = reference.rise(compressed), names_now(dense, compressed)
    predicted: dict[str, float] = {}

    def take(name: str, layer: LayerInfo, matrix: Tensor, metrics: list[Metric]) -> None:
        now = _matrix(compressed, names.get(name))
        if now is not None and now.shape == matrix.shape:
            whole: Sample = draw(matrix, metrics, len(matrix))
            predicted[name] = whole.loss(now - matrix)

    each_matrix(dense, calibration, context, take)
    total = max(1e-30, sum(predicted.values()))
    ordered = sorted(predicted, key=lambda name: -predicted[name])
    found = [Blame(name, predicted[name], predicted[name] / total) for name in ordered]
    for place, one in enumerate(found[:put_back]):
        if one.predicted > 0:
            found[place] = _put_back(one, names[one.layer], dense, compressed, reference, rise)
    gone = tuple(group[0] for group, layer in matrices(dense) if group[0] not in names or _reshaped(
        compressed, names[group[0]], layer
    ))  # fmt: skip
    return Explanation(rise, tuple(found), gone)


def explained(
    dense: Model, compressed: Model, calibration: Calibration, context: Context | None = None, limit: float = 0.5
) -> Model:
    """The compressed model; where its loss rises by more than `limit` a token, with a note in its record that says why.

    A rise of half a nat makes perplexity 1.6 times as large.
    """
    context = context or Context()
    reference = reference_of(dense, calibration, fast=context.fast)
    if not compressed.records or reference.rise(compressed) <= limit:
        return compressed
    found = explain(dense, compressed, calibration, context, reference=reference)
    last = dict(compressed.records[-1])
    last["notes"] = [*last.get("notes", ()), found.text]
    last["collapse"] = found.to_json()
    return replace(compressed, records=(*compressed.records[:-1], last))


def _matrix(model: Model, name: str | None) -> Tensor | None:
    if name is None:
        return None
    matrix: Tensor = packed(model.module.get_submodule(name)).weight
    return matrix


def _reshaped(model: Model, name: str, layer: LayerInfo) -> bool:
    matrix = _matrix(model, name)
    return matrix is not None and tuple(matrix.shape) != layer.shape


def _put_back(one: Blame, name: str, dense: Model, compressed: Model, reference: Reference, rise: float) -> Blame:
    """With the layer as it was, alone: what the loss falls by, and what it would take at 8 bits."""
    layer = compressed.module.get_submodule(name)
    group = next((group for group in compressed.spec.ties if name in group), (name,))
    held = {member: compressed.module.get_submodule(member) for member in group}
    before = next((tied for tied in dense.spec.ties if one.layer in tied), (one.layer,))
    whole = dense.module.get_submodule(one.layer)
    try:
        for member in group:
            source = member if member in before else one.layer
            replace_module(compressed.module, member, dense.module.get_submodule(source))
        regained = rise - reference.rise(compressed)
    finally:
        for member, module in held.items():
            replace_module(compressed.module, member, module)
    now = sum(
        len(encode_tensor(tensor.half() if tensor.is_floating_point() else tensor).data)
        for key, tensor in stored_tensors(layer).items() if key == "weight" or key.startswith("stored")
    )  # fmt: skip
    rows, columns = packed(whole).weight.shape
    eight = rows * columns + rows * -(-columns // GROUP) * (SCALE_BYTES + 8 * ZERO_BYTES)
    return replace(one, regained=regained, bytes_more=round(eight) - now)
