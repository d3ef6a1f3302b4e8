"""Values of a slot put in place of others: the sentence stays a template, its labels and spans stay what they are.

Dai and Adel 2020, arXiv:2010.11683 (mention replacement); for intents and slots, as templates are filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pocketlm.augment.method import Made, Material
from pocketlm.augment.rows import Word, reworded, words_of
from pocketlm.outputs import Example
from pocketlm.runtime.tags import tag_spans, well_formed


@dataclass(frozen=True)
class SlotSubstitution:
    """Each span takes another value of its type from the training rows with probability `share`; at least one does.

    Values that stand beside one label alone, and not the row's, are not taken: they may be what makes it that label.
    """

    name: ClassVar[str] = "slot-substitution"
    certain: ClassVar[bool] = True
    keeps_tags: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ()
    share: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share is in (0, 1], got {self.share}")

    def refuses(self, material: Material) -> str:
        """Rows without spans, or where each type has one value alone."""
        if material.scheme is None:
            return "the rows have no slots or other spans"
        return "" if any(len(one) > 1 for one in material.values.values()) else "no slot has two values"

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """One row, or none where it has no span with another value."""
        words, said = words_of(example), []
        spans = [(*span, material.values_for(example, span[0])) for span in tag_spans(example.tags)]
        able = [span for span in spans if any(value != example.tokens[span[1] : span[2] + 1] for value in span[3])]
        if not able or material.scheme is None:
            return []
        chosen = random.random(len(able)) < self.share
        chosen[int(random.integers(len(able)))] = True
        for (kind, first, last, values), swap in reversed(list(zip(able, chosen, strict=True))):
            if swap:
                old = example.tokens[first : last + 1]
                others = [value for value in values if value != old]
                new = others[int(random.integers(len(others)))]
                words[first : last + 1] = _value(new, kind, words[last].after)
                said.append(f"{kind} {' '.join(old)!r} became {' '.join(new)!r}")
        tags = well_formed([word.tag for word in words], material.scheme)
        words = [word._replace(tag=tag) for word, tag in zip(words, tags, strict=True)]
        return [Made(reworded(example, words), ", ".join(reversed(said)))]


def _value(tokens: tuple[str, ...], kind: str, after: str) -> list[Word]:
    """The words of a value, tagged as one span."""
    tags = [f"B-{kind}", *[f"I-{kind}"] * (len(tokens) - 1)]
    ends = [" "] * (len(tokens) - 1) + [after]
    return [Word(*one) for one in zip(tokens, tags, ends, strict=True)]
