"""New texts of a label by a causal language model that is shown some (Yoo et al. 2021, arXiv:2104.08826, GPT3Mix).

The model need not obey: whoever uses these rows has them judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketlm.augment.method import Made, Material
from pocketlm.augment.writers import continuer
from pocketlm.outputs import Example

# Of a text that is shown, so many characters: several have to find room.
LONGEST_SHOWN = 300


@dataclass(frozen=True)
class Generate:
    """A text of the row's label, written after `shots` others of it. model: a Pocket, a folder or a hub name."""

    name: ClassVar[str] = "generate"
    certain: ClassVar[bool] = False
    keeps_tags: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("model",)
    model: str = ""
    shots: int = 4
    temperature: float = 0.9
    tokens: int = 48

    def __post_init__(self) -> None:
        if not self.model or self.shots < 1 or self.temperature <= 0 or self.tokens < 1:
            raise ValueError("a model is named, shots and tokens are at least 1 and temperature is above 0")

    def refuses(self, material: Material) -> str:
        """Rows without labels. Raises ModelError for a model that does not write."""
        if not all(example.labels for example in material.train):
            return "the rows have no labels to write texts of"
        continuer(self.model)
        return ""

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where nothing was written."""
        label = ", ".join(example.labels)
        others = [one for one in material.train if one.labels == example.labels and one.text != example.text]
        drawn = random.permutation(len(others))[: self.shots - 1]
        shown = [_line(one.text) for one in (*(others[place] for place in drawn), example)]
        prompt = "".join(f"{label}: {text}\n" for text in shown) + f"{label}:"
        new = continuer(self.model)(prompt, self.tokens, self.temperature, int(random.integers(2**31)))
        return [Made(Example(new, example.labels), f"written after {len(shown)} texts of {label!r}")] if new else []


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_SHOWN]
