"""Intervals and McNemar's test against known values."""

import numpy as np
import pytest
from scipy.stats import binomtest
from significance import interval, mcnemar


def rights(both, won, lost, neither):
    parts = [(True, True)] * both + [(True, False)] * won + [(False, True)] * lost + [(False, False)] * neither
    return tuple(np.array(column) for column in zip(*parts, strict=True))


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 5), (3, 14), (40, 22)])
def test_mcnemar_is_the_binomial_test_of_the_rows_that_differ(won, lost):
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(*rights(50, won, lost, 7)) == pytest.approx(expected)


def test_mcnemar_does_not_ask_who_is_first():
    first, second = rights(10, 3, 9, 2)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_the_interval_holds_the_share_and_narrows_with_rows():
    few, many = np.arange(50) % 5 > 0, np.arange(5000) % 5 > 0
    (low, high), (near, far) = interval(few), interval(many)
    assert low < 0.8 < high and near < 0.8 < far
    assert far - near < (high - low) / 5
    assert interval(np.ones(20, bool)) == (1.0, 1.0)
