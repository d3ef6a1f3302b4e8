"""Intervals agree with the papers they are of."""

import numpy as np
import pytest

from pocketlm.tasks.intervals import difference, half_width, ranking, share


def test_wilsons_interval_of_a_share():
    found = share(81, 263)
    assert (found.value, found.low, found.high) == pytest.approx((0.3080, 0.2553, 0.3662), abs=1e-4)
    assert share(0, 10).low == 0.0 and share(10, 10).high == 1.0
    assert share(0, 0).high - share(0, 0).low == 1.0


def test_newcombes_interval_of_a_difference():
    """Table II of the paper, contrasts (a), (c) and (f), method 10."""
    for own, other, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ):
        found = difference(own, other)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_area_under_the_curve_counts_pairs():
    random = np.random.default_rng(0)
    own, others = (random.integers(0, 6, size).astype(float) for size in (30, 20))
    pairs = [1.0 if one > other else 0.5 if one == other else 0.0 for one in own for other in others]
    found = ranking(own, others)
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.low < found.value < found.high
    more = ranking(np.tile(own, 4), np.tile(others, 4))
    assert more.high - more.low == pytest.approx((found.high - found.low) / 2, rel=0.1)


def test_how_wide_a_figures_interval_is():
    assert half_width(0.75, 204) == pytest.approx(0.059, abs=0.001)
    assert half_width(0.75, 816) == pytest.approx(half_width(0.75, 204) / 2, rel=0.02)
