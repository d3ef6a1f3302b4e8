"""What an augmentation method is, what it may draw on, and the table of them.

A method is a frozen dataclass: its fields are its settings, `__post_init__` refuses wrong ones, calling it maps a
training row to new rows, each with a note of what was done. Whatever it draws on comes from training rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from pocketlm.augment.neighbours import own_neighbours
from pocketlm.augment.rows import Word, words_of
from pocketlm.outputs import Example
from pocketlm.runtime.tags import Scheme, scheme_of, tag_spans
from pocketlm.tables import Table

Neighbours = Mapping[str, Sequence[str]]


class Made(NamedTuple):
    """A new row, and in a few words what was done to the row it comes from."""

    example: Example
    note: str


@dataclass(frozen=True)
class Material:
    """What methods may draw on. train: the rows that are learnt from, never dev or test ones.

    language: its code, where a method needs to know. near: words of like meaning for lower-case words; where None,
    words that stand in like places in the rows themselves.
    """

    train: tuple[Example, ...]
    language: str = ""
    near: Neighbours | None = field(default=None, compare=False)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of every row."""
        return tuple(example.text for example in self.train)

    @cached_property
    def words(self) -> list[list[Word]]:
        """The words of every row."""
        return [words_of(example) for example in self.train]

    @cached_property
    def pool(self) -> list[Word]:
        """The words of all rows, as often as they occur."""
        return [word for words in self.words for word in words]

    @cached_property
    def neighbours(self) -> Neighbours:
        """Words of like meaning, or of like use where no encoder said more."""
        return own_neighbours(self.texts) if self.near is None else self.near

    @cached_property
    def tagged(self) -> bool:
        """Whether words have tags."""
        return any(example.tags for example in self.train)

    @cached_property
    def scheme(self) -> Scheme | None:
        """How the tags mark spans; None where they are plain labels of words, or there are none."""
        return scheme_of({tag for example in self.train for tag in example.tags}) if self.tagged else None

    def values_for(self, example: Example, kind: str) -> list[tuple[str, ...]]:
        """Values of a type of span that may stand in this row: seen beside its labels, or beside several others.

        A value that comes beside one label alone may be what makes it that label.
        """
        beside, own = self._labels_beside, example.labels
        return [one for one in self.values.get(kind, []) if own in beside[kind, one] or len(beside[kind, one]) > 1]

    @cached_property
    def _labels_beside(self) -> dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]]:
        """{(type of span, value): labels of the rows it stands in}."""
        found: dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]] = {}
        for example in self.train:
            for kind, first, last in tag_spans(example.tags):
                found.setdefault((kind, example.tokens[first : last + 1]), set()).add(example.labels)
        return found

    @cached_property
    def values(self) -> dict[str, list[tuple[str, ...]]]:
        """{type of span: the different values it has, as words}, in the order of the rows."""
        found: dict[str, dict[tuple[str, ...], None]] = {}
        for example in self.train if self.scheme else ():
            for kind, first, last in tag_spans(example.tags):
                found.setdefault(kind, {})[example.tokens[first : last + 1]] = None
        return {kind: list(values) for kind, values in found.items()}


class Method(Protocol):
    """A way to make rows of a row.

    certain: whether labels, tags and all that stands beside the text hold by the way it works, so that no model need
    judge. keeps_tags: whether it can say where the words that tags belong to end up. needs: settings without which it
    cannot work, such as a model.
    """

    name: ClassVar[str]
    certain: ClassVar[bool]
    keeps_tags: ClassVar[bool]
    needs: ClassVar[tuple[str, ...]]

    def refuses(self, material: Material) -> str:
        """Why it makes nothing of such rows, in a few words; nothing where it does."""
        ...

    def __call__(self, example: Example, random: np.random.Generator, material: Material) -> list[Made]:
        """New rows of the row; none where there is nothing to do."""
        ...


AUGMENTERS = Table(
    "augmenter",
    {
        "aeda": "pocketlm.augment.aeda:Aeda",
        "back-translation": "pocketlm.augment.back_translation:BackTranslation",
        "code-switch": "pocketlm.augment.code_switch:CodeSwitch",
        "eda": "pocketlm.augment.eda:Eda",
        "exchange": "pocketlm.augment.exchange:Exchange",
        "generate": "pocketlm.augment.generate:Generate",
        "masked-lm": "pocketlm.augment.masked:MaskedWords",
        "mixup": "pocketlm.augment.mixup:Mixup",
        "noise": "pocketlm.augment.noise:Noise",
        "orthography": "pocketlm.augment.orthography:Orthography",
        "slot-substitution": "pocketlm.augment.slots:SlotSubstitution",
    },
)
