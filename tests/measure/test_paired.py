"""Differences on the same rows: against exact distributions, and where there is none."""

import numpy as np
import pytest

from pocketlm.errors import DataError
from pocketlm.measure.paired import difference, mcnemar


def mean_of(values):
    return lambda places: float(np.mean([values[place] for place in places]))


def test_mcnemar_is_the_binomial_test():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 0) == pytest.approx(2 / 2**5)
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx(2 * (1 + 8) / 2**8)


def test_a_difference_of_means_has_the_interval_that_its_rows_give():
    random = np.random.default_rng(0)
    right = random.random((2, 400)) < np.array([[0.85], [0.7]])
    found = difference("accuracy", 400, *(mean_of(one.astype(float)) for one in right))
    apart = right[0].astype(float) - right[1]
    assert found.gain.value == pytest.approx(apart.mean(), abs=1e-6)
    half = 1.96 * apart.std() / 20
    assert found.gain.low == pytest.approx(apart.mean() - half, abs=0.01)
    assert found.gain.high == pytest.approx(apart.mean() + half, abs=0.01)
    assert (found.won, found.lost) == (int((apart > 0).sum()), int((apart < 0).sum()))
    assert found.p_value == mcnemar(found.won, found.lost) and found.real


def test_of_differences_told_together_each_is_less_sure():
    right = np.ones((2, 400), bool)
    right[1, :30], right[0, 30:45] = False, False
    alone, among = (
        difference("accuracy", 400, *(mean_of(one.astype(float)) for one in right), together=count) for count in (1, 5)
    )
    assert among.p_value == pytest.approx(5 * alone.p_value) and among.gain.value == alone.gain.value
    apart = right[0].astype(float) - right[1]
    assert among.gain.low == pytest.approx(apart.mean() - 2.576 * apart.std() / 20, abs=0.01)
    assert alone.real and not among.real
    assert (alone.to_json()["together"], among.to_json()["together"]) == (1, 5)


def test_a_figure_that_is_no_mean_is_counted_anew():
    right = np.random.default_rng(0).random((2, 60)) < np.array([[0.9], [0.4]])

    def squared(own):
        return lambda places: float(np.mean(own[list(places)]) ** 2)

    found = difference("squared", 60, *(squared(own) for own in right))
    shares = right.mean(axis=1)
    assert found.gain.value == pytest.approx(shares[0] ** 2 - shares[1] ** 2, abs=1e-6)
    assert found.gain.low < found.gain.value < found.gain.high
    assert found.p_value is None and found.real


def test_the_same_answers_do_not_differ():
    own = mean_of([1.0, 0.0, 1.0])
    found = difference("accuracy", 3, own, own)
    assert not found.real and found.p_value == 1 and "no sure difference" in str(found)


def test_too_few_rows_are_no_evidence():
    assert not difference("accuracy", 3, mean_of([1.0] * 3), mean_of([0.0] * 3)).real
    few = difference("accuracy", 40, mean_of([1.0] * 40), mean_of([0.0] * 3 + [1.0] * 37))
    assert few.gain.value > 0 and few.p_value == 0.25 and not few.real


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="no rows"):
        difference("accuracy", 0, mean_of([]), mean_of([]))
