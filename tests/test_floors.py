"""Bounds on other figures: how they are written, and which rows they are about."""

import pytest

from pocketlm.budget import Budget, Measurement
from pocketlm.errors import BudgetError
from pocketlm.floors import Floor, Slice


def measured(**extra):
    return Measurement({"accuracy": 0.9}, 10_000, 0.1, 0.2, 40_000_000, extra=extra)


@pytest.mark.parametrize(
    ("text", "floor"),
    [
        ("recall[joy]>=0.8", Floor("recall", 0.8, "joy")),
        ("recall[a <= b]>=80%", Floor("recall", 0.8, "a <= b")),
        ("calibration_error<=0.05", Floor("calibration_error", 0.05, most=True)),
        ("ece<=0.05", Floor("calibration_error", 0.05, most=True)),
        ("fidelity >= 0.9", Floor("fidelity", 0.9)),
        ("accuracy@language=sw>=0.7", Floor("accuracy", 0.7, rows=Slice("language", "=", "sw"))),
        ("accuracy@words<=5>=0.8", Floor("accuracy", 0.8, rows=Slice("words", "<=", "5"))),
        ("recall[joy]@speaker=Ann B.>=0.5", Floor("recall", 0.5, "joy", Slice("speaker", "=", "Ann B."))),
    ],
)
def test_floors_are_read(text, floor):
    assert Floor.parse(text) == floor
    assert Floor.parse(str(floor)) == floor


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("recall", "write METRIC>=VALUE"),
        ("accuracy>=1.5", "a share above 0 and at most 1"),
        ("accuracy>=1.2.3", "a share above 0 and at most 1"),
        ("accuracy<=0.5", "write >="),
        ("calibration_error>=0.5", "write <="),
        ("accuracy[joy]>=0.5", "of a class there is precision, recall, f1"),
        ("accuracy@age<=30>=0.5", "only the number of words can"),
        ("accuracy@age>=0.5", "not of the form COLUMN=VALUE"),
    ],
)
def test_another_form_is_refused(text, says):
    with pytest.raises(BudgetError, match=says):
        Floor.parse(text)


def test_slices_hold_of_some_rows():
    assert Slice.parse("language=sw").holds({"language": " sw "}, "habari")
    assert not Slice.parse("language=sw").holds({}, "habari")
    assert Slice.parse("words<=2").holds({}, "habari gani")
    assert not Slice.parse("words>=3").holds({}, "habari gani")


def test_a_figure_is_held_against_its_floor():
    budget = Budget.parse(floors=("recall[joy]>=0.8", "ece<=0.1"))
    verdict = budget.check(measured(**{"recall[joy]": 0.4, "calibration_error": 0.15}), "accuracy")
    assert [(limit.name, round(limit.over, 6)) for limit in verdict.limits] == [
        ("recall[joy]", 0.5), ("calibration_error", 0.5),
    ]  # fmt: skip
    assert budget.check(measured(**{"recall[joy]": 0.8, "calibration_error": 0.1}), "accuracy").met
    assert budget.to_json()["floors"] == ["recall[joy]>=0.8", "calibration_error<=0.1"]
    assert "floors" not in Budget().to_json()


@pytest.mark.parametrize(
    ("text", "taught", "single", "says"),
    [
        ("fidelity>=0.9", False, True, "no teacher"),
        ("ece<=0.1", True, False, "no single label"),
        ("recall[jyo]>=0.8", True, True, "Did you mean 'joy'"),
        ("recall>=0.8", True, True, "name one in brackets"),
        ("acuracy>=0.8", True, True, "Did you mean 'accuracy'"),
    ],
)
def test_figures_that_there_are_not(text, taught, single, says):
    with pytest.raises(BudgetError, match=says):
        Floor.parse(text).check(["accuracy"], ["joy", "anger"], taught, single)
