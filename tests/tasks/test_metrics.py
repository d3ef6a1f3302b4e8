"""Metrics equal scikit-learn's and seqeval's, on labels the model never learnt and ill-formed tags too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics import precision_score as seqeval_precision
from seqeval.metrics import recall_score as seqeval_recall
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.tasks.classification import CLASSIFICATION, MULTI_LABEL
from pocketlm.tasks.metrics import spans
from pocketlm.tasks.table import TASKS
from pocketlm.tasks.understanding import UNDERSTANDING

LABELS = ("a", "b", "c", "d")
UNLEARNT = ("e", "f")
LABEL = Output("label", "single", LABELS)
TAGS = ("O", "B-x", "I-x", "B-y-z", "I-y-z")
INTENT_AND_SLOTS = (Output("intent", "single", LABELS), Output("slots", "tags", TAGS))

gold_labels = st.sampled_from(LABELS + UNLEARNT)
pairs = st.lists(st.tuples(gold_labels, st.sampled_from(LABELS)), min_size=1, max_size=40)
sets = st.lists(
    st.tuples(st.sets(gold_labels), st.sets(st.sampled_from(LABELS))), min_size=1, max_size=20
)  # gold may hold labels the model never learnt
tag_rows = st.lists(
    st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=8), min_size=1, max_size=10
)


def averages(gold, said, kind, **options):
    precision, recall, f1, _ = precision_recall_fscore_support(gold, said, average=kind, zero_division=0, **options)
    return {
        f"{name}_{kind}": pytest.approx(value)
        for name, value in (("precision", precision), ("recall", recall), ("f1", f1))
    }


@given(pairs)
@settings(max_examples=80, deadline=None)
def test_classification_equals_scikit_learn(rows):
    gold, said = map(list, zip(*rows, strict=True))
    examples, predictions = [Example("", (one,)) for one in gold], [{"label": one} for one in said]
    assert CLASSIFICATION.figures(examples, predictions, (LABEL,)) == {
        "accuracy": pytest.approx(accuracy_score(gold, said)),
        **averages(gold, said, "macro"),
        "f1_micro": pytest.approx(f1_score(gold, said, average="micro")),
        "f1_weighted": averages(gold, said, "weighted")["f1_weighted"],
    }
    scores = CLASSIFICATION.score(examples, predictions, (LABEL,))
    labels = scores.confusion["labels"]
    assert labels == [*LABELS, *sorted(set(gold) - set(LABELS))]
    assert scores.confusion["counts"] == confusion_matrix(gold, said, labels=labels).tolist()
    per_class = precision_recall_fscore_support(gold, said, labels=labels, zero_division=0)
    for place, row in enumerate(scores.per_class):
        found = [row[name] for name in ("precision", "recall", "f1", "support")]
        assert row["label"] == labels[place]
        assert found == pytest.approx([column[place] for column in per_class], abs=1e-6)


@given(sets)
@settings(max_examples=80, deadline=None)
def test_multi_label_equals_scikit_learn(rows):
    every = LABELS + UNLEARNT
    gold, said = (np.array([[one in own for one in every] for own in side]) for side in zip(*rows, strict=True))
    occurs = np.flatnonzero(gold.any(0) | said.any(0)).tolist()
    figures = MULTI_LABEL.figures(
        [Example("", tuple(sorted(own))) for own, _ in rows],
        [{"labels": sorted(theirs)} for _, theirs in rows],
        (Output("label", "multi", LABELS),),
    )
    none = dict.fromkeys(("precision_macro", "recall_macro", "f1_macro"), 0)
    assert figures == {
        "exact_match": pytest.approx(accuracy_score(gold, said)),
        **averages(gold, said, "micro"),
        **(averages(gold, said, "macro", labels=occurs) if occurs else none),
        "f1_weighted": averages(gold, said, "weighted")["f1_weighted"],
    }


@given(tag_rows, pairs)
@settings(max_examples=80, deadline=None)
def test_understanding_equals_seqeval_on_ill_formed_tags_too(rows, intents):
    gold = [[own for own, _ in row] for row in rows]
    said = [[theirs for _, theirs in row] for row in rows]
    for tags in (*gold, *said):
        assert spans(tags) == set(get_entities(tags))
    meant, heard = map(list, zip(*(intents * len(rows))[: len(rows)], strict=True))
    examples = [Example("", (one,), tuple("w" * len(row)), tuple(row)) for one, row in zip(meant, gold, strict=True)]
    predictions = [{"intent": one, "slots": row} for one, row in zip(heard, said, strict=True)]
    right = [a == b and c == d for a, b, c, d in zip(meant, heard, gold, said, strict=True)]
    assert UNDERSTANDING.figures(examples, predictions, INTENT_AND_SLOTS) == {
        "frame_accuracy": pytest.approx(np.mean(right)),
        "intent_accuracy": pytest.approx(accuracy_score(meant, heard)),
        "intent_f1_macro": pytest.approx(f1_score(meant, heard, average="macro", zero_division=0)),
        "slot_precision": pytest.approx(seqeval_precision(gold, said, zero_division=0)),
        "slot_recall": pytest.approx(seqeval_recall(gold, said, zero_division=0)),
        "slot_f1": pytest.approx(seqeval_f1(gold, said, zero_division=0)),
    }


def test_each_slot_equals_seqeval():
    random = np.random.default_rng(0)
    gold, said = ([[TAGS[tag] for tag in random.integers(0, 5, 9)] for _ in range(50)] for _ in range(2))
    scores = UNDERSTANDING.score(
        [Example("", ("a",), tuple("w" * 9), tuple(row)) for row in gold],
        [{"intent": "a", "slots": row} for row in said],
        INTENT_AND_SLOTS,
    )
    report = classification_report(gold, said, output_dict=True, zero_division=0)
    assert [row["label"] for row in scores.per_slot] == ["x", "y-z"]
    for row in scores.per_slot:
        expected = report[row["label"]]
        found = (row["precision"], row["recall"], row["f1"], row["support"])
        assert found == pytest.approx([expected[k] for k in ("precision", "recall", "f1-score", "support")], abs=1e-6)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", set()),
        ("B-x I-x O", {("x", 0, 1)}),
        ("B-x B-x", {("x", 0, 0), ("x", 1, 1)}),
        ("I-x I-x", {("x", 0, 1)}),  # ill-formed: begins with I-
        ("B-x I-y I-y", {("x", 0, 0), ("y", 1, 2)}),
        ("O I-x B-x I-x", {("x", 1, 1), ("x", 2, 3)}),
        ("B-a-b I-a-b", {("a-b", 0, 1)}),
        ("", set()),
    ],
)
def test_spans_by_hand(tags, found):
    assert spans(tags.split()) == found


def test_a_frame_is_right_only_as_a_whole():
    gold = Example("", ("a",), ("w", "w"), ("B-x", "I-x"))
    said = [
        {"intent": "a", "slots": ["B-x", "I-x"]},
        {"intent": "b", "slots": ["B-x", "I-x"]},
        {"intent": "a", "slots": ["B-x", "O"]},
        {"intent": "a", "slots": ["B-x"]},  # a long text may be cut
    ]
    figures = UNDERSTANDING.figures([gold] * 4, said, INTENT_AND_SLOTS)
    assert (figures["frame_accuracy"], figures["intent_accuracy"], figures["slot_f1"]) == (0.25, 0.75, 0.5)


def test_frames_with_the_same_spans_are_told_apart_by_their_tags():
    """An ill-formed I- reads as the same span: the slots are right, the tags are not."""
    gold = Example("", ("a",), ("w",), ("B-x",))
    said = [{"intent": "a", "slots": [tag]} for tag in ("B-x", "I-x", "I-x", "I-x")]
    metrics = UNDERSTANDING.score([gold] * 4, said, INTENT_AND_SLOTS).metrics
    assert (metrics["slot_f1"].value, metrics["frame_accuracy"].value) == (1, 0.25)
    assert metrics["frame_accuracy"].low < 0.25 < metrics["frame_accuracy"].high


def test_a_label_never_learnt_is_a_miss_and_has_its_own_row():
    scores = CLASSIFICATION.score([Example("", ("a",)), Example("", ("zoo",))], [{"label": "a"}] * 2, (LABEL,))
    assert scores.metrics["accuracy"].value == 0.5
    assert scores.metrics["f1_macro"].value == pytest.approx(1 / 3, abs=1e-6)
    assert scores.per_class[-1] == {"label": "zoo", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    many = MULTI_LABEL.figures([Example("", ("zoo",))], [{"labels": []}], (Output("label", "multi", LABELS),))
    assert (many["exact_match"], many["recall_micro"]) == (0, 0)


TAGGED = Output("tags", "tags", TAGS)
WORDS = Output("tags", "tags", ("NOUN", "VERB"))

CASES = {
    "classification": ((LABEL,), Example("t", ("a",)), {"label": "a", "score": 0.9}),
    "multi-label": ((Output("label", "multi", LABELS),), Example("t", ("a", "b")), {"labels": ["a"], "scores": {}}),
    "understanding": (
        INTENT_AND_SLOTS,
        Example("t", ("a",), ("t",), ("B-x",)),
        {"intent": "a", "slots": ["B-x"], "tokens": ["t"], "entities": []},
    ),
    "tagging": ((TAGGED,), Example("t", (), ("t",), ("B-x",)), {"tags": ["I-x"], "tokens": ["t"], "entities": []}),
    "word-tagging": ((WORDS,), Example("t", (), ("t",), ("NOUN",)), {"tags": ["VERB"], "tokens": ["t"], "words": []}),
    "question-answering": (
        (Output("answer", "span", ("start", "end")),),
        Example("who", pair="a b", answers=((0, 1), (0, 3))),
        {"answer": "b", "start": 2, "end": 3, "score": 0.5, "margin": 1.0},
    ),
}
# Figures that there are only where questions with and without answers are mixed.
SOMETIMES = {"has_answer_exact_match", "has_answer_f1", "no_answer_accuracy"}


# Tasks whose answers are no labels have tests of their own beside.
OTHERS = {"generation", "translation", "similarity", "retrieval"}


def test_every_task_has_a_name_and_a_main_metric():
    assert set(TASKS) == set(CASES) | OTHERS
    for name in TASKS:
        assert TASKS[name].name == name
        assert TASKS[name].main_metric in TASKS[name].higher_is_better


@pytest.mark.parametrize("name", CASES)
def test_every_task_of_labels_measures_what_it_names(name):
    task, (outputs, example, said) = TASKS[name], CASES[name]
    figures = task.figures([example], [said], outputs)
    scores = task.score([example], [said], outputs)
    assert set(figures) == set(task.higher_is_better) - SOMETIMES == set(scores.metrics)
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in figures.values())
    for metric, figure in scores.metrics.items():
        assert figure.value == pytest.approx(figures[metric], abs=1e-6)
        assert figure.low <= figure.value <= figure.high


@pytest.mark.parametrize("name", CASES)
def test_nothing_to_judge_is_said(name):
    task, (outputs, example, said) = TASKS[name], CASES[name]
    with pytest.raises(DataError, match="no rows to judge"):
        task.figures([], [], outputs)
    with pytest.raises(AssertionError, match="1 predictions for 2 examples"):
        task.figures([example] * 2, [said], outputs)
    if name not in ("multi-label", "question-answering"):  # none is an answer there
        with pytest.raises(DataError, match="row 2 has no (label|tags) to judge by"):
            task.figures([example, Example("t")], [said] * 2, outputs)


def test_outputs_of_training_rows():
    rows = [Example("", ("b",), ("w", "w"), ("B-x", "I-x")), Example("", ("a",), ("w",), ("B-a",))]
    assert CLASSIFICATION.outputs(rows) == (Output("label", "single", ("a", "b")),)
    assert MULTI_LABEL.outputs([Example("", ("b", "a")), Example("")]) == (Output("label", "multi", ("a", "b")),)
    tags = ("O", "B-a", "I-a", "B-x", "I-x")
    assert UNDERSTANDING.outputs(rows) == (Output("intent", "single", ("a", "b")), Output("slots", "tags", tags))


def test_one_class_is_refused():
    with pytest.raises(DataError, match=r"one class only \(a\)"):
        CLASSIFICATION.outputs([Example("x", ("a",))] * 3)
    with pytest.raises(DataError, match=r"one intent only \(a\)"):
        UNDERSTANDING.outputs([Example("x", ("a",), ("x",), ("O",))])
    with pytest.raises(DataError, match="no label at all"):
        MULTI_LABEL.outputs([Example("x")])
