"""Temperatures, calibration errors and cuts: what is known of them by hand."""

import numpy as np
import pytest

from pocketlm.tasks.confidence import (
    FEWEST_ROWS,
    area_under_risk,
    calibration_error,
    choose_cut,
    fit_temperature,
    risk_coverage,
    shares,
)


def drawn(temperature, rows=4000, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 4)) * 3
    gold = np.array([random.choice(4, p=own) for own in shares(logits, temperature)])
    return logits, gold


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    logits, gold = drawn(temperature)
    assert fit_temperature(logits, gold) == pytest.approx(temperature, rel=0.08)


def test_logits_twice_as_large_have_twice_the_temperature():
    logits, gold = drawn(1.0)
    assert fit_temperature(2 * logits, gold) == pytest.approx(2 * fit_temperature(logits, gold), rel=0.02)


def test_a_fitted_temperature_lowers_the_calibration_error():
    logits, gold = drawn(3.0)
    right = (logits.argmax(1) == gold).astype(float)
    one = np.ones((1, len(gold)))
    before, after = (
        calibration_error(shares(logits, each).max(1), right, one)[0] for each in (1.0, fit_temperature(logits, gold))
    )
    assert after < 0.03 < 0.2 < before


def test_few_rows_say_nothing_and_rows_without_a_known_label_do_not_count():
    logits, gold = drawn(3.0, FEWEST_ROWS - 1)
    assert fit_temperature(logits, gold) == 1.0
    assert fit_temperature(np.concatenate([logits] * 2), np.concatenate([gold, np.full(len(gold), -1)])) == 1.0


def test_where_every_row_is_right_the_temperature_does_not_go_to_nothing():
    logits = np.tile([2.0, 0.0, 0.0], (30, 1))
    found = fit_temperature(logits, np.zeros(30, int))
    assert 0.1 < found < 1


def test_calibration_error_by_hand():
    scores, right = np.array([0.9, 0.9, 0.3, 0.3]), np.array([1.0, 0.0, 0.0, 0.0])
    weights = np.array([[1.0, 1, 1, 1], [1, 0, 0, 0]])
    # |1 - 1.8| and |0 - 0.6| over four rows; one row right at 0.9
    assert calibration_error(scores, right, weights) == pytest.approx([(0.8 + 0.6) / 4, 0.1])


def test_risk_falls_and_coverage_grows_as_by_hand():
    scores, right = np.array([0.5, 0.9, 0.7, 0.7]), np.array([0.0, 1.0, 1.0, 0.0])
    coverage, risk = risk_coverage(scores, right, np.ones((1, 4)))
    # the two equally sure answers are given together
    assert coverage[0] == pytest.approx([1 / 4, 3 / 4, 3 / 4, 1])
    assert risk[0] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 2])
    assert area_under_risk(scores, right, np.ones((1, 4)))[0] == pytest.approx((0 + 2 / 3 + 1 / 2) / 4)


def test_sure_and_right_is_worth_more_than_sure_and_wrong():
    right, one = np.array([1.0] * 8 + [0.0] * 2), np.ones((1, 10))
    scores = np.linspace(0.9, 0.2, 10)
    assert area_under_risk(scores, right, one)[0] < area_under_risk(scores[::-1], right, one)[0]


def test_the_cut_answers_as_many_as_the_error_allows():
    scores = np.arange(1, 101) / 100
    right = (scores > 0.4).astype(float)
    cut = choose_cut(scores, right, 0.05)
    given = scores >= cut.below
    assert cut.coverage == given.mean() > 0.6
    assert (1 - right[given]).sum() + 1 <= 0.05 * (given.sum() + 1)
    stricter = choose_cut(scores, right, 0.02)
    assert stricter.below > cut.below and stricter.coverage < cut.coverage


def test_a_cut_lies_between_scores_and_answers_all_where_all_may_be():
    assert choose_cut(np.full(50, 0.8), np.ones(50), 0.05).below == 0.0
    right = np.array([0.0] * 10 + [1.0] * 50)
    cut = choose_cut(np.array([0.4] * 10 + [0.8] * 50), right, 0.05)
    assert cut.below == pytest.approx(0.6)


def test_an_error_that_so_few_rows_cannot_show_is_not_claimed():
    cut = choose_cut(np.linspace(0.5, 0.9, 9), np.ones(9), 0.05)
    assert cut.error == pytest.approx(0.1)
    assert cut.coverage == 1


def test_rows_that_are_not_answered_anyhow_are_neither_wrong_nor_answered():
    scores, right = np.array([0.9] * 40 + [0.5] * 40), np.array([1.0] * 40 + [0.0] * 40)
    able = np.array([True] * 40 + [False] * 40)
    cut = choose_cut(scores, right, 0.05, able)
    assert (cut.below, cut.coverage) == (0.0, 0.5)
    assert choose_cut(scores, right, 0.05, np.zeros(80, bool)).coverage == 0
