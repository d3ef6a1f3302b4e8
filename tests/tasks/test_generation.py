import math

import pytest

from pocketlm.errors import DataError
from pocketlm.outputs import Example
from pocketlm.tasks.generation import compare
from pocketlm.tasks.prepare import read_labelled
from pocketlm.tasks.table import TASKS

TASK = TASKS["generation"]


def windows(*counts):
    return {"windows": [dict(zip(("nats", "tokens", "bytes"), one, strict=True)) for one in counts]}


def test_figures_of_a_hand_made_case():
    said = [windows((4.0, 2, 8), (6.0, 3, 12)), windows((10.0, 5, 20))]
    found = TASK.figures([Example("a"), Example("b")], said, ())
    assert found["perplexity"] == pytest.approx(math.exp(20 / 10))
    assert found["bits_per_byte"] == pytest.approx(20 / math.log(2) / 40)
    assert not any(TASK.higher_is_better.values()) and set(found) == set(TASK.higher_is_better)


def test_intervals_are_over_documents_or_the_windows_of_one():
    one = TASK.score([Example("a")], [windows(*[(1.0 + place, 2, 3) for place in range(9)])], ())
    assert one.n == 9
    two = TASK.score([Example("a"), Example("b")], [windows((1.0, 2, 3)), windows((2.0, 2, 3))], ())
    assert two.n == 2
    for scores in (one, two):
        for figure in scores.metrics.values():
            assert figure.low < figure.value < figure.high
    same = TASK.score([Example("a")], [windows((1.0, 2, 3), (1.0, 2, 3))], ()).metrics["perplexity"]
    assert same.low == same.value == same.high == pytest.approx(math.exp(0.5), abs=1e-6)


def test_texts_come_from_a_file_or_from_rows(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", "utf-8")
    assert [one.text for one in read_labelled(str(tmp_path / "a.txt"), "generation", None, None)] == ["one\n\ntwo\n"]
    (tmp_path / "a.jsonl").write_text('{"text": "one", "body": "1"}\n{"text": "two", "body": "2"}\n', "utf-8")
    found = read_labelled(str(tmp_path / "a.jsonl"), "generation", "body", None)
    assert [one.text for one in found] == ["1", "2"]
    with pytest.raises(DataError, match="row 1: has no text in column 'words'; there is text, body"):
        read_labelled(str(tmp_path / "a.jsonl"), "generation", "words", None)
    (tmp_path / "empty.txt").write_text(" \n", "utf-8")
    with pytest.raises(DataError, match="has no text"):
        read_labelled(str(tmp_path / "empty.txt"), "generation", None, None)


def test_systems_are_compared_on_the_same_windows():
    teacher = [windows((float(place), 2, 4)) for place in range(1, 40)]
    student = [windows((place + 0.5, 2, 4)) for place in range(1, 40)]
    found = compare([Example("a")] * 39, {"teacher": teacher, "student": student})["systems"]
    same = found["teacher"]["bits_per_byte"]
    assert same["difference"] == same["low"] == same["high"] == 0
    apart = found["student"]["bits_per_byte"]
    # every window is worse by as much, so that however they are drawn the difference is the same
    assert apart["difference"] == pytest.approx(0.5 / math.log(2) / 4)
    assert apart["low"] == pytest.approx(apart["high"]) == pytest.approx(apart["difference"])
    assert found["student"]["perplexity"]["low"] < found["student"]["perplexity"]["high"]
