"""Give a linear bag of n-grams the best weights there are, in closed form, instead of training it step by step.

A few hundred rows decide little between tens of thousands of n-grams: what counts is how weights are held small, how
much more a rare n-gram tells than a frequent one, and how much a frequent label is preferred. All three are chosen by
rows that each solution did not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pocketlm.errors import RecipeError
from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import Output
from pocketlm.students.least_squares import MOST_ROWS, Sparse, products, solve_by_products, solve_by_steps
from pocketlm.tasks.metrics import macro, single_counts
from pocketlm.train.context import FitContext
from pocketlm.train.lesson import Lesson, lesson

Floats = NDArray[np.float32]
Labels = Mapping[str, NDArray[np.int64]]

# Logits are scores times one of these, so that their softmax says how often they are right.
_SHARPNESS = np.geomspace(0.5, 60, 49)


@dataclass(frozen=True)
class Solve:
    """Regularized least squares on the labels, each text's vector of unit length.

    penalties: on weights, in shares of a text's own product. rarities: exponents of the n-grams' inverse document
    frequency; () leaves their importance as it is. balances: exponents of a label's share by which its scores are
    divided; 0 for none. Of each the one is taken whose held-out labels have the best weighted F1: each row, or of many
    each of a sample, is left out in turn with all that repeat it. prior: of a label's share, added to its scores.
    """

    name: ClassVar[str] = "solve"
    penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    rarities: tuple[float, ...] = (1.0, 2.0)
    balances: tuple[float, ...] = (0.0, 0.5)
    prior: float = 0.5

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) <= 0:
            raise ValueError(f"penalties are above 0, got {self.penalties}")
        if not self.balances:
            raise ValueError("balances holds at least one exponent, such as 0")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The model with its table solved, and its scores scaled to tell how sure they are."""
        return self.with_held_out(model, context)[0]

    def with_held_out(self, model: TaskModel | None, context: FitContext) -> tuple[TaskModel, Floats | None]:
        """The solved model, and the logits (labelled texts, all labels) of each text by the others; None for many."""
        if model is None or not isinstance(model.module, BagModule) or not solvable(model.module, context.outputs):
            raise RecipeError(
                "solve works on texts with one label an output; put it after hashed-ngrams with width 0, hidden false"
            )
        rows, labels = features(model, context.lesson, context.outputs)
        first, again, counts = distinct(rows, labels)
        rows, labels, weights = rows[first], {name: own[first] for name, own in labels.items()}, np.sqrt(counts)
        module: Any = model.module
        given = [rarity(rows) ** np.float32(power) for power in self.rarities] or [module.importance.numpy()]
        few = rows.shape[0] <= MOST_ROWS
        sample = np.linspace(0, rows.shape[0] - 1, min(rows.shape[0], MOST_ROWS)).astype(int)
        seen = _Rows(rows[sample], {name: own[sample] for name, own in labels.items()}, weights[sample])
        tries = [one for importance in given for one in self._tries(importance, seen, context.outputs)]
        best = max(tries, key=lambda one: one.figure)
        if not few:
            known, right = features(model, lesson(context.dev, context.outputs), context.outputs)
            targets, shares = _targets(labels, context.outputs)
            scaled = weighted(unit_rows(rows, best.importance), weights)
            table = scaled.T @ solve_by_steps(scaled, targets * weights[:, None], best.penalty)
            best = self._judged(best, table, unit_rows(known, best.importance) @ table, right, shares)
        _store(model.module, best, rows)
        return model, best.logits[again] if few else None

    def _tries(self, importance: Floats, given: _Rows, outputs: Sequence[Output]) -> Iterator[_Try]:
        """Every penalty with this importance of n-grams."""
        targets, shares = _targets(given.labels, outputs)
        scaled, heavy = weighted(unit_rows(given.rows, importance), given.weights), given.weights[:, None]
        solved = solve_by_products(products(scaled), targets * heavy, self.penalties)
        for penalty, one in zip(self.penalties, solved, strict=True):
            start = _Try(importance, penalty)
            yield self._judged(start, scaled.T @ one.duals, one.held_out / heavy, given.labels, shares)

    def _judged(
        self, start: _Try, table: Floats, held_out: Floats, labels: Labels, shares: Mapping[str, Floats]
    ) -> _Try:
        """A solution with what its scores are multiplied by and raised by, chosen on held-out scores (rows, labels)."""
        edges = np.cumsum([len(own) for own in shares.values()])[:-1]
        factors, raised, figures, said = [], [], [], []
        for scores, (name, share) in zip(np.split(held_out, edges, axis=1), shares.items(), strict=True):
            floor, gold = np.maximum(share, 0.5 / len(held_out)), labels[name]
            tried = []
            for balance in self.balances:
                factor = (len(share) * floor) ** np.float32(-balance)
                logits = scores * factor + self.prior * share
                tried.append((weighted_f1(gold, logits.argmax(axis=1), len(share)), -balance, factor, logits))
            figure, _, factor, logits = max(tried, key=lambda one: one[:2])
            sharp = sharpness(logits, gold)
            factors.append(sharp * factor)
            raised.append(sharp * self.prior * share)
            figures.append(figure)
            said.append(sharp * logits)
        table, bias = table * np.concatenate(factors), np.concatenate(raised)
        return replace(
            start, table=table, bias=bias, figure=float(np.mean(figures)), logits=np.concatenate(said, axis=1)
        )


@dataclass(frozen=True)
class _Rows:
    """N-grams of distinct texts, (rows, features), their label numbers, and the roots of how often each comes."""

    rows: Sparse
    labels: Labels
    weights: Floats


@dataclass(frozen=True)
class _Try:
    """Settings and what they come to: figure, logits are held-out weighted F1, and what it is of.

    importance: (features,). table: (features, labels). bias: (labels,).
    """

    importance: Floats
    penalty: float
    table: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    bias: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    figure: float = 0.0
    logits: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def _targets(labels: Labels, outputs: Sequence[Output]) -> tuple[Floats, dict[str, Floats]]:
    """What each label's score is to be, (rows, labels of all outputs), and every label's share."""
    shares = {one.name: _hot(labels[one.name], one.size).mean(axis=0) for one in outputs}
    return np.concatenate([_hot(labels[name], len(own)) - own for name, own in shares.items()], axis=1), shares


def solvable(module: BagModule, outputs: Sequence[Output]) -> bool:
    """Whether the table's columns are the labels' own scores, and every output is one label of several."""
    sizes = sum(output.size for output in outputs)
    return not module.hidden and module.table.shape[1] == sizes and all(one.kind == "single" for one in outputs)


def rarity(rows: Sparse) -> Floats:
    """ln((1 + n) / (1 + texts with it)) + 1 of every feature."""
    texts = np.bincount(rows.indices, minlength=rows.shape[1])
    found: Floats = (np.log((1 + rows.shape[0]) / (1 + texts)) + 1).astype(np.float32)
    return found


def unit_rows(rows: Sparse, importance: Floats) -> Sparse:
    """The rows with features weighted by their importance, each row of unit length."""
    scaled = rows.copy()
    scaled.data = rows.data * importance[rows.indices]
    scaled.data = scaled.data / np.repeat(_lengths(scaled), np.diff(scaled.indptr))
    return scaled


def weighted(rows: Sparse, weights: Floats) -> Sparse:
    """The rows times their weights (rows,)."""
    heavy = rows.copy()
    heavy.data = rows.data * np.repeat(weights, np.diff(rows.indptr))
    return heavy


def distinct(rows: Sparse, labels: Labels) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Where each row with its labels comes first, the number of that place for every row, and how often it comes."""
    numbers: dict[bytes, int] = {}
    columns = np.stack(list(labels.values()), axis=1)
    first: list[int] = []
    again: list[int] = []
    for place, (begin, end) in enumerate(pairwise(rows.indptr)):
        key = rows.indices[begin:end].tobytes() + rows.data[begin:end].tobytes() + columns[place].tobytes()
        if key not in numbers:
            numbers[key] = len(first)
            first.append(place)
        again.append(numbers[key])
    counts = np.bincount(again, minlength=len(first)).astype(np.float32)
    return np.array(first, np.intp), np.array(again, np.intp), counts


def sharpness(scores: Floats, gold: NDArray[np.int64]) -> float:
    """The factor whose softmax(factor * scores) has the lowest cross-entropy with labels. scores: (rows, labels)."""
    below = scores - scores.max(axis=1, keepdims=True)
    right = below[np.arange(len(gold)), gold]
    losses = [float((np.log(np.exp(one * below).sum(axis=1)) - one * right).mean()) for one in _SHARPNESS]
    return float(_SHARPNESS[int(np.argmin(losses))])


def weighted_f1(gold: NDArray[np.int64], said: NDArray[np.int64], labels: int) -> float:
    """F1 of each label, weighted by how often it is right."""
    return float(macro(single_counts(gold, said, labels, np.ones((1, len(gold)))), weighted=True)[2][0])


def features(model: TaskModel, given: Lesson, outputs: Sequence[Output]) -> tuple[Sparse, dict[str, NDArray[np.int64]]]:
    """N-grams of the labelled texts before importance, (texts, table rows), and their label numbers."""
    from scipy.sparse import csr_matrix

    columns = {output.name: np.asarray(given.labels[output.name], np.int64) for output in outputs}
    known = np.flatnonzero(np.all([column >= 0 for column in columns.values()], axis=0))
    arrays = model.inputs.collate(model.inputs.encode([given.texts[place] for place in known]))
    module: Any = model.module
    shape = (len(known), len(module.table))
    rows = csr_matrix((arrays["weights"], arrays["ids"], arrays["offsets"]), shape=shape)
    return rows, {name: column[known] for name, column in columns.items()}


def _hot(numbers: NDArray[np.int64], labels: int) -> Floats:
    found: Floats = np.eye(labels, dtype=np.float32)[numbers]
    return found


def _lengths(rows: Sparse) -> Floats:
    squares = np.asarray(rows.multiply(rows).sum(axis=1), np.float32).ravel()
    found: Floats = np.sqrt(np.maximum(squares, 1e-12)).astype(np.float32)
    return found


def _store(module: BagModule, best: _Try, rows: Sparse) -> None:
    """Table, importance and heads; vectors are not of unit length in the runtime, but on average they are."""
    scaled = rows.copy()
    scaled.data = rows.data * best.importance[rows.indices]
    module.importance = torch.from_numpy(best.importance / _lengths(scaled).mean())
    module.table = nn.Parameter(torch.from_numpy(np.ascontiguousarray(best.table, np.float32)))
    at = 0
    with torch.no_grad():
        for head in module.heads.values():
            assert isinstance(head, nn.Linear)
            size = head.out_features
            head.weight.zero_()
            head.weight[:, at : at + size] = torch.eye(size)
            head.bias.copy_(torch.from_numpy(best.bias[at : at + size]))
            at += size
