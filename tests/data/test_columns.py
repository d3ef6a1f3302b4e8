"""Columns are found, said, and refused with names."""

import pytest

from pocketlm.data.columns import detect
from pocketlm.data.examples import examples
from pocketlm.data.splits import check_labels
from pocketlm.errors import DataError
from pocketlm.outputs import Example

ROWS = [
    {"id": str(n), "headline": f"head {n}", "body": f"some longer text number {n}", "topic": "ab"[n % 2]}
    for n in range(40)
]


def test_text_and_label_are_found_and_said():
    columns = detect(ROWS)
    assert (columns.text, columns.label, columns.task) == (("headline",), "topic", "classification")
    assert "text from 'headline'" in columns.chosen


def test_columns_are_joined():
    columns = detect(ROWS, text="headline,body", label="topic")
    assert examples(ROWS[:1], columns, "x") == [Example("head 0 some longer text number 0", ("a",))]


@pytest.mark.parametrize("names", [{"text": "headlin"}, {"label": "headlin"}, {"slots": "headlin"}])
def test_a_wrong_name_suggests_the_nearest(names):
    with pytest.raises(DataError, match=r"no column 'headlin'.*Did you mean 'headline'"):
        detect(ROWS, **names)


def test_understanding_is_found():
    rows = [{"tokens": ["go", "home"], "slots": ["O", "B-place"], "intent": "go"}] * 3
    columns = detect(rows)
    assert columns.task == "understanding"
    assert examples(rows[:1], columns, "x")[0].tags == ("O", "B-place")


def test_lists_of_labels_are_multi_label():
    columns = detect([{"text": "a", "labels": ["x", "y"]}, {"text": "b", "labels": []}])
    assert columns.task == "multi-label"
    assert examples([{"text": "b", "labels": []}], columns, "x")[0].labels == ()


def test_cells_of_labels_are_split_when_asked():
    rows = [{"text": "a", "label": "x|y"}, {"text": "b", "label": "y"}]
    assert [one.labels for one in examples(rows, detect(rows, multi_label=True), "x")] == [("x", "y"), ("y",)]
    assert [one.labels for one in examples(rows, detect(rows), "x")] == [("x|y",), ("y",)]


@pytest.mark.parametrize("wrong", [None, "", "  ", "nan", float("nan")])
def test_missing_labels_are_counted(wrong):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": wrong}, {"text": "c", "label": "y"}]
    with pytest.raises(DataError, match=r"f.csv: 1 row without a label in column 'label' .*: row 2"):
        examples(rows, detect(rows, label="label", text="text"), "f.csv")


def test_empty_text_is_refused():
    rows = [{"text": "a", "label": "x"}, {"text": " ", "label": "y"}]
    with pytest.raises(DataError, match="1 row without text: row 2"):
        examples(rows, detect(rows), "f")


def test_tags_must_fit_and_be_bio():
    rows = [{"tokens": ["a", "b"], "slots": ["O", "B-x"], "intent": "i"}] * 60
    columns = detect(rows)
    with pytest.raises(DataError, match="row 1: 1 tokens but 2 tags"):
        examples([{"tokens": ["a"], "slots": ["O", "O"], "intent": "i"}], columns, "f")
    with pytest.raises(DataError, match="'X' is not a BIO tag"):
        examples([{"tokens": ["a"], "slots": ["X"], "intent": "i"}], columns, "f")


def test_unseen_labels_are_named():
    with pytest.raises(DataError, match="test.csv: has 1 label that no training row has: 'z'"):
        check_labels([Example("a", ("x",))], [Example("b", ("z",))], "test.csv")


def test_several_columns_and_the_reasons_are_said():
    assert detect(ROWS, text="headline,body").chosen == (
        "text from 'headline' + 'body' joined by a space (as asked), labels from 'topic' (by its name)"
    )
    rows = [{"a": "some longer words", "b": "xy"[n % 2]} for n in range(20)]
    assert detect(rows).chosen == "text from 'a' (the longest), labels from 'b' (fewest values)"


@pytest.mark.parametrize("names", [{}, {"text": "text"}])
def test_an_index_is_no_text(names):
    rows = [{"text": str(n), "label": "xy"[n % 2]} for n in range(20)]
    with pytest.raises(DataError, match="'text' is a different number in every row, such as 0"):
        detect(rows, **names)


def test_a_file_without_the_columns_is_told_so():
    columns = detect([{"text": "a", "label": "x"}])
    with pytest.raises(DataError, match="test.csv: has no column 'label'; it has text, lable. Did you mean 'lable'"):
        examples([{"text": "a", "lable": "x"}], columns, "test.csv")


@pytest.mark.parametrize("wrong", [["x", None], [float("nan")], None, float("nan")])
def test_null_is_no_label_where_there_may_be_several(wrong):
    columns = detect([{"text": "a", "labels": ["x"]}])
    with pytest.raises(DataError, match="1 row without a label in column 'labels'"):
        examples([{"text": "a", "labels": wrong}], columns, "f")


def test_rows_with_missing_columns_are_counted_not_fatal():
    rows = [{"tokens": ["a"], "slots": ["O"], "intent": "x"}] * 60
    with pytest.raises(DataError, match="1 row without text: row 61"):
        examples([*rows, {"intent": "x"}], detect(rows), "f")
    assert detect([{"text": "a"}, {"text": "b", "label": "x"}], label="label").label == "label"


def test_zero_is_a_text_and_null_is_not():
    columns = detect([{"text": "a", "label": "x"}])
    assert examples([{"text": 0, "label": "x"}], columns, "f")[0].text == "0"
    with pytest.raises(DataError, match="without text"):
        examples([{"text": float("nan"), "label": "x"}], columns, "f")
