"""Intervals hold the value, shrink with rows, cover as often as they say, and are quick."""

import json
import sys

import numpy as np
import pytest

from pocketlm.outputs import Example, Output
from pocketlm.tasks.answers import distinct
from pocketlm.tasks.classification import CLASSIFICATION
from pocketlm.tasks.metrics import macro, single_counts
from pocketlm.tasks.scores import figures_with_intervals
from pocketlm.tasks.tagging import TAGGING, WORD_TAGGING
from pocketlm.tasks.understanding import UNDERSTANDING

LABELS = ("a", "b", "c")


def scores(rows, right, seed=0):
    said = [{"label": "a" if place < right else "b"} for place in range(rows)]
    return CLASSIFICATION.score([Example("", ("a",))] * rows, said, (Output("label", "single", LABELS),), seed)


def test_intervals_hold_the_value_and_shrink_with_rows():
    small, large = (scores(n, n * 9 // 10).metrics["accuracy"] for n in (50, 5000))
    for figure in (small, large):
        assert figure.low < figure.value == 0.9 < figure.high
    # the normal approximation's width: 2 * 1.96 * sqrt(.9 * .1 / n)
    assert large.high - large.low == pytest.approx(2 * 1.96 * (0.09 / 5000) ** 0.5, rel=0.15)
    assert small.high - small.low > 5 * (large.high - large.low)


def test_a_seed_gives_the_same_interval():
    assert scores(50, 45, seed=1) == scores(50, 45, seed=1)
    assert scores(500, 450, seed=1).metrics != scores(500, 450, seed=2).metrics


def test_all_right_is_as_sure_as_rows_are_many():
    few, many = (scores(rows, rows).metrics["accuracy"] for rows in (9, 9000))
    # Wilson's lower bound of 9 of 9, as tables have it
    assert (few.low, few.value, few.high) == (pytest.approx(0.7009, abs=1e-4), 1, 1)
    assert many.low > 0.999
    none = scores(20, 0).metrics["accuracy"]
    assert (none.low, none.value, none.high) == (0, 0, pytest.approx(0.1611, abs=1e-4))


def test_no_spread_where_all_rows_are_alike():
    figures = figures_with_intervals(lambda weights: {"bits": weights.sum(1) / 20 * 3.5}, np.array([20]), 0)
    assert (figures["bits"].low, figures["bits"].high) == (3.5, 3.5)


def test_drawing_kinds_is_drawing_rows():
    """Against a plain bootstrap that draws rows one by one."""
    random = np.random.default_rng(0)
    gold = random.integers(0, 3, 200)
    said = np.where(random.random(200) < 0.8, gold, random.integers(0, 3, 200))

    def f1(gold, said, weights):
        return macro(single_counts(gold, said, 3, weights))[2]

    one, times = distinct(gold, said)
    assert times.sum() == 200
    assert len(times) <= 9
    found = figures_with_intervals(lambda weights: {"f1": f1(gold[one], said[one], weights)}, times, 0, 4000)["f1"]
    drawn = [random.integers(0, 200, 200) for _ in range(4000)]
    plain = [f1(gold[rows], said[rows], np.ones((1, 200)))[0] for rows in drawn]
    assert found.value == pytest.approx(f1(gold, said, np.ones((1, 200)))[0], abs=1e-6)
    assert (found.low, found.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.006)


def test_intervals_cover_as_often_as_they_say():
    random, hits = np.random.default_rng(1), 0
    for trial in range(300):
        right = random.random(150) < 0.8
        times = np.array([right.sum(), (~right).sum()])
        figure = figures_with_intervals(
            lambda weights: {"accuracy": weights[:, 0] / weights.sum(1)}, times, trial, resamples=300
        )["accuracy"]
        hits += figure.low <= 0.8 <= figure.high
    assert 0.91 < hits / 300 < 0.98


def test_distinct_counts_kinds_over_all_columns():
    first, times = distinct(np.array([1, 1, 2, 1]), np.array([[0, 1], [0, 1], [0, 1], [0, 2]]))
    assert sorted(zip(first.tolist(), times.tolist(), strict=True)) == [(0, 2), (2, 1), (3, 1)]


def calls_of(judge):
    """How many Python functions are called."""
    count = 0

    def seen(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    try:
        judge()
    finally:
        sys.setprofile(None)
    return count


def test_rows_are_read_once_and_not_for_every_resample():
    random = np.random.default_rng(0)
    labels, tags = tuple(f"l{n}" for n in range(77)), ("O", *(f"{mark}-s{n}" for n in range(20) for mark in "BI"))
    examples = [
        Example("", (labels[place],), tuple("w" * 8), tuple(tags[tag] for tag in random.integers(0, 41, 8)))
        for place in random.integers(0, 77, 3080)
    ]
    said = [{"label": one, "intent": one, "slots": ["O"] * 8} for one in random.choice(labels, 3080).tolist()]
    outputs = Output("intent", "single", labels), Output("slots", "tags", tags)
    words = [{"tags": list(one.tags[::-1])} for one in examples]
    plain = tuple(tag.replace("-", "") for tag in tags)
    named = [Example("", (), one.tokens, tuple(tag.replace("-", "") for tag in one.tags)) for one in examples]
    for judge in (
        lambda: CLASSIFICATION.score(examples, said, (Output("label", "single", labels),)),
        lambda: UNDERSTANDING.score(examples, said, outputs),
        lambda: TAGGING.score(examples, words, (Output("tags", "tags", tags),)),
        lambda: WORD_TAGGING.score(
            named, [{"tags": list(one.tags)} for one in named], (Output("tags", "tags", plain),)
        ),
    ):
        assert calls_of(judge) < 100 * len(examples)  # there are 1,000 resamples


def test_scores_are_plain_data():
    about = json.loads(json.dumps(scores(10, 7).to_json()))
    assert about["n"] == 10
    assert set(about["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert about["confusion"] == {"labels": list(LABELS), "counts": [[7, 3, 0], [0, 0, 0], [0, 0, 0]]}
    assert about["per_class"][0] == {
        "label": "a",
        "precision": 1.0,
        "recall": 0.7,
        "f1": pytest.approx(14 / 17, abs=1e-6),
        "support": 10,
    }
    assert about["per_slot"] == []
