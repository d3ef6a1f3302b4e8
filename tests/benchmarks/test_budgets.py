"""Budgets that are done are not run again, and a second measurement holds floors against what it finds."""

import budgets
import pytest

from pocketlm.floors import Floor
from pocketlm.outputs import Example, Output


def test_only_budgets_of_the_list_that_are_not_done_are_open():
    first, second = budgets.BUDGETS[0], budgets.BUDGETS[1]
    done = [{"data": second[0], "limits": second[1]}, {"data": "smart-home:eu", "limits": "--max-size 7MB"}]
    left = budgets.still_open(done)
    assert first in left and second not in left and len(left) == len(budgets.BUDGETS) - 1
    assert (done[1]["data"], done[1]["limits"]) not in budgets.asked_for()
    assert len(budgets.asked_for()) == len(budgets.BUDGETS) == 20


def test_news_are_files_and_others_are_named(tmp_path):
    assert budgets.rows_of("smart-home:eu", tmp_path) == (["smart-home:eu"], [], "smart-home:eu")
    given, columns, test = budgets.rows_of(budgets.NEWS, tmp_path)
    assert given[0].endswith("train.tsv") and given[-1] == test and columns[1::2] == ["headline,text", "category"]


@pytest.mark.parametrize(("floor", "holds"), [("recall[a]>=0.5", True), ("recall[a]>=0.6", False),
                                              ("calibration_error<=0.2", True), ("calibration_error<=0.01", False),
                                              ("accuracy@words<=1>=0.9", True)])  # fmt: skip
def test_floors_are_held_against_the_rows(floor, holds, monkeypatch):
    class Model:
        task = "classification"
        outputs = (Output("label", "single", ("a", "b")),)

    examples = [Example("one two", ("a",)), Example("one", ("a",)), Example("two", ("b",)), Example("three", ("b",))]
    said = [{"label": label, "score": 0.9} for label in ("b", "a", "b", "b")]
    monkeypatch.setattr(budgets, "answered", lambda model, examples, seed: (None, said))
    assert budgets.holds(Model(), examples, Floor.parse(floor)) is holds
