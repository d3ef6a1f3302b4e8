"""Similarity: texts as vectors whose cosines say how alike they are, judged by scored pairs or by retrieval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.runtime.vectors import cosine, unit, vectors_of
from pocketlm.tasks.answers import Floats, Ints, Predictions, distinct
from pocketlm.tasks.scores import Scores, figures_with_intervals

VECTOR = "vector"
# Dimensions where nobody asks for another number, as far as the teacher has so many.
WIDTH = 256
# Queries compared with the whole corpus at once: bounds the memory of (queries, corpus) cosines.
_CHUNK = 512
Measure = Callable[[Floats], dict[str, Floats]]


@dataclass(frozen=True)
class Similarity:
    """One vector a text.

    spearman, pearson: of the cosines of pairs with their scores. recall_at_1, recall_at_10: the share of queries with
    a relevant text among so many nearest; mrr: mean of 1 / the first relevant text's rank. Relevant to a text are,
    where rows are pairs without scores, its pairs (among all second texts), and where rows have labels, the other texts
    of its label (among all other texts). Which figures there are depends on the rows: `similarity` is chosen by
    spearman, `retrieval` by mrr.
    """

    name: str = "similarity"
    main_metric: str = "spearman"

    @property
    def higher_is_better(self) -> dict[str, bool]:
        """{metric: whether more is better}."""
        return dict.fromkeys(("spearman", "pearson", "recall_at_1", "recall_at_10", "mrr"), True)

    def outputs(self, examples: Sequence[Example]) -> tuple[Output, ...]:
        """One vector. Raises DataError where scores are all alike, or labels are all one."""
        scores = {example.score for example in examples if example.score is not None}
        if len(scores) == 1:
            raise DataError(f"every pair has the score {scores.pop():g}; two different ones are needed")
        labels = {label for example in examples for label in example.labels}
        if len(labels) == 1:
            raise DataError(
                f"the rows have one label only ({labels.pop()}); texts of two are needed to tell them apart"
            )
        return (Output(VECTOR, "vector", (), WIDTH),)

    def figures(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output]
    ) -> dict[str, float]:
        """Every metric that the rows allow, without intervals. predictions: two for an example with a pair."""
        measure, times, _ = _judged(examples, predictions)
        return {name: float(value[0]) for name, value in measure(times[None].astype(np.float64)).items()}

    def score(
        self, examples: Sequence[Example], predictions: Predictions, outputs: Sequence[Output], seed: int = 0
    ) -> Scores:
        """Every metric that the rows allow, with intervals over pairs or queries."""
        measure, times, count = _judged(examples, predictions)
        return Scores(count, figures_with_intervals(measure, times, seed), [])


def _judged(examples: Sequence[Example], predictions: Predictions) -> tuple[Measure, Ints, int]:
    """What measures weighted rows, how many there are of each kind, and how many in all. Raises DataError."""
    if not examples:
        raise DataError("there are no rows to judge by")
    vectors = vectors_of(predictions)
    scored = [example.score is not None for example in examples]
    if all(scored):
        assert len(vectors) == 2 * len(examples), f"{len(vectors)} vectors for {len(examples)} pairs"
        gold = np.array([example.score for example in examples], np.float64)
        if (gold == gold[0]).all():
            raise DataError(f"every pair has the score {gold[0]:g}; nothing can be ordered by it")
        said = cosine(vectors[0::2], vectors[1::2]).astype(np.float64)
        return _correlations(gold, said), np.ones(len(gold), np.int64), len(gold)
    if any(scored):
        raise DataError(f"row {scored.index(False) + 1} has no score to judge by, others have one")
    ranks = _pair_ranks(examples, vectors) if examples[0].pair else _label_ranks(examples, vectors)
    first, times = distinct(ranks)
    return _retrieval(ranks[first]), times, len(ranks)


def _correlations(gold: Floats, said: Floats) -> Measure:
    places = [np.unique(values, return_inverse=True)[1] for values in (gold, said)]

    def measure(weights: Floats) -> dict[str, Floats]:
        ranked = [_ranks(own, weights) for own in places]
        whole = [np.broadcast_to(values, weights.shape) for values in (gold, said)]
        return {"spearman": _pearson(ranked, weights), "pearson": _pearson(whole, weights)}

    return measure


def _ranks(places: NDArray[np.intp], weights: Floats) -> Floats:
    """Mean rank of each row among rows that occur `weights` (resamples, rows) times; places: of its value, sorted."""
    order = np.argsort(places, kind="stable")
    begins = np.searchsorted(places[order], np.arange(places.max() + 1))
    times = np.add.reduceat(weights[:, order], begins, axis=1)
    middle = np.cumsum(times, axis=1) - times / 2
    out: Floats = middle[:, places]
    return out


def _pearson(sides: Sequence[Floats], weights: Floats) -> Floats:
    """Weighted correlation in each resample, 0 where a side does not vary. All (resamples, rows)."""
    total = weights.sum(axis=1, keepdims=True)
    own, other = (one - (weights * one).sum(axis=1, keepdims=True) / total for one in sides)
    spread = (weights * own * own).sum(axis=1) * (weights * other * other).sum(axis=1)
    shared = (weights * own * other).sum(axis=1)
    out: Floats = np.where(spread > 1e-18, shared / np.sqrt(np.maximum(spread, 1e-18)), 0.0)
    return out


def _retrieval(ranks: Floats) -> Measure:
    def measure(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        by_rank = {"recall_at_1": ranks <= 1, "recall_at_10": ranks <= 10, "mrr": 1 / ranks}
        return {name: weights @ own.astype(np.float64) / total for name, own in by_rank.items()}

    return measure


def _label_ranks(examples: Sequence[Example], vectors: NDArray[np.float32]) -> Floats:
    """Rank of the nearest other text of the same label, for each text that has one."""
    bare = [place + 1 for place, example in enumerate(examples) if not example.labels]
    if bare:
        raise DataError(
            f"row {bare[0]} has no score, pair or label to judge by ({len(bare)} of {len(examples)} rows have none)"
        )
    _, labels = np.unique([example.labels[0] for example in examples], return_inverse=True)
    asked = np.flatnonzero(np.bincount(labels)[labels] > 1)
    if not len(asked) or len(asked) == len(labels) == np.bincount(labels)[0]:
        raise DataError("no text has both another of its label and one of another label to be told from")
    units = unit(vectors)
    return _first_ranks(units[asked], units, lambda part: labels[asked[part], None] == labels[None, :], itself=asked)


def _pair_ranks(examples: Sequence[Example], vectors: NDArray[np.float32]) -> Floats:
    """Rank of the nearest text that is a query's pair, among all second texts, for each distinct query."""
    queries = {example.text: place for place, example in enumerate(examples)}
    corpus = {example.pair: place for place, example in enumerate(examples)}
    if len(corpus) < 2:
        raise DataError("every pair has the same second text; two different ones are needed to retrieve among them")
    columns = {text: place for place, text in enumerate(corpus)}
    pairs: dict[str, list[int]] = {text: [] for text in queries}
    for example in examples:
        pairs[example.text].append(columns[example.pair])
    known = list(pairs.values())

    def relevant(part: slice) -> NDArray[np.bool_]:
        found = np.zeros((len(known[part]), len(corpus)), bool)
        for row, own in enumerate(known[part]):
            found[row, own] = True
        return found

    units = unit(vectors)
    own, other = ([2 * place + side for place in found.values()] for side, found in enumerate((queries, corpus)))
    return _first_ranks(units[own], units[other], relevant)


def _first_ranks(
    queries: NDArray[np.float32], corpus: NDArray[np.float32], relevant: Callable[[slice], NDArray[np.bool_]],
    itself: NDArray[np.intp] | None = None,
) -> Floats:  # fmt: skip
    """Rank, from 1, of each query's nearest relevant text; others as near stand before it.

    relevant: of some of the queries, (queries, corpus). itself: (queries,) each query's own place in the corpus,
    which is left out.
    """
    ranks = []
    for begin in range(0, len(queries), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        near, right = queries[part] @ corpus.T, relevant(part)
        if itself is not None:
            near[np.arange(len(near)), itself[part]] = -np.inf
        best = np.where(right, near, -np.inf).max(axis=1, keepdims=True)
        ranks.append(1 + ((near >= best) & ~right).sum(axis=1))
    return np.concatenate(ranks).astype(np.float64)


SIMILARITY = Similarity()
RETRIEVAL = Similarity("retrieval", "mrr")
