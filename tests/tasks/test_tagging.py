"""Figures of tags equal seqeval's for spans, in every scheme and on odd sequences, and scikit-learn's for words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, classification_report
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from pocketlm.errors import DataError
from pocketlm.outputs import Example, Output
from pocketlm.runtime.tags import span_tags
from pocketlm.tasks.tagging import TAGGING, WORD_TAGGING

BIO, IOBES = (Output("tags", "tags", span_tags(("x", "y-z"), scheme)) for scheme in ("BIO", "IOBES"))
POS = Output("tags", "tags", ("ADJ", "NOUN", "VERB"))


def rows_of(tags):
    pair = st.tuples(st.sampled_from(tags), st.sampled_from(tags))
    return st.lists(st.lists(pair, min_size=1, max_size=8), min_size=1, max_size=10)


def both(rows):
    """Gold examples and predictions."""
    gold, said = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    return gold, said, [tagged(*own) for own in gold], [{"tags": theirs} for theirs in said]


def tagged(*tags):
    return Example("", (), ("w",) * len(tags), tags)


@pytest.mark.parametrize("output", [BIO, IOBES], ids=["BIO", "IOBES"])
def test_spans_equal_seqeval(output):
    @given(rows_of(output.labels))
    @settings(max_examples=80, deadline=None)
    def check(rows):
        gold, said, examples, predictions = both(rows)
        figures = TAGGING.figures(examples, predictions, (output,))
        if not any(tag != "O" for row in [*gold, *said] for tag in row):
            assert all(figures[name] == 0 for name in figures if name != "accuracy")
            return
        report = classification_report(gold, said, output_dict=True, zero_division=0)
        for kind in ("micro", "macro"):
            for name in ("precision", "recall", "f1"):
                expected = report[f"{kind} avg"]["f1-score" if name == "f1" else name]
                assert figures[f"{name}_{kind}"] == pytest.approx(expected)

    check()


@given(rows_of(POS.labels))
@settings(max_examples=80, deadline=None)
def test_words_equal_scikit_learn(rows):
    gold, said, examples, predictions = both(rows)
    flat = [[tag for row in side for tag in row] for side in (gold, said)]
    scores = WORD_TAGGING.score(examples, predictions, (POS,))
    assert scores.metrics["accuracy"].value == pytest.approx(np.mean(np.array(flat[0]) == np.array(flat[1])), abs=1e-6)
    assert scores.metrics["f1_micro"].value == scores.metrics["accuracy"].value
    precision, recall, f1, support = precision_recall_fscore_support(*flat, labels=list(POS.labels), zero_division=0)
    for place, row in enumerate(scores.per_class):
        assert row["label"] == POS.labels[place]
        found = [row[name] for name in ("precision", "recall", "f1", "support")]
        assert found == pytest.approx([precision[place], recall[place], f1[place], support[place]], abs=1e-6)
    assert scores.confusion == {
        "labels": list(POS.labels),
        "counts": confusion_matrix(*flat, labels=list(POS.labels)).tolist(),
    }


def test_accuracy_is_of_words():
    gold, said = [["B-x", "I-x", "O"], ["O"]], [["B-x", "O", "O"], ["B-x"]]
    figures = TAGGING.figures([tagged(*row) for row in gold], [{"tags": row} for row in said], (BIO,))
    assert figures["accuracy"] == pytest.approx(accuracy_score(gold, said)) == 0.5


def test_gold_in_another_scheme_means_the_same():
    """A Pocket that learnt from IOBES is judged on BIO and IOB alike."""
    said = [{"tags": ["B-x", "E-x", "O", "S-y-z"]}]
    for gold in (("B-x", "I-x", "O", "B-y-z"), ("I-x", "I-x", "O", "I-y-z"), ("B-x", "E-x", "O", "S-y-z")):
        figures = TAGGING.figures([tagged(*gold)], said, (IOBES,))
        assert (figures["f1_micro"], figures["accuracy"]) == (1, 1)


def test_types_never_learnt_are_missed_and_have_their_own_row():
    scores = TAGGING.score([tagged("B-zoo", "B-x")], [{"tags": ["O", "B-x"]}], (BIO,))
    assert {row["label"]: row["support"] for row in scores.per_class} == {"x": 1, "y-z": 0, "zoo": 1}
    assert scores.metrics["recall_micro"].value == 0.5
    assert scores.metrics["f1_macro"].value == 0.5
    assert scores.confusion is None


def test_words_that_were_not_answered_are_wrong():
    figures = WORD_TAGGING.figures([tagged("NOUN", "VERB")], [{"tags": ["NOUN"]}], (POS,))
    assert (figures["accuracy"], figures["recall_micro"], figures["precision_micro"]) == (0.5, 0.5, 1)


def test_intervals_are_of_sentences():
    rows = [tagged("B-x")] * 60 + [tagged("O")] * 40
    said = [{"tags": ["B-x"]}] * 45 + [{"tags": ["O"]}] * 55
    figure = TAGGING.score(rows, said, (BIO,), seed=1).metrics["recall_micro"]
    assert figure.low < figure.value == 0.75 < figure.high
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 60) ** 0.5, rel=0.2)


def test_outputs_are_every_tag_of_the_scheme():
    rows = [tagged("O", "I-b"), tagged("B-a", "I-a")]
    assert TAGGING.outputs(rows) == (Output("tags", "tags", ("O", "B-a", "I-a", "B-b", "I-b")),)
    assert TAGGING.outputs([tagged("S-a")])[0].labels == ("O", "B-a", "I-a", "E-a", "S-a")
    assert WORD_TAGGING.outputs([tagged("VERB", "NOUN")]) == (Output("tags", "tags", ("NOUN", "VERB")),)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([tagged("O", "O")], "the tag O only; some words must have tags such as B-PER"),
        ([tagged("NOUN", "NOUN")], r"one tag only \(NOUN\); two are needed"),
        ([Example("a")], "no tags at all; each word has one"),
    ],
)
def test_tags_that_teach_nothing_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        TAGGING.outputs(rows)
