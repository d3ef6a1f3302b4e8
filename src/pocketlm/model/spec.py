"""What a pretrained model is, beside its module: where it came from, and how it differs from its class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pocketlm.model.anatomy import kind_of


@dataclass(frozen=True)
class ModelSpec:
    """What a pretrained model is.

    source: where it came from. architecture: its `transformers` class. model_type: its config's.
    dtype: what plain tensors are stored in, such as "float16". ties: groups of modules that share a matrix.
    kept: of a stack whose blocks were dropped, the numbers of those kept, as first loaded.
    attributes: of modules whose heads or widths were changed, {path: {name: value}}.
    """

    source: str
    architecture: str
    model_type: str
    dtype: str
    ties: tuple[tuple[str, ...], ...] = ()
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """One of "encoder", "decoder", "encoder-decoder" or "speech"."""
        return kind_of(self.model_type)

    @property
    def classifies(self) -> bool:
        """Whether it says one thing of a whole text, and not of each token, whatever its kind is."""
        return self.architecture.endswith("ForSequenceClassification")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "source": self.source, "architecture": self.architecture, "model_type": self.model_type,
            "dtype": self.dtype, "ties": [list(one) for one in self.ties],
            "kept": {key: list(value) for key, value in self.kept.items()},
            "attributes": {key: dict(value) for key, value in self.attributes.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelSpec:
        """The spec that `to_json` described."""
        return cls(
            value["source"], value["architecture"], value["model_type"], value["dtype"],
            tuple(tuple(one) for one in value["ties"]), {key: tuple(one) for key, one in value["kept"].items()},
            value["attributes"],
        )  # fmt: skip
