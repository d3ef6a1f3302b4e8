"""Readers as Pockets: they answer as in torch, long contexts too, and keep when to be silent."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_context, write_exported

from pocketlm.budget import Budget
from pocketlm.errors import DataError
from pocketlm.export.pocket import export
from pocketlm.runtime.load import load
from pocketlm.runtime.question import Question
from pocketlm.search.facts import Facts
from pocketlm.search.space import Space
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.train.teach import answers, ask

LONG = " ".join(["switch on the white kitchen lamp", "dim the red hall lamp"] * 9)


@pytest.fixture(scope="module")
def context(questions_file, teacher_folder, tmp_path_factory):
    return make_context(questions_file, teacher_folder, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def whole(context):
    """A student of the teacher's own layers, heads and units, with embeddings of full rank."""
    return STUDENT_PASSES["small-transformer"](depth=2, heads=4, ffn=64, rank=32)(None, context)


@pytest.fixture(scope="module")
def made(whole, context, tmp_path_factory):
    """(Pocket, Exported) of a student in float32."""
    whole.inputs.reading = context.teacher.inputs.reading
    exported = export(whole, context)
    path = write_exported(context, exported, tmp_path_factory.mktemp("pocket") / "q.pocket")
    return load(path), exported


def test_a_student_of_every_layer_and_unit_reads_as_its_teacher(whole, context):
    texts = context.lesson.texts[:40]
    own, theirs = ask(whole, texts).logits["answer"], ask(context.teacher, texts).logits["answer"]
    for one, other in zip(own, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


ASKED = [
    Question("which room", LONG),
    Question("which colour", "turn off the blue garage lamp"),
    Question("hello zebra", LONG),
]


def test_a_pocket_answers_as_torch_does_and_long_contexts_too(made, whole):
    pocket, exported = made
    assert exported.agreement == 1.0
    assert len(pocket.inputs.windows(ASKED)[0]) > 2
    for one, other in zip(pocket.predict(ASKED), answers(whole, ASKED), strict=True):
        assert (one["answer"], one["start"], one["end"]) == (other["answer"], other["start"], other["end"])
        assert one["margin"] == pytest.approx(other["margin"], abs=1e-2)


def test_answers_are_parts_of_their_contexts_and_silence_has_no_place(made, whole):
    pocket, _ = made
    assert pocket.inputs.reading.threshold == whole.inputs.reading.threshold is not None
    room, colour, nothing = pocket.predict(ASKED)
    for asked, said in zip(ASKED[:2], (room, colour), strict=True):
        assert asked.context[said["start"] : said["end"]] == said["answer"] != ""
    pocket.inputs.reading = replace(pocket.inputs.reading, threshold=nothing["margin"] + 1)
    silent = pocket.predict({"question": "hello zebra", "context": LONG})
    pocket.inputs.reading = whole.inputs.reading
    assert (silent["answer"], silent["start"], silent["end"]) == ("", None, None)


def test_wrong_questions_are_refused_in_one_line(made):
    pocket, _ = made
    with pytest.raises(DataError, match="question 1: the context is empty"):
        pocket.predict({"question": "who", "context": ""})
    with pytest.raises(DataError, match="longer than the window of 32"):
        pocket.predict({"question": LONG, "context": "the lamp"})
    with pytest.raises(DataError, match='question 2: a question is an object with "question" and "context"'):
        pocket.predict([{"question": "who", "context": "the lamp"}, "a text"])


def test_only_readers_are_tried_for_questions(context):
    facts = Facts.of(context, 200)
    assert facts.asking
    tried = Space(facts, Budget.parse("200kB")).starts
    assert tried
    assert {one.recipe.family for one in tried} == {"small-transformer"}
    assert all(one.recipe.steps[1].temperature == 2 for one in tried)
    assert not Space(facts, Budget.parse("10kB")).starts
