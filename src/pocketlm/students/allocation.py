"""Which heads and units of which layers a student keeps, which rank and which bits, chosen for all of them at once.

One pass over the job's texts says what each sublayer costs that loses heads or units, the others made to make up for
them (the structured optimal brain surgeon of ZipLM, Kurtic et al. 2023, arXiv:2302.04089; see `students.thinning`), and
what embeddings of a low rank lose, stored in 8 or in 4 bits: half the bits are twice the rank. Matrices have 8, which
is what runs fast. Whatever keeps to the bytes and the time allowed and loses least together is then a small
mixed-integer linear program, as in `compress.allocate`. Losses are of the states between layers, which are normed and
so alike everywhere; those of different layers are added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from pocketlm.compress.columns import importance, removal_curve, stride_for
from pocketlm.compress.heads import head_curve
from pocketlm.compress.removal import Heads
from pocketlm.model.encoder import EncoderModule
from pocketlm.runtime.packed import quantize_rows
from pocketlm.students.pieces import Pieces, factor_spread, teacher_embeddings
from pocketlm.students.thinning import what_they_read
from pocketlm.students.transformer import layout_of
from pocketlm.train.context import FitContext

# Shares of a layer's units that it may keep, in multiples of so many; and ranks of embeddings.
SHARES, UNITS = (1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 3 / 4, 1.0), 16
RANKS = (32, 48, 64, 96, 128, 192, 256)
BITS = (4, 8)
# Embeddings that are rounded to see what it loses, at most.
ROUNDED = 4_096
# The solver's seconds, and how far its answer may be from the best, as a share.
SECONDS, GAP = 10.0, 1e-3


@dataclass(frozen=True)
class Layer:
    """What a layer of the teacher loses: {heads kept: loss} and {units kept: loss}, 0 and all of them included."""

    heads: Mapping[int, float]
    units: Mapping[int, float]

    @property
    def options(self) -> list[tuple[int, int, float]]:
        """(heads, units, loss) that a student's layer may have; (0, 0) where it has none."""
        gone = (0, 0, self.heads[0] + self.units[0])
        both = [
            (heads, units, lost + also)
            for heads, lost in self.heads.items()
            for units, also in self.units.items()
            if heads and units
        ]
        return [gone, *both]


@dataclass(frozen=True)
class Sensitivity:
    """What a teacher loses by each cut.

    tables: {(rank, bits) of the embeddings: loss}. width, head_width: of its states.
    """

    layers: tuple[Layer, ...]
    tables: Mapping[tuple[int, int], float]
    width: int
    head_width: int


@dataclass(frozen=True)
class Limits:
    """What a student may take. bytes: of its layers, rank and pieces together, None for any.

    milliseconds: of its layers and rank, None for any; of a layer itself, of a head, of a unit and of a rank.
    pieces, a_piece: how many there are, and bytes of one beside its vector. bits: that its vectors may have.
    """

    bytes: int | None
    milliseconds: float | None
    pieces: int
    a_piece: int
    layer_ms: float = 0.0
    head_ms: float = 0.0
    unit_ms: float = 0.0
    rank_ms: float = 0.0
    bits: tuple[int, ...] = BITS


@dataclass(frozen=True)
class Allocation:
    """A choice. layers: as `SmallTransformer` has them. bits: of the embeddings. loss: as predicted."""

    layers: str
    rank: int
    bits: int
    bytes: int
    milliseconds: float
    loss: float

    @property
    def depth(self) -> int:
        """How many layers are kept."""
        return len(self.layers.split())


@torch.no_grad()
def sensitivity(context: FitContext, pieces: Pieces) -> Sensitivity | None:
    """What the context's teacher loses on texts of the lesson; None where the layout of its layers is not known."""
    source = None if context.teacher is None else context.teacher.module
    if context.pretrained is None or not isinstance(source, EncoderModule):
        return None
    backbone = source.backbone
    state = {name: weight.detach().float() for name, weight in backbone.state_dict().items()}
    layout = layout_of(state)
    if layout is None or pieces.old is None:
        return None
    config: Any = backbone.config
    count, width, heads = int(config.num_hidden_layers), int(config.hidden_size), int(config.num_attention_heads)
    paths = [{key: path.format(place) for key, path in layout.items()} for place in range(count)]
    read = what_they_read([one[key] for one in paths for key in ("out", "down", "up")], backbone, context)
    layers = tuple(
        Layer(
            _heads(state[f"{one['out']}.weight"], read[one["out"]], heads, width // heads),
            _units(state[f"{one['down']}.weight"], read[one["down"]]),
        )
        for one in paths
    )
    energy = 0.5 * float(read[paths[0]["up"]].trace())
    return Sensitivity(layers, _tables(context, pieces, state, energy), width, width // heads)


def _heads(weight: Tensor, s: Tensor, count: int, size: int) -> dict[int, float]:
    """What it costs to keep so many heads."""
    inner = importance(weight, None)
    whole = 0.5 * float((inner * s.double()).sum())
    price = 2 * size * len(weight)
    steps = head_curve(Heads(count, 1, size), [(inner, s)], (price, price))
    kept = {sum(len(group) for group in step.kept): min(step.cost, whole) for step in steps}
    return {0: whole, **dict(sorted(kept.items())), count: 0.0}


def _units(weight: Tensor, s: Tensor) -> dict[int, float]:
    """What it costs to keep so many units, of those shares that are tried."""
    inner, count = importance(weight, None), len(s)
    whole = 0.5 * float((inner * s.double()).sum())
    curve = removal_curve(inner, s, 1, count - 1, stride=stride_for(count, 1))
    left = count - np.array(curve.counts)
    kept = {}
    for share in SHARES[:-1]:
        units = min(count - 1, max(1, round(share * count / UNITS) * UNITS or UNITS))
        kept[units] = min(whole, float(np.interp(units, left[::-1], np.array(curve.costs)[::-1])))
    return {0: whole, **dict(sorted(kept.items())), count: 0.0}


def _tables(
    context: FitContext, pieces: Pieces, state: Mapping[str, Tensor], energy: float
) -> dict[tuple[int, int], float]:
    """What embeddings of each rank and bits lose: the share of their spread that is not in them, of the states' energy.

    They are cut and stored as a student's are (`students.pieces.factorize`, `runtime.packed`), which cuts those of
    places beside them.
    """
    whole = teacher_embeddings(context.pretrained)
    assert whole is not None and pieces.old is not None
    vectors = state.get("embeddings.word_embeddings.weight", whole)[torch.from_numpy(pieces.old)]
    counts = torch.from_numpy(pieces.counts).float() + 1
    _, values, right = torch.linalg.svd(vectors * counts.sqrt()[:, None], full_matrices=False)
    left = 1 - values.square().double().cumsum(0) / values.square().double().sum()
    some = torch.linspace(0, len(vectors) - 1, min(len(vectors), ROUNDED)).long()
    weights, seen = counts[some], float((counts[some, None] * vectors[some].square()).sum())
    found = {}
    for rank in (*(rank for rank in RANKS if rank < len(values)), len(values)):
        spread = factor_spread(values, rank)
        table = (vectors[some] @ right[:rank].T / spread).numpy()
        for bits in BITS:
            integers, scales = quantize_rows(table, bits)
            error = torch.from_numpy(integers * scales.astype("float32")[:, None] - table) * spread
            rounded = float((weights * error.square().sum(1)).sum()) / seen
            found[rank, bits] = energy * (max(0.0, float(left[rank - 1])) + rounded)
    return found


def allocate(known: Sensitivity, limits: Limits) -> Allocation | None:
    """The choice that loses least within the limits; None where none keeps to them."""
    groups: list[list[tuple[float, float, float]]] = []
    for layer in known.layers:
        groups.append([(lost, *_costs(known, limits, heads, units)) for heads, units, lost in layer.options])
    tables = [(rank, bits) for rank, bits in known.tables if bits in limits.bits]
    groups.append([(known.tables[one], *_table_costs(known, limits, *one)) for one in tables])
    places = _chosen(groups, limits)
    if places is None:
        return None
    kept = [layer.options[place][:2] for layer, place in zip(known.layers, places[:-1], strict=True)]
    said = " ".join(f"{place}:{heads}x{units}" for place, (heads, units) in enumerate(kept) if heads)
    if not said:
        return None
    own = [group[place] for group, place in zip(groups, places, strict=True)]
    loss, size, spent = (float(sum(one[part] for one in own)) for part in range(3))
    return Allocation(said, *tables[places[-1]], round(size), spent, loss)


def _costs(known: Sensitivity, limits: Limits, heads: int, units: int) -> tuple[float, float]:
    """Bytes and milliseconds of a layer; of one that is not there neither."""
    if not heads:
        return 0.0, 0.0
    size = known.width * (4 * heads * known.head_width + 2 * units)
    return float(size), limits.layer_ms + heads * limits.head_ms + units * limits.unit_ms


def _table_costs(known: Sensitivity, limits: Limits, rank: int, bits: int) -> tuple[float, float]:
    a_piece = rank * bits // 8 + limits.a_piece
    return float(rank * known.width + limits.pieces * a_piece), rank * limits.rank_ms


def _chosen(groups: Sequence[Sequence[tuple[float, float, float]]], limits: Limits) -> list[int] | None:
    """Of each group the place of the option chosen: (loss, bytes, milliseconds) each. One layer is kept at least."""
    flat = np.array([option for group in groups for option in group])
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    one_each = (owner[None, :] == np.arange(len(groups))[:, None]).astype(float)
    first = np.cumsum([0, *[len(group) for group in groups]])[:-1]
    absent = np.zeros(len(flat))
    absent[first[:-1]] = 1  # of every layer the first option is to have none
    rules = [LinearConstraint(one_each, 1, 1), LinearConstraint(absent, 0, len(groups) - 2)]
    if limits.bytes is not None:
        rules.append(LinearConstraint(flat[:, 1] / limits.bytes, -np.inf, 1))
    if limits.milliseconds is not None:
        rules.append(LinearConstraint(flat[:, 2] / limits.milliseconds, -np.inf, 1))
    scale = max(1e-12, float(flat[:, 0].max()))
    found = milp(
        flat[:, 0] / scale, integrality=np.ones(len(flat)), bounds=Bounds(0, 1), constraints=rules,
        options={"time_limit": SECONDS, "mip_rel_gap": GAP},
    )  # fmt: skip
    if found.x is None:
        return None
    return [int(found.x[owner == group].argmax()) for group in range(len(groups))]
