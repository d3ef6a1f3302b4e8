"""Deterministic stratified splits, and a check for rows that stand on both sides."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from pocketlm.data.read import Row
from pocketlm.errors import DataError
from pocketlm.outputs import Example

DEV_SHARE = 0.1
TEST_SHARE = 0.15
MOST_DEV_ROWS = 1_500
# Texts that may always go together: a pair, and one more pair that shares a text with it.
LEAST_TOGETHER = 3


def normal_text(text: str) -> str:
    """A text without its accidents: NFC, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def rows_hash(rows: Sequence[Row]) -> str:
    """SHA-256 of rows in order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def _order(text: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def split_off(
    rows: Sequence[Row],
    share: float,
    *,
    texts_of: Callable[[Row], Sequence[str]],
    class_of: Callable[[Row], Hashable],
    seed: int,
    most: int | None = None,
) -> tuple[list[Row], list[Row]]:
    """(rest, part): about `share` of each class in `part`, at least one where the class has two texts.

    Which rows go depends on the rows' texts, classes and the seed, not on their order. Rows that share a text stay
    together, and so do those that hang together by way of others. most: rows in `part`, where the classes are fewer.
    """
    owners, sizes = _connected([[normal_text(text) for text in texts_of(row)] for row in rows])
    classes: dict[str, set[Hashable]] = defaultdict(set)
    for row, owner in zip(rows, owners, strict=True):
        classes[owner].add(class_of(row))
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for owner, own in classes.items():
        groups[min(own, key=str)].append(owner)
    if most is not None:
        share = min(share, most / max(1, len(rows)))
    taken: set[str] = set()
    for group in groups.values():
        taken.update(_take(sorted(group, key=lambda owner: _order(owner, seed)), sizes, share))
    rest = [row for row, owner in zip(rows, owners, strict=True) if owner not in taken]
    part = [row for row, owner in zip(rows, owners, strict=True) if owner in taken]
    return rest, part


def _connected(texts: Sequence[Sequence[str]]) -> tuple[list[str], Counter[str]]:
    """The first text, by the alphabet, of all that each row hangs together with, and how many each stands for."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent[text] != text:
            parent[text] = text = parent[parent[text]]
        return text

    for own in texts:
        for text in own:
            parent.setdefault(text, text)
        first, *others = sorted({root(text) for text in own})
        parent.update(dict.fromkeys(others, first))
    return [root(own[0]) for own in texts], Counter(map(root, parent))


def _take(ordered: Sequence[str], sizes: Mapping[str, int], share: float) -> list[str]:
    """From the start, as many as have about `share` of the texts; never all, and none that has many times that."""
    total = sum(sizes[one] for one in ordered)
    wanted = min(max(1, round(total * share)), total - 1)
    taken: list[str] = []
    count = 0
    for one in ordered:
        if count >= wanted or len(taken) == len(ordered) - 1:
            break
        if sizes[one] <= max(LEAST_TOGETHER, 2 * wanted):
            taken.append(one)
            count += sizes[one]
    return taken


def drop_shared(
    rows: Sequence[Row], held: Sequence[Row], *, texts_of: Callable[[Row], Sequence[str]], name: str,
    own: str = "training",
) -> tuple[list[Row], str | None]:  # fmt: skip
    """Rows of the split `own` with no text that is in `held`, called `name`, and a note on those dropped."""
    texts = {normal_text(text) for row in held for text in texts_of(row)}
    kept = [row for row in rows if not any(normal_text(text) in texts for text in texts_of(row))]
    if len(kept) == len(rows):
        return list(rows), None
    example = next(text for row in rows for text in texts_of(row) if normal_text(text) in texts)
    count = len(rows) - len(kept)
    return kept, f"{count} {own} row{'s' * (count > 1)} also in {name} left out of {own}, such as {example[:60]!r}"


def check_labels(train: Sequence[Example], held: Sequence[Example], where: str) -> None:
    """Raise DataError where held-out examples have a label that training never showed."""
    known = {label for example in train for label in example.labels}
    unseen = sorted({label for example in held for label in example.labels} - known)
    if unseen:
        shown = ", ".join(map(repr, unseen[:5])) + (", …" if len(unseen) > 5 else "")
        raise DataError(f"{where}: has {len(unseen)} label{'s' * (len(unseen) > 1)} that no training row has: {shown}")


def describe_split(rows: Sequence[Row]) -> dict[str, Any]:
    """{"rows", "sha256"} of a split."""
    return {"rows": len(rows), "sha256": rows_hash(rows)}
