"""Lessons joined: what is said of a text stays with it."""

import numpy as np

from pocketlm.outputs import Example, Output
from pocketlm.train.lesson import Taught, join, lesson

OUTPUTS = (Output("label", "single", ("a", "b")),)


def made(*labels, hidden=True):
    examples = [Example(f"text {label}", (label,)) for label in labels]
    states = [np.full((2, 3), place, np.float16) for place in range(len(labels))] if hidden else ()
    said = [np.array([place, -place], np.float32) for place in range(len(labels))]
    return lesson(examples, OUTPUTS).with_teacher(Taught({"label": said}, states))


def test_joined_lessons_keep_texts_labels_and_teacher_in_step():
    whole = join(made("a", "b"), made("b", "a", "b"))
    assert whole.texts == ("text a", "text b", "text b", "text a", "text b")
    assert list(whole.labels["label"]) == [0, 1, 1, 0, 1]
    assert [row[0] for row in whole.taught.logits["label"]] == [0, 1, 0, 1, 2]
    assert [states[0, 0] for states in whole.taught.hidden] == [0, 1, 0, 1, 2]


def test_texts_are_taken_with_all_that_is_known_of_them():
    part = made("a", "b", "a").at([2, 1, 2])
    assert part.texts == ("text a", "text b", "text a") and list(part.labels["label"]) == [0, 1, 0]
    assert [row[0] for row in part.taught.logits["label"]] == [2, 1, 2]
    assert [states[0, 0] for states in part.taught.hidden] == [2, 1, 2]


def test_hidden_states_stay_only_where_both_have_them():
    assert join(made("a"), made("b", hidden=False)).taught.hidden == ()


def test_without_a_teacher_there_is_none():
    assert join(lesson([Example("x", ("a",))], OUTPUTS), lesson([Example("y", ("b",))], OUTPUTS)).taught is None
