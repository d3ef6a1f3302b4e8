"""The sieve: nothing of dev or test, nothing twice, and nothing that a judge reads otherwise."""

from collections import Counter

from pocketlm.augment.apply import NewRow
from pocketlm.augment.sift import HELD_OUT, KNOWN, OTHER, UNSURE, Sieve, verdict
from pocketlm.outputs import Example, Output

LABEL = Output("label", "single", ("a", "b"))
TRAIN = [Example("one two", ("a",)), Example("three four", ("b",))]


def row(text, label="a", method="eda"):
    return NewRow(Example(text, (label,)), method, "made", 0)


def judge(texts):
    """Says "a" of all texts, and is sure of short ones."""
    return [{"label": "a", "score": 0.9 if len(text) < 12 else 0.4} for text in texts]


def test_texts_of_dev_and_test_never_come_back():
    held = [Example("Held  OUT row", ("a",)), Example("hello", target="a translation held out")]
    kept, dropped = Sieve(held)([row("held out row"), row("A translation held out"), row("new")], TRAIN)
    assert [one.example.text for one in kept] == ["new"]
    assert dropped == Counter({HELD_OUT: 2})


def test_known_rows_come_once():
    kept, dropped = Sieve()([row("one  two"), row("new"), row("new"), row("One two"), row("")], TRAIN)
    assert [one.example.text for one in kept] == ["new", "One two"], "case is a change that a model can read"
    assert dropped == Counter({KNOWN: 3})


def test_the_judge_drops_rows_that_it_reads_otherwise_or_is_not_sure_of():
    rows = [row("short"), row("short b", "b"), row("quite a long text"), row("also a long b text", "b")]
    kept, dropped = Sieve((), judge, [LABEL], 0.5)(rows, TRAIN)
    assert [one.example.text for one in kept] == ["short"]
    assert dropped == Counter({OTHER: 2, UNSURE: 1})
    kept, dropped = Sieve((), judge, [LABEL], 0.3)(rows, TRAIN)
    assert [one.example.text for one in kept] == ["short", "quite a long text"]


def test_rows_whose_label_cannot_be_lost_are_not_judged():
    kept, dropped = Sieve((), judge, [LABEL])([row("short b", "b", "noise"), row("short bb", "b")], TRAIN)
    assert [one.method for one in kept] == ["noise"]
    assert dropped == Counter({OTHER: 1})


def test_verdicts_by_kind_of_output():
    multi = Output("label", "multi", ("a", "b"))
    tags = Output("tags", "tags", ("O", "B-x", "I-x"))
    assert verdict(Example("t", ("a", "b")), {"labels": ["b", "a"]}, [multi], 0.5) == ""
    assert verdict(Example("t", ("a",)), {"labels": ["b", "a"]}, [multi], 0.5) == OTHER
    tagged = Example("u v", (), ("u", "v"), ("O", "B-x"))
    assert verdict(tagged, {"tags": ["O", "B-x"]}, [tags], 0.5) == ""
    assert verdict(tagged, {"tags": ["B-x", "B-x"]}, [tags], 0.5) == OTHER
    assert verdict(Example("t", target="u"), {}, [Output("target", "text", ())], 0.5) == ""
