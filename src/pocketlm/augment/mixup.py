"""Two texts' vectors blended while a model is trained, and their labels alike (Guo et al. 2019, arXiv:1905.08941).

Zhang et al. 2018 (arXiv:1710.09412) blend what a model reads; words cannot be, so the text's vector before the head is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketlm.augment.method import Made, Material, Method
from pocketlm.outputs import Example


@dataclass(frozen=True)
class Mixup:
    """Each text's vector with that of another of its batch, in shares drawn from Beta(alpha, alpha).

    It makes no rows: models that learn by gradients are trained so, and none is kept.
    """

    name: ClassVar[str] = "mixup"
    certain: ClassVar[bool] = True
    keeps_tags: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    alpha: float = 0.4

    def __post_init__(self) -> None:
        if self.alpha <= 0:
            raise ValueError(f"alpha is above 0, got {self.alpha}")

    def refuses(self, material: Material) -> str:
        """Rows without labels."""
        return "" if any(example.labels for example in material.train) else "it blends labels, and these rows have none"

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """No row."""
        return []


def alpha_of(methods: Sequence[Method]) -> float:
    """How Mixup among the methods draws its shares; 0 without it."""
    return next((one.alpha for one in methods if isinstance(one, Mixup)), 0.0)
