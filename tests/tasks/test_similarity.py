"""Figures of similarity equal scipy's and a plain count of ranks; what cannot be judged is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from pocketlm.errors import DataError
from pocketlm.outputs import Example
from pocketlm.tasks.similarity import RETRIEVAL, SIMILARITY, _ranks


def said(vectors):
    return [{"vector": list(map(float, one))} for one in vectors]


def pairs_of(scores):
    return [Example(f"a{n}", pair=f"b{n}", score=score) for n, score in enumerate(scores)]


def random_vectors(count, width=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width))


@given(st.lists(st.integers(0, 4), min_size=4, max_size=30), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_correlations_equal_scipy(scores, seed):
    if len(set(scores)) < 2:
        scores[0] += 1
        if len(set(scores)) < 2:
            return
    vectors = random_vectors(2 * len(scores), seed=seed)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (units[0::2] * units[1::2]).sum(1)
    figures = SIMILARITY.figures(pairs_of(scores), said(vectors), ())
    assert figures["spearman"] == pytest.approx(spearmanr(cosines, scores)[0], abs=1e-5)
    assert figures["pearson"] == pytest.approx(pearsonr(cosines, scores)[0], abs=1e-5)


def test_a_row_that_counts_twice_is_two_rows():
    """What the bootstrap relies on: ranks of weighted rows are those of the rows written out."""
    places, weights = np.array([0, 2, 1, 2, 3]), np.array([[1, 2, 0, 1, 3.0]])
    written = np.repeat(places, weights[0].astype(int))
    expected = {value: np.mean(np.flatnonzero(np.sort(written) == value)) + 0.5 for value in set(written)}
    ranks = _ranks(places, weights)[0]
    assert [ranks[n] for n in (0, 1, 3, 4)] == [expected[places[n]] for n in (0, 1, 3, 4)]


def test_the_order_alone_counts_and_intervals_hold_the_figure():
    angles = np.linspace(0, 3, 40)
    vectors = np.stack([np.stack([np.cos(a), np.sin(a)]) for angle in angles for a in (0, angle)])
    examples = pairs_of((-(angles**3)).tolist())
    scores = SIMILARITY.score(examples, said(vectors), ())
    assert scores.n == 40
    assert scores.metrics["spearman"].value == pytest.approx(1)
    one = scores.metrics["pearson"]
    assert one.low < one.value < one.high < 1
    backwards = SIMILARITY.figures(pairs_of((angles**3).tolist()), said(vectors), ())
    assert backwards["spearman"] == pytest.approx(-1)
    assert SIMILARITY.figures(examples, said(np.ones((80, 2))), ())["spearman"] == 0


def test_retrieval_by_labels_equals_a_plain_count():
    labels = [*"aabbccabc", "alone"]
    vectors = random_vectors(len(labels))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ranks = []
    for own, label in enumerate(labels[:-1]):
        order = sorted((n for n in range(len(labels)) if n != own), key=lambda n: -units[own] @ units[n])
        ranks.append(1 + next(place for place, n in enumerate(order) if labels[n] == label))
    examples = [Example(f"t{n}", (label,)) for n, label in enumerate(labels)]
    scores = RETRIEVAL.score(examples, said(vectors), ())
    assert scores.n == 9  # a text whose label is its own has nothing to find
    assert scores.metrics["mrr"].value == pytest.approx(np.mean(1 / np.array(ranks)), abs=1e-6)
    assert scores.metrics["recall_at_1"].value == pytest.approx(np.mean(np.array(ranks) == 1), abs=1e-6)
    assert scores.metrics["recall_at_10"].value == 1


def test_retrieval_by_pairs_counts_every_pair_of_a_query():
    east, north, west, both = (1, 0), (0, 1), (-1, 0), (1, 0.5)
    examples = [Example("q", pair="d1"), Example("q", pair="d2"), Example("r", pair="d3")]
    figures = RETRIEVAL.figures(examples, said([east, west, east, both, east, north]), ())
    # q: d2 is nearest of d1 (west), d2 (both), d3 (north); r reads the same but wants d3, the second
    assert figures == {"recall_at_1": 0.5, "recall_at_10": 1, "mrr": 0.75}


def test_vectors_that_tell_nothing_apart_find_nothing_first():
    examples = [Example(f"t{n}", ("ab"[n % 2],)) for n in range(20)]
    figures = RETRIEVAL.figures(examples, said(np.ones((20, 3))), ())
    assert figures["recall_at_1"] == 0
    assert figures["mrr"] == pytest.approx(1 / 11)


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        ([], "no rows"),
        (pairs_of([1, 1, 1]), "every pair has the score 1"),
        ([*pairs_of([1, 2]), Example("a", pair="b")], "row 3 has no score"),
        ([Example("a", ("x",)), Example("b")], "row 2 has no score, pair or label"),
        ([Example("a", ("x",)), Example("b", ("y",))], "no text has both"),
        ([Example("a", ("x",)), Example("b", ("x",))], "no text has both"),
        ([Example("a", pair="d"), Example("b", pair="d")], "the same second text"),
    ],
)
def test_what_cannot_be_judged(examples, says):
    count = sum(2 if one.pair else 1 for one in examples)
    with pytest.raises(DataError, match=says):
        SIMILARITY.figures(examples, said(random_vectors(count)), ())
