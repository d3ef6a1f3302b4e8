"""Texts put into another language and back (Yu et al. 2018, arXiv:1804.09541, after Sennrich et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from pocketlm.augment.method import Made, Material
from pocketlm.augment.writers import translator
from pocketlm.outputs import Example


@dataclass(frozen=True)
class BackTranslation:
    """Each text as two translators give it back. there, back: translation Pockets, folders or hub names."""

    name: ClassVar[str] = "back-translation"
    certain: ClassVar[bool] = False
    keeps_tags: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("there", "back")
    there: str = ""
    back: str = ""

    def __post_init__(self) -> None:
        if not (self.there and self.back):
            raise ValueError("two translators are named, one for each way")

    def refuses(self, material: Material) -> str:
        """No rows. Raises ModelError for models that do not translate."""
        translator(self.there), translator(self.back)
        return ""

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, always the same; none where the text comes back as it went or empty."""
        new, between = _round_trips(self.there, self.back, material.texts)[example.text]
        if not new or new == example.text:
            return []
        return [Made(replace(example, text=new), f"translated back from {between!r}")]


@lru_cache(maxsize=4)
def _round_trips(there: str, back: str, texts: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """{text: (as it comes back, as it was between)}, all of them at once."""
    own = list(dict.fromkeys(texts))
    between = translator(there)(own)
    return dict(zip(own, zip(translator(back)(between), between, strict=True), strict=True))
