"""What readers learn from: windows, places of answers, softened places of a teacher, and when not to answer."""

import numpy as np
import pytest
import torch
from helpers import make_context

from pocketlm.errors import DataError
from pocketlm.model.encoder import load_pretrained, question_inputs
from pocketlm.model.readout import NOWHERE
from pocketlm.outputs import Example, Output
from pocketlm.runtime.spans import Found
from pocketlm.runtime.windows import Reading
from pocketlm.tasks.question_answering import QUESTION_ANSWERING
from pocketlm.train.lesson import Taught, in_windows, lesson, make_batch
from pocketlm.train.losses import distillation_loss, label_loss
from pocketlm.train.questions import with_threshold
from pocketlm.train.teach import answers, judge

SPAN = Output("answer", "span", ("start", "end"))
LONG = " ".join(["turn on the red kitchen lamp"] * 12)


@pytest.fixture(scope="module")
def inputs(teacher_folder):
    return question_inputs(load_pretrained(str(teacher_folder)), 32)


@pytest.fixture(scope="module")
def context(questions_file, teacher_folder, tmp_path_factory):
    return make_context(questions_file, teacher_folder, tmp_path_factory.mktemp("work"))


def test_only_windows_that_hold_an_answer_have_it(inputs):
    start = LONG.rindex("kitchen")
    cut = in_windows([Example("which room", pair=LONG, answers=((start, start + 7),))], inputs, "train")
    assert len(cut) > 2
    held = [one for one in cut if one.answers]
    assert 0 < len(held) <= 2
    assert {one.pair[slice(*one.answers[0])] for one in held} == {"kitchen"}
    assert all(one.pair.count("kitchen") > 0 for one in cut), "others have the word, at places that are not meant"
    with pytest.raises(DataError, match="train, row 1: the question and its marks are"):
        in_windows([Example(LONG, pair="x")], inputs, "train")


def test_labels_are_the_pieces_of_the_answer(inputs):
    rows = [
        Example("which room", pair="the kitchen lamp", answers=((4, 11),)),
        Example("which room", pair="the lamp"),
    ]
    given = lesson(rows, (SPAN,))
    encoded = inputs.encode(given.texts)
    batch = make_batch(given, (SPAN,), encoded, inputs, [0, 1])
    (first, last), nothing = batch.labels["answer"].tolist()
    offsets = encoded[0].arrays[3]
    assert (offsets[first, 0], offsets[last, 1]) == (4, 11)
    assert nothing == [0, 0]
    logits = torch.full((2, batch.arrays["input_ids"].shape[1], 2), -20.0)
    for row, (begin, end) in enumerate(((first, last), (0, 0))):
        logits[row, begin, 0] = logits[row, end, 1] = 20.0
    assert label_loss(logits, batch.labels["answer"], SPAN) < 1e-6
    assert label_loss(logits, torch.full((2, 2), -100), SPAN) == 0


def test_softened_places_are_as_far_as_the_definition_says():
    generator = torch.Generator().manual_seed(0)
    own, given = (torch.randn(3, 7, 2, generator=generator) for _ in range(2))
    own[:, 5:], given[:, 5:] = NOWHERE, NOWHERE
    assert distillation_loss(given, given, SPAN, 2.0).abs() < 1e-6
    expected = 0.0
    for row in range(3):
        for side in range(2):
            p, q = ((one[row, :5, side] / 2).softmax(0) for one in (given, own))
            expected += float((p * (p / q).log()).sum()) * 4 / 6
    assert float(distillation_loss(own, given, SPAN, 2.0)) == pytest.approx(expected, rel=1e-4)
    given[0] = torch.nan
    assert float(distillation_loss(own, given, SPAN, 2.0)) > 0


def test_a_teacher_is_heard_only_where_it_split_the_text_alike(inputs):
    given = lesson([Example("which room", pair="the lamp"), Example("which room", pair="the red lamp")], (SPAN,))
    encoded = inputs.encode(given.texts)
    taught = [np.zeros((encoded[0].length, 2), np.float32), np.zeros((encoded[1].length + 1, 2), np.float32)]
    batch = make_batch(given.with_teacher(Taught({"answer": taught})), (SPAN,), encoded, inputs, [0, 1])
    assert batch.teacher["answer"][0, : encoded[0].length].eq(0).all()
    assert batch.teacher["answer"][1].isnan().all()


def test_the_threshold_is_the_best_one_by_trial():
    random = np.random.default_rng(0)
    rows = [Example("q", pair="x y", answers=((0, 1),) if place % 3 else ()) for place in range(40)]
    found = [Found(0, 1, float(random.normal()) + bool(one.answers), 0.5, 0.5) for one in rows]
    chosen = with_threshold(Reading(), rows, found).threshold

    def right(threshold):
        return sum((one.margin > threshold) == bool(row.answers) for one, row in zip(found, rows, strict=True))

    assert right(chosen) == max(right(one.margin + shift) for one in found for shift in (-1e-3, 1e-3))
    answerable = [Example("q", pair="x y", answers=((0, 1),))] * 3
    assert with_threshold(Reading(threshold=1.0), answerable, found[:3]).threshold is None


def test_a_teacher_learns_to_read_and_when_to_be_silent(context):
    figures = judge(context.teacher, context.dev, QUESTION_ANSWERING)
    assert figures["has_answer_f1"] > 0.6
    assert context.teacher.inputs.reading.threshold is not None
    said = answers(context.teacher, [*context.lesson.texts[:3]])
    assert all(set(one) == {"answer", "start", "end", "score", "margin"} for one in said)
