"""Deterministic stratified splits, and a check for rows that stand on both sides."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from pocketlm.data.read import Row
from pocketlm.errors import DataError
from pocketlm.outputs import Example

DEV_SHARE = 0.1
TEST_SHARE = 0.15
MOST_DEV_ROWS = 1_500


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
    text_of: Callable[[Row], str],
    class_of: Callable[[Row], Hashable],
    seed: int,
    most: int | None = None,
) -> tuple[list[Row], list[Row]]:
    """(rest, part): about `share` of each class in `part`, at least one where the class has two texts.

    Which rows go depends on the rows' texts, classes and the seed, not on their order; equal texts stay together.
    most: rows in `part`, where the classes are fewer.
    """
    texts = [normal_text(text_of(row)) for row in rows]
    classes: dict[str, set[Hashable]] = defaultdict(set)
    for row, text in zip(rows, texts, strict=True):
        classes[text].add(class_of(row))
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for text, own in classes.items():
        groups[min(own, key=str)].append(text)
    if most is not None:
        share = min(share, most / max(1, len(rows)))
    taken: set[str] = set()
    for group in groups.values():
        ordered = sorted(group, key=lambda text: _order(text, seed))
        count = min(max(1, round(len(ordered) * share)), len(ordered) - 1)
        taken.update(ordered[:count])
    rest = [row for row, text in zip(rows, texts, strict=True) if text not in taken]
    part = [row for row, text in zip(rows, texts, strict=True) if text in taken]
    return rest, part


def drop_shared(
    rows: Sequence[Row], held: Sequence[Row], *, text_of: Callable[[Row], str], name: str, own: str = "training"
) -> tuple[list[Row], str | None]:
    """Rows of the split `own` whose text is not in `held`, called `name`, and a note on those dropped."""
    texts = {normal_text(text_of(row)) for row in held}
    kept = [row for row in rows if normal_text(text_of(row)) not in texts]
    if len(kept) == len(rows):
        return list(rows), None
    example = next(text_of(row) for row in rows if normal_text(text_of(row)) in texts)
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
