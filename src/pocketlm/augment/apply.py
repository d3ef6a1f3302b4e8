"""Methods applied to training rows: which ones can be, and every new row with its method, note and source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from zlib import crc32

import numpy as np

from pocketlm.augment.method import AUGMENTERS, Material, Method
from pocketlm.errors import DataError, RecipeError
from pocketlm.outputs import Example
from pocketlm.runtime.tags import tag_spans

# The option that names what a setting needs, for messages.
OPTIONS = {"model": "--model NAME", "there": "--there NAME", "back": "--back NAME", "lexicon": "--lexicon FILE"}


@dataclass(frozen=True)
class NewRow:
    """A row that a method made. source: the place of the training row it comes from."""

    example: Example
    method: str
    note: str
    source: int


def make_method(name: str, settings: Mapping[str, str | None]) -> Method:
    """The method called `name`. Raises RecipeError where what it needs is not among the settings."""
    kind = AUGMENTERS[name]
    absent = [one for one in kind.needs if not settings.get(one)]
    if absent:
        raise RecipeError(f"{name} needs {' and '.join(OPTIONS.get(one, one) for one in absent)}")
    own: dict[str, Any] = {one.name: settings[one.name] for one in fields(kind) if settings.get(one.name)}
    method: Method = kind(**own)
    return method


def able_methods(settings: Mapping[str, str | None]) -> list[Method]:
    """Every method whose needs are met by the settings."""
    return [
        make_method(name, settings) for name in AUGMENTERS if all(settings.get(one) for one in AUGMENTERS[name].needs)
    ]


def why_not(method: Method, material: Material) -> str:
    """Why a method cannot be applied to such rows, in a few words; nothing where it can."""
    if material.tagged and not method.keeps_tags:
        return "it would change the words that slots and tags belong to"
    if not method.certain and any(one.target or one.score is not None for one in material.train):
        return "what stands beside a text (a translation, a score) would no longer hold"
    return method.refuses(material)


def insist(methods: Sequence[Method], material: Material) -> None:
    """Raise DataError for a method that cannot be applied to such rows."""
    for method in methods:
        reason = why_not(method, material)
        if reason:
            raise DataError(f"{method.name} makes nothing of these rows: {reason}")


def augmented(methods: Sequence[Method], material: Material, *, seed: int, copies: int = 1) -> list[NewRow]:
    """New rows of every training row, `copies` times by each method, in order; the same with the same seed.

    Raises DataError for a method that changed a label or the spans of a row.
    """
    found = []
    for method in methods:
        random = np.random.default_rng((seed, crc32(method.name.encode())))
        for _ in range(copies):
            for place, example in enumerate(material.train):
                for new, note in method(example, random, material):
                    if _beside(new) != _beside(example):
                        raise DataError(f"{method.name}: training row {place + 1}: would change its label or its slots")
                    found.append(NewRow(new, method.name, note, place))
    return found


def _beside(example: Example) -> tuple[Any, ...]:
    """What no method may change: the labels, the types of the spans in order, and all else beside the text."""
    tags = [kind for kind, _, _ in tag_spans(example.tags)]
    aligned = not example.tags or len(example.tags) == len(example.tokens)
    return example.labels, tags, aligned, example.pair, example.answers, example.target, example.score
