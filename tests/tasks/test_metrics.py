"""Metrics equal scikit-learn's and seqeval's; intervals hold the value and shrink with rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics import precision_score as seqeval_precision
from seqeval.metrics import recall_score as seqeval_recall
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.classification import CLASSIFICATION, MULTI_LABEL
from pocketlm.tasks.metrics import spans
from pocketlm.tasks.understanding import UNDERSTANDING

LABELS = ("a", "b", "c", "d")
TAGS = ("O", "B-x", "I-x", "B-y", "I-y")
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=2, max_size=40)


@given(pairs)
@settings(max_examples=40, deadline=None)
def test_classification_equals_scikit_learn(rows):
    gold, said = zip(*rows, strict=True)
    figures = CLASSIFICATION.figures(
        [Example("", (label,)) for label in gold],
        [{"label": label} for label in said],
        (Output("label", "single", LABELS),),
    )
    precision, recall, f1, _ = precision_recall_fscore_support(gold, said, average="macro", zero_division=0)
    assert figures["accuracy"] == pytest.approx(accuracy_score(gold, said))
    assert figures["precision_macro"] == pytest.approx(precision)
    assert figures["recall_macro"] == pytest.approx(recall)
    assert figures["f1_macro"] == pytest.approx(f1)
    assert figures["f1_weighted"] == pytest.approx(f1_score(gold, said, average="weighted", zero_division=0))


@given(st.lists(st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS))), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_multi_label_equals_scikit_learn(rows):
    table = [np.array([[label in own for label in LABELS] for own in side]) for side in zip(*rows, strict=True)]
    figures = MULTI_LABEL.figures(
        [Example("", tuple(own)) for own, _ in rows],
        [{"labels": list(said)} for _, said in rows],
        (Output("label", "multi", LABELS),),
    )
    assert figures["f1_micro"] == pytest.approx(f1_score(*table, average="micro", zero_division=0))
    assert figures["exact_match"] == pytest.approx(accuracy_score(*table))


tag_rows = st.lists(
    st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=8), min_size=1, max_size=10
)


@given(tag_rows)
@settings(max_examples=80, deadline=None)
def test_slots_equal_seqeval_on_ill_formed_tags_too(rows):
    gold = [[own for own, _ in row] for row in rows]
    said = [[theirs for _, theirs in row] for row in rows]
    for tags in (*gold, *said):
        assert spans(tags) == set(get_entities(tags))
    figures = UNDERSTANDING.figures(
        [Example("", ("a",), tuple("w" * len(row)), tuple(row)) for row in gold],
        [{"intent": "a", "slots": row} for row in said],
        (Output("intent", "single", ("a", "b")), Output("slots", "tags", TAGS)),
    )
    assert figures["slot_f1"] == pytest.approx(seqeval_f1(gold, said, zero_division=0))
    assert figures["slot_precision"] == pytest.approx(seqeval_precision(gold, said, zero_division=0))
    assert figures["slot_recall"] == pytest.approx(seqeval_recall(gold, said, zero_division=0))
    assert figures["frame_accuracy"] == np.mean([own == theirs for own, theirs in zip(gold, said, strict=True)])


def scores(rows, right, seed=0):
    said = [{"label": "a" if place < right else "b"} for place in range(rows)]
    return CLASSIFICATION.score([Example("", ("a",))] * rows, said, (Output("label", "single", LABELS),), seed)


def test_intervals_hold_the_value_and_shrink_with_rows():
    small, large = (scores(n, n * 9 // 10).metrics["accuracy"] for n in (50, 5000))
    for figure in (small, large):
        assert figure.low < figure.value == 0.9 < figure.high
    # the normal approximation's width: 2 * 1.96 * sqrt(.9 * .1 / n)
    assert large.high - large.low == pytest.approx(2 * 1.96 * (0.09 / 5000) ** 0.5, rel=0.15)
    assert small.high - small.low > 5 * (large.high - large.low)
    assert scores(50, 45).metrics == scores(50, 45).metrics


def test_confusion_and_classes():
    found = scores(10, 7)
    np.testing.assert_array_equal(
        np.array(found.confusion["counts"])[:2, :2], confusion_matrix(["a"] * 10, ["a"] * 7 + ["b"] * 3)
    )
    assert found.per_class[0] == {
        "label": "a",
        "precision": 1.0,
        "recall": 0.7,
        "f1": pytest.approx(14 / 17, abs=1e-5),
        "support": 10,
    }


def test_one_class_is_refused():
    with pytest.raises(DataError, match="one class only"):
        CLASSIFICATION.outputs([Example("x", ("a",))] * 3)
    with pytest.raises(DataError, match="one intent only"):
        UNDERSTANDING.outputs([Example("x", ("a",), ("x",), ("O",))])
