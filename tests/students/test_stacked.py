"""An encoder and n-grams as one teacher."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_context

from pocketlm.outputs import texts_of
from pocketlm.students.stacked import cross_entropy, linear_ngrams, stacked
from pocketlm.train.teach import ask


@pytest.fixture(scope="module")
def context(csv_file, teacher_folder, tmp_path_factory):
    return make_context(csv_file, teacher_folder, tmp_path_factory.mktemp("work"), text="text", label="category")


@pytest.fixture(scope="module")
def stack(context):
    return stacked(context.teacher, *linear_ngrams(context), context)


def test_cross_entropy_by_hand():
    even = np.zeros((4, 2), np.float32)
    assert cross_entropy(even, np.array([0, 1, 0, 1])) == pytest.approx(np.log(2))
    assert cross_entropy(even + 7, np.array([0, 1, 0, 1])) == pytest.approx(np.log(2))


def test_both_together_are_never_worse_on_dev_than_either(stack):
    encoder, ngrams, both = stack.losses
    assert both <= min(encoder, ngrams) + 1e-6


def test_only_a_sure_gain_counts(stack):
    assert replace(stack, losses=(0.5, 0.6, 0.48)).better
    assert not replace(stack, losses=(0.5, 0.6, 0.495)).better


def test_of_training_texts_ngrams_say_what_they_would_without_them(stack, context):
    alone = replace(stack, weights={"label": (0.0, 1.0)})
    said = np.stack(list(alone.taught(context.lesson, seen=True).taught.logits["label"]))
    labelled = np.asarray(context.lesson.labels["label"]) >= 0
    assert (~labelled).sum() > 0  # variants, which have no label
    np.testing.assert_allclose(said[labelled], stack.held_out)
    own = np.stack(list(ask(stack.ngrams, context.lesson.texts).logits["label"]))
    np.testing.assert_allclose(said[~labelled], own[~labelled])
    unseen = np.stack(list(alone.taught(context.lesson, seen=False).taught.logits["label"]))
    np.testing.assert_allclose(unseen, own)


def test_an_encoder_alone_teaches_as_it_did(stack, context):
    said = replace(stack, weights={"label": (1.0, 0.0)}).taught(context.lesson, seen=True).taught
    np.testing.assert_allclose(
        np.stack(list(said.logits["label"])), np.stack(list(context.lesson.taught.logits["label"]))
    )


def test_answers_are_those_of_both(stack, context):
    labels = context.outputs[0].labels
    expected = [labels[best] for best in stack.dev["label"].argmax(axis=1)]
    assert [one["label"] for one in stack.answers(context)] == expected
    assert len(expected) == len(texts_of(context.dev, context.outputs))
