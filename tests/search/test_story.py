"""What a study did: its time line without pauses, each recipe once, and the knobs that decided."""

import datetime
from random import Random

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from pocketlm.search.story import FEWEST, importance, importance_of_kinds, story

BEGAN = datetime.datetime(2026, 1, 1, 12)
SPACES = {"bag/size": IntDistribution(1, 1000), "bag/distill.rate": FloatDistribution(1e-4, 1e-1)}


def trial(number, begin, seconds, quality=None, key=None, family="bag", rate=1e-3, size=100):
    about = {"status": "paused" if quality is None else "measured", "family": family, "key": key or str(number)}
    about["bytes"] = size
    state = TrialState.FAIL if quality is None else TrialState.COMPLETE
    made = create_trial(
        state=state, values=None if quality is None else [quality, 1000.0, 0.1, 4e7], user_attrs=about,
        params={"bag/size": size, "bag/distill.rate": rate}, distributions=SPACES,
    )  # fmt: skip
    made.number = number
    made.datetime_start = BEGAN + datetime.timedelta(seconds=begin)
    made.datetime_complete = made.datetime_start + datetime.timedelta(seconds=seconds)
    return made


def test_time_in_which_nothing_ran_is_left_out():
    told = story([trial(0, 0, 20, 0.9), trial(1, 21, 10), trial(2, 5000, 30, 0.95)], None)["trials"]
    assert [(one["begin"], one["seconds"]) for one in told] == [(0, 20), (21, 10), (31, 30)]
    assert [one["status"] for one in told] == ["measured", "paused", "measured"]
    assert told[0]["knobs"] == {"size": 100, "distill.rate": 1e-3}
    assert told[0]["figures"]["quality"] == 0.9 and "figures" not in told[1]


def test_trials_beside_each_other_overlap():
    told = story([trial(0, 0, 20, 0.9), trial(1, 1, 20, 0.8)], None)["trials"]
    assert [one["begin"] for one in told] == [0, 1]


def test_a_recipe_is_told_once_as_it_was_tried():
    told = story([trial(0, 0, 20, 0.9, key="a"), trial(1, 30, 0, 0.9, key="a"), trial(2, 31, 5, 0.8)], None)["trials"]
    assert [one["number"] for one in told] == [0, 2]


def test_the_knob_that_decides_weighs_most():
    random = Random(0)
    trials = []
    for number in range(60):
        rate, size = 10 ** random.uniform(-4, -1), random.randint(1, 1000)
        trials.append(trial(number, number, 1, 0.5 + rate, rate=rate, size=size))
    found = importance(trials, "bag")
    assert next(iter(found)) == "distill.rate"
    assert found["distill.rate"] > 0.7
    assert sum(found.values()) == pytest.approx(1)
    assert importance(trials, "linear") == {}
    assert importance(trials[: FEWEST - 1], "bag") == {}
    assert story(trials, "bag")["importance"] == found


def test_where_all_are_equally_good_nothing_decided():
    assert importance([trial(number, number, 1, 0.5) for number in range(20)], "bag") == {}


def test_the_kind_of_student_and_its_bytes_are_weighed_among_all():
    random = Random(0)
    trials = []
    for number in range(60):
        family, size = random.choice(("bag", "linear")), random.randint(1, 1000)
        quality = (0.5 if family == "bag" else 0.8) + 0.01 * random.random()
        trials.append(trial(number, number, 1, quality, family=family, size=size))
    found = importance_of_kinds(trials)
    assert next(iter(found)) == "family"
    assert sum(found.values()) == pytest.approx(1)
    assert importance_of_kinds([one for one in trials if one.user_attrs["family"] == "bag"]) == {}
    assert importance_of_kinds(trials[: FEWEST - 1]) == {}
    assert story(trials, None)["decided"] == found


def test_how_far_expected_bytes_were_off():
    told = story([trial(0, 0, 1, 0.9, size=800), trial(1, 2, 1, 0.8, size=1000), trial(2, 4, 1, size=10)], None)
    assert told["bytes_error"] == pytest.approx({"median": 0.125, "worst": 0.25})
    assert story([trial(0, 0, 1)], None)["bytes_error"] is None
