"""Quantizing the matrices of some layers by what their inputs are like: what passes that do so have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from pocketlm.compress.context import Context
from pocketlm.compress.feedback import Feedback
from pocketlm.compress.moments import Moments
from pocketlm.compress.parallel import Task, spread_leaves
from pocketlm.compress.targets import Leaf, leaves
from pocketlm.compress.upstream import Drift
from pocketlm.model.weights import DenseWeight


class Quantized(Protocol):
    """A matrix that was quantized. error: relative, of its output. plain: of round-to-nearest on the same grid.

    kept: rows that keep plain rounding. damping: that the solve took.
    """

    @property
    def weight(self) -> Any:
        """As it is stored."""
        ...

    @property
    def error(self) -> float:
        """‖(W − Ŵ)X‖² / ‖WX‖²."""
        ...

    @property
    def plain(self) -> float:
        """The same, rounded to nearest."""
        ...

    @property
    def kept(self) -> int:
        """Rows."""
        ...

    @property
    def damping(self) -> float:
        """A share of the mean of diag S."""
        ...


class Quantizer(Protocol):
    """A pass that quantizes matrices one by one. held: what a layer is held to, a key of `journal.KEPT`."""

    name: ClassVar[str]
    held: ClassVar[str]

    @property
    def layers(self) -> tuple[str, ...]:
        """Groups of layers or name patterns."""
        ...

    @property
    def exclude(self) -> tuple[str, ...]:
        """Groups or patterns of layers that are left alone."""
        ...

    @property
    def act_order(self) -> bool:
        """Whether columns are taken by falling activation."""
        ...

    @property
    def damping(self) -> float:
        """Share of the mean of diag S that is added to it."""
        ...

    @property
    def correct(self) -> float:
        """Share of the error of earlier layers that a layer is fitted to make up for."""
        ...

    @property
    def tied(self) -> float:
        """Of a head that shares its matrix with an embedding, the share of the mean of diag S added for its rows."""
        ...

    def setting(self, name: str) -> Any:
        """What the layer is held to: bits, or a type."""
        ...

    def together(self, setting: Any) -> int:
        """How many neighbouring columns are to be taken one after the other."""
        ...

    def fit(self, matrix: Tensor, setting: Any, feedback: Feedback | None, drift: Drift | None) -> Quantized:
        """A matrix quantized, corrected by `drift`; to nearest where there is no feedback."""
        ...


def fit(step: Quantizer, matrix: Tensor, setting: Any, feedback: Feedback | None, drift: Drift | None) -> Quantized:
    """A matrix as the pass quantizes it; a function of this module, so that it can run elsewhere."""
    return step.fit(matrix, setting, feedback, drift)


def quantize_layers(
    step: Quantizer, layers: Sequence[tuple[str, Any, Moments | None]], context: Context, drift: Drift | None = None
) -> list[tuple[Leaf, Any]]:
    """Leaves of the layers with their quantized weights; until those are put there, plain ones of the same values.

    Plain ones run faster while calibration goes through them. layers: name, packed layer, and moments of its input.
    """
    # neighbours that read one tensor share it; more are not kept, as they are large
    last: list[tuple[int, Feedback]] = []

    def task(name: str, leaf: Leaf) -> Task:
        feedback, setting = None, step.setting(name)
        if leaf.moments is not None and leaf.moments.tokens:
            together, s = step.together(setting), leaf.moments.s
            if not last or last[0][0] != together or last[0][1].s is not s:
                last[:] = [(together, Feedback.of(s, step.act_order, step.damping, together))]
            feedback = last[0][1]
        return step, leaf.matrix, setting, feedback, drift if leaf.name == name else None

    found, seen = [], set()
    opened = ((name, leaves(name, layer, moments)) for name, layer, moments in layers)
    for name, leaf, done in spread_leaves(fit, opened, task, context):
        seen.add(name)
        weight = done.weight
        leaf.put(DenseWeight(weight.matrix()))
        found.append((leaf, weight))
        _record(step, leaf, done, step.setting(name), context)
    for name, _, _ in layers:
        if name in seen:
            context.journal.promise(name, step.held, step.setting(name))
        else:
            context.journal.left(name, "is quantized already")
    return found


def _record(step: Quantizer, leaf: Leaf, done: Quantized, setting: Any, context: Context) -> None:
    facts: dict[str, Any] = {step.held: setting}
    if leaf.moments is None or not leaf.moments.tokens:
        facts["fallback"] = "rounded: no token reached it"
    else:
        facts["rounded_error"] = float(f"{done.plain:.4g}")
    if done.kept:
        facts["fallback"] = f"rounded: {done.kept} rows, where feedback is no better"
    if done.damping > max(step.damping, 1e-6):
        facts["damping"] = done.damping
    context.journal.layer(leaf.name, "quantized", done.error, **facts)
