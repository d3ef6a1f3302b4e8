"""What each layer of a model may become, at what bytes and what predicted loss, as data that JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Kinds of options; what an option costs is split by them, as each is predicted well or badly in its own way.
KINDS = ("keep", "grid", "entropy-coded", "low-rank", "prune", "width", "drop")


@dataclass(frozen=True)
class Option:
    """One thing a layer may become. kind: what is done first; settings: width, share, sparsity, bits, where they apply.

    width is the share of a feed-forward's units that go. bytes: as stored. losses: predicted rise of the loss by the
    kind that makes it, in the survey's unit.
    """

    kind: str
    bytes: int
    losses: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)

    def loss(self, scales: Mapping[str, float] | None = None) -> float:
        """The predicted rise, each kind's part times its scale."""
        return sum(value * (scales or {}).get(kind, 1.0) for kind, value in self.losses.items())

    @property
    def label(self) -> str:
        """A name for people, such as "low-rank 40 % 4 bits"."""
        keys = ("width", "share", "sparsity")
        shares = [f"{round(100 * self.settings[key])} %" for key in keys if key in self.settings]
        bits = [f"{self.settings['bits']:g} bits"] if "bits" in self.settings else []
        return " ".join([self.kind, *shares, *bits])


@dataclass(frozen=True)
class SurveyedLayer:
    """One weight matrix. names: of every module that uses it. bytes: as stored now. block: its block, or ""."""

    names: tuple[str, ...]
    kind: str
    block: str
    shape: tuple[int, int]
    bytes: int
    options: tuple[Option, ...] = ()

    @property
    def name(self) -> str:
        """Of the first module that uses it."""
        return self.names[0]

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return self.shape[0] * self.shape[1]

    @property
    def keep(self) -> Option:
        """Leaving it as it is."""
        return Option("keep", self.bytes)


@dataclass(frozen=True)
class FewerUnits:
    """A feed-forward that may lose units. name: of its layer out. members: first names of all its matrices.

    steps: shares of the units that may go, each with the predicted rise of the loss, the others making up for them.
    """

    name: str
    members: tuple[str, ...]
    steps: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Survey:
    """Every weight matrix with its options. unit: of losses, "nats a token" or "relative error" of the weights.

    drops: predicted rise of the loss when a whole block goes, by the block's path; only of blocks that may go. widths:
    of feed-forwards.
    other_bytes: of the tensors that are no matrix of a layer. tokens: that were read.
    """

    layers: tuple[SurveyedLayer, ...]
    drops: Mapping[str, float]
    other_bytes: int
    unit: str
    tokens: int = 0
    widths: tuple[FewerUnits, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all tensors, as stored now."""
        return self.other_bytes + sum(one.bytes for one in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Survey:
        """The survey that `to_json` described."""
        layers = tuple(
            SurveyedLayer(
                tuple(one["names"]), one["kind"], one["block"], (one["shape"][0], one["shape"][1]), one["bytes"],
                tuple(Option(**option) for option in one["options"]),
            )
            for one in value["layers"]
        )  # fmt: skip
        widths = tuple(
            FewerUnits(one["name"], tuple(one["members"]), tuple((share, loss) for share, loss in one["steps"]))
            for one in value["widths"]
        )
        return cls(layers, value["drops"], value["other_bytes"], value["unit"], value["tokens"], widths)


def front(options: list[Option], scales: Mapping[str, float] | None = None) -> list[Option]:
    """The options that no other beats in both bytes and loss, fewest bytes first."""
    kept: list[Option] = []
    for one in sorted(options, key=lambda option: (option.bytes, option.loss(scales))):
        if not kept or one.loss(scales) < kept[-1].loss(scales):
            kept.append(one)
    return kept
