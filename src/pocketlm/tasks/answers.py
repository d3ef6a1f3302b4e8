"""Gold and predicted answers side by side as arrays, one row an example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError
from pocketlm.outputs import Example

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Predictions = Sequence[Mapping[str, Any]]


def single_answers(
    examples: Sequence[Example], said: Sequence[str], known: Sequence[str]
) -> tuple[Ints, Ints, tuple[str, ...]]:
    """Places of the gold and the predicted labels (rows,) among the labels, which are returned too.

    The labels are the known ones, then whatever else occurs: a label the model never learnt counts as missed.
    Raises DataError for a row without a label.
    """
    check_rows(examples, said)
    bare = [place + 1 for place, example in enumerate(examples) if not example.labels]
    if bare:
        raise DataError(f"row {bare[0]} has no label to judge by ({len(bare)} of {len(examples)} rows have none)")
    gold = [example.labels[0] for example in examples]
    labels = _with_others(known, [*gold, *said])
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places[one] for one in gold]), np.array([places[one] for one in said]), labels


def many_answers(
    examples: Sequence[Example], said: Sequence[Sequence[str]], known: Sequence[str]
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Gold and predicted labels as tables of 0 and 1 (rows, labels), and the labels as `single_answers` has them."""
    check_rows(examples, said)
    gold = [example.labels for example in examples]
    labels = _with_others(known, [label for row in [*gold, *said] for label in row])
    return _table(gold, labels), _table(said, labels), labels


def check_rows(examples: Sequence[Example], said: Sequence[Any]) -> None:
    """Raise DataError where there is nothing to judge."""
    assert len(examples) == len(said), f"{len(said)} predictions for {len(examples)} examples"
    if not examples:
        raise DataError("there are no rows to judge by")


def distinct(*columns: NDArray[Any]) -> tuple[NDArray[np.intp], Ints]:
    """(place of one row of each kind, rows of that kind); columns: (rows,) or (rows, n).

    A figure of all rows is that of one row a kind, weighted: the bootstrap need not draw more than kinds.
    """
    _, first, times = np.unique(np.column_stack(columns), axis=0, return_index=True, return_counts=True)
    return first, times


def _with_others(known: Sequence[str], seen: Iterable[str]) -> tuple[str, ...]:
    return (*known, *sorted(set(seen) - set(known)))


def _table(rows: Sequence[Sequence[str]], labels: Sequence[str]) -> Floats:
    places = {label: place for place, label in enumerate(labels)}
    out = np.zeros((len(rows), len(labels)))
    for row, own in enumerate(rows):
        out[row, [places[label] for label in own]] = 1
    return out
