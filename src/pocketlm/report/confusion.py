"""Which labels a Pocket takes for which, as a grid and as a list of the worst pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.report.figures import percent
from pocketlm.report.markup import Markup, element

# Up to so many labels a grid is labelled; beyond, only its pattern can be seen.
MOST_LABELLED = 25
_CELL, _SMALL_CELL = 30, 6
# Full ink would hide a cell's figure.
_MOST_INK = 0.75


@dataclass(frozen=True)
class Confusion:
    """labels; counts[gold][predicted], as many rows and columns as labels."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Confusion | None:
        """From {"labels", "counts"}; None where the counts are no such square."""
        labels = tuple(map(str, value.get("labels") or ()))
        counts = tuple(tuple(int(count) for count in row) for row in value.get("counts") or ())
        if not labels or len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
            return None
        return cls(labels, counts)

    def pairs(self) -> list[tuple[str, str, int, float]]:
        """(gold, predicted, rows, their share of the gold label's rows) of every confusion, worst first."""
        found = [
            (self.labels[gold], self.labels[predicted], count, count / sum(row))
            for gold, row in enumerate(self.counts)
            for predicted, count in enumerate(row)
            if count and gold != predicted
        ]
        return sorted(found, key=lambda pair: (-pair[2], -pair[3], pair[0], pair[1]))


def matrix(confusion: Confusion) -> Markup:
    """The grid as inline SVG: rows are gold, columns predicted, ink the share of a row.

    Where it is wrong, full ink is the worst share, so that small confusions can be seen.
    """
    labelled = len(confusion.labels) <= MOST_LABELLED
    cell = _CELL if labelled else _SMALL_CELL
    margin = _margin(confusion.labels) if labelled else 18
    across = cell * len(confusion.labels)
    width, height = margin + across + 2, margin + across + 2
    worst = max((share for *_, share in confusion.pairs()), default=1.0)
    parts = [element("rect", class_="frame", x=margin, y=margin, width=across, height=across)]
    parts += _labels(confusion.labels, margin) if labelled else _titles(margin)
    parts += [
        _cell(confusion, gold, predicted, worst, (margin, cell))
        for gold, row in enumerate(confusion.counts)
        for predicted, count in enumerate(row)
        if count
    ]
    return element(
        "svg",
        *parts,
        class_="matrix labelled" if labelled else "matrix",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=f"Confusion matrix of {len(confusion.labels)} labels: rows are gold, columns predicted. "
        "The most confused pairs are listed as text.",
    )


def _cell(confusion: Confusion, gold: int, predicted: int, worst: float, sizes: tuple[int, int]) -> Markup:
    """A cell with what it says on asking. worst: the largest share confused; sizes: (margin, cell)."""
    margin, cell = sizes
    count, right = confusion.counts[gold][predicted], gold == predicted
    share = count / sum(confusion.counts[gold])
    x, y = margin + predicted * cell, margin + gold * cell
    ink = _MOST_INK * (0.12 + 0.88 * share if right else 0.3 + 0.7 * share / worst)
    verb = "right" if right else f"taken for {confusion.labels[predicted]}"
    tip = json.dumps([confusion.labels[gold], f"{verb}: {count} ({percent(share, 1)})"], ensure_ascii=False)
    number = element("text", count, class_="count", x=x + cell / 2, y=y + cell / 2 + 4, text_anchor="middle")
    return element(
        "g",
        element("rect", class_="right" if right else "wrong", x=x, y=y, width=cell, height=cell, fill_opacity=ink),
        number if cell == _CELL else None,
        data_tip=tip,
    )


def _labels(labels: Sequence[str], margin: int) -> list[Markup]:
    parts = []
    for place, label in enumerate(labels):
        at = margin + place * _CELL + _CELL / 2 + 4
        short = _shorten(label)
        parts.append(element("text", short, class_="tick", x=margin - 6, y=at, text_anchor="end"))
        turn = f"translate({at:.1f} {margin - 6}) rotate(-90)"
        parts.append(element("text", short, class_="tick", transform=turn))
    return parts


def _titles(margin: int) -> list[Markup]:
    down = f"translate({margin - 6} {margin}) rotate(-90)"
    return [
        element("text", "predicted →", class_="axis", x=margin, y=margin - 6),
        element("text", "← gold", class_="axis", transform=down, text_anchor="end"),
    ]


def _margin(labels: Sequence[str]) -> int:
    return 16 + 7 * max(len(_shorten(label)) for label in labels)


def _shorten(label: str, most: int = 18) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"
