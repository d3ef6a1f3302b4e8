"""Rows of other languages, or of other sources, beside those that count: fitted to their labels and mixed with them.

Sources are heard by temperature: of n examples, a source's share grows as n^(1/T), so that the few are not drowned by
the many (Devlin et al. 2019's multilingual BERT; Conneau et al. 2020, arXiv:1911.02116, section 3.1, whose alpha is
1/T; Arivazhagan et al. 2019, arXiv:1907.05019, section 4.2, with T = 5).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pocketlm.data.read import Row
from pocketlm.data.splits import normal_text
from pocketlm.errors import DataError
from pocketlm.outputs import Example

# Names of labels shown in a message.
_SHOWN = 5


@dataclass(frozen=True)
class Other:
    """Examples of another source: to learn from, and its own for choosing where nothing better is there."""

    name: str
    train: list[Example]
    dev: list[Example]


def some_rows(rows: Sequence[Row], count: int, class_of: Callable[[Row], Hashable], seed: int) -> list[Row]:
    """`count` of the rows in their order: one of each class, frequent classes first, then any. By text, not by place.

    Raises DataError where there are fewer.
    """
    if count > len(rows):
        raise DataError(f"{count} training rows were asked for, there are {len(rows)}")
    order = sorted(range(len(rows)), key=lambda place: _hash(f"{seed}:{rows[place]}"))
    classes = [class_of(row) for row in rows]
    often = Counter(classes)
    first: dict[Hashable, int] = {}
    for place in order:
        first.setdefault(classes[place], place)
    each = sorted(first.values(), key=lambda place: (-often[classes[place]], str(classes[place])))
    chosen = set(list(dict.fromkeys([*each, *order]))[:count])
    return [row for place, row in enumerate(rows) if place in chosen]


def known_labels(examples: Sequence[Example]) -> frozenset[str]:
    """Labels, and types of tags, that occur."""
    return frozenset(label for one in examples for label in _labels(one))


def fitted(other: Other, known: Collection[str], judged: Sequence[Example]) -> tuple[Other, list[str]]:
    """The source without examples of labels that are not `known`, and without texts that are judged; and notes.

    judged: dev and test examples of the data that counts. Raises DataError where no label of the source is known.
    """
    theirs = known_labels(other.train)
    strange = Counter(label for one in other.train for label in _labels(one) if label not in known)
    held = {normal_text(one.text) for one in judged}
    notes = []
    alike = [one for one in other.train if all(label in known for label in _labels(one))]
    if not alike:
        raise DataError(
            f"{other.name}: none of its rows has only labels of the data that is judged; it has "
            f"{_named(_with_hints(strange, known, theirs))}, the data {_named([repr(one) for one in sorted(known)])}"
        )
    if len(alike) < len(other.train):
        notes.append(
            f"{other.name}: {len(other.train) - len(alike):,} rows left out, having labels that the data has not: "
            f"{_named(_with_hints(strange, known, theirs))}"
        )
    train = [one for one in alike if normal_text(one.text) not in held]
    if len(train) < len(alike):
        notes.append(f"{other.name}: {len(alike) - len(train):,} rows left out, their texts being in dev or test")
    dev = [
        one for one in other.dev if all(label in known for label in _labels(one)) and normal_text(one.text) not in held
    ]
    return Other(other.name, train, dev), notes


def repeats(sizes: Sequence[int], temperature: float) -> list[float]:
    """How often each source's examples are seen while those of the largest are once, so that shares are n^(1/T)."""
    most = max(sizes)
    return [(size / most) ** (1 / temperature - 1) if size else 0.0 for size in sizes]


def mixed(sources: Sequence[Sequence[Example]], temperature: float, seed: int) -> list[Example]:
    """All examples, each as often as `repeats` says; where that is no whole number, some once more than others."""
    found: list[Example] = []
    for own, times in zip(sources, repeats([len(one) for one in sources], temperature), strict=True):
        whole = int(times)
        order = sorted(own, key=lambda one: _hash(f"{seed}:{one.text}"))
        found += [*list(own) * whole, *order[: round((times - whole) * len(own))]]
    return found


def evenly(sources: Sequence[Sequence[Example]], most: int, seed: int) -> list[Example]:
    """At most so many examples in all, of each source as many as of the others as far as it has them."""
    ordered = [sorted(own, key=lambda one: _hash(f"{seed}:{one.text}")) for own in sources]
    share = most // max(1, len(ordered))
    return [one for own in ordered for one in own[:share]]


def _labels(example: Example) -> list[str]:
    """The labels of an example, and the types of its tags."""
    tags = [tag[2:] if tag[1:2] == "-" else tag for tag in example.tags if tag != "O"]
    return list(dict.fromkeys([*example.labels, *tags]))


def _with_hints(strange: Collection[str], known: Collection[str], own: Collection[str]) -> list[str]:
    """Labels in quotes, each with the known one that may be it in another spelling; those that have one first.

    own: all labels of the source. One that it has itself is no other spelling of another.
    """
    plain = {_plain(label): label for label in known if label not in own}
    near = {label: get_close_matches(_plain(label), plain, n=1, cutoff=0.9) for label in strange}
    hinted = [f"{label!r} (did you mean {plain[found[0]]!r}?)" for label, found in near.items() if found]
    return hinted + [repr(label) for label, found in near.items() if not found]


def _plain(label: str) -> str:
    return "".join(filter(str.isalnum, label.casefold()))


def _named(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_SHOWN]) + (", …" if len(labels) > _SHOWN else "") if labels else "none"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
