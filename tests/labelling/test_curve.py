"""The curve: Wilson's interval by hand, the law of a known curve, and honest silence where there is too little."""

import numpy as np
import pytest

from pocketlm.labelling.curve import Curve, learning_curve, power_law, share_of, sizes_up_to


def test_wilson_by_hand():
    one = share_of(8, 10)
    assert (one.value, one.low, one.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert share_of(10, 10).high == 1.0 and share_of(10, 10).low == pytest.approx(0.7225, abs=1e-4)


def test_sizes_grow_to_the_last():
    assert sizes_up_to(3) == ()
    assert sizes_up_to(100)[-1] == 100 and len(sizes_up_to(100)) <= 10
    assert all(later > earlier for earlier, later in zip(sizes_up_to(99), sizes_up_to(99)[1:], strict=False))


def test_a_power_law_is_found_again():
    sizes = [10, 20, 40, 80, 160]
    errors = np.array([[2 * size**-0.5 for size in sizes], [0.3] * 5])
    before, after = power_law(sizes, errors, (160, 210))
    assert before == pytest.approx([2 * 160**-0.5, 0.3], abs=0.01)
    assert after == pytest.approx([2 * 210**-0.5, 0.3], abs=0.01)


def curve(errors, held=200):
    right = np.zeros((len(errors), held))
    for row, error in zip(right, errors, strict=True):
        row[: round(held * (1 - error))] = 1
    return Curve((10, 20, 40, 80, 160), right)


def test_what_more_rows_bring_and_when_they_stop():
    steep, level = curve([2 * size**-0.5 for size in (10, 20, 40, 80, 160)]), curve([0.1] * 5)
    assert steep.gain.low > 0.005 and not steep.flat
    assert steep.gain.low <= steep.gain.value <= steep.gain.high
    assert level.gain.value == pytest.approx(0, abs=1e-3) and level.flat
    few = curve([0.1] * 5, held=19)
    assert few.gain is None and not few.flat
    assert not curve([0.0] * 5, held=30).flat  # thirty rows are too few to stop on
    assert level.to_json()["flat"] is True and level.to_json()["held_out"] == 200


def test_a_label_that_no_row_teaches_is_a_mistake():
    rows = np.eye(6, dtype=np.float32)
    found = learning_curve(rows[:4], [0, 1, 0, 1], rows[:3], [0, 1, -1])
    assert found.right[-1].tolist() == [1, 1, 0]
    assert learning_curve(rows[:4], [0, 1, 0, 1], rows[:0], []) is None
    assert learning_curve(rows[:0], [], rows[:2], [0, 1]) is None
