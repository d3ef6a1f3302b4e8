"""A teacher of few rows: which ways apply, that the best on dev stays, and that it is remembered."""

import re
from dataclasses import replace

import pytest
import torch

from pocketlm.errors import RecipeError
from pocketlm.job import Job
from pocketlm.model.encoder import load_pretrained, teacher_model
from pocketlm.outputs import Example, Output
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.tasks.prepare import prepare
from pocketlm.train import few_shot
from pocketlm.train.contrastive import Contrast
from pocketlm.train.few_shot import DECISIVE_ROWS, FROZEN_ROWS, WAYS, ways_for
from pocketlm.train.heads import FEW_ROWS
from pocketlm.train.loop import Schedule
from pocketlm.train.teach import judge
from pocketlm.train.teacher import Classroom, prepare_teacher

LABEL = Output("label", "single", ("a", "b"))
TAGS = Output("slots", "tags", ("O", "B-x"))
ROWS = [Example("a", ("a",))] * (2 * FEW_ROWS)


@pytest.mark.parametrize(
    ("asked", "rows", "outputs", "unlabelled", "dev", "ways"),
    [
        ("none", ROWS, [LABEL], 5, 9, ()),
        ("auto", ROWS, [LABEL], 5, 9, WAYS),
        ("auto", ROWS, [LABEL], 0, 9, ("frozen", "fine-tuning", "contrastive")),
        ("auto", [*ROWS, ROWS[0]], [LABEL], 5, DECISIVE_ROWS, ("frozen", "fine-tuning")),
        ("auto", [*ROWS, ROWS[0]], [LABEL], 5, DECISIVE_ROWS - 1, ("frozen",)),
        ("auto", ROWS * (FROZEN_ROWS // len(ROWS) + 1), [LABEL], 5, 9, ()),
        ("auto", ROWS, [LABEL, TAGS], 5, 9, ("fine-tuning", "contrastive")),
        ("auto", ROWS, [TAGS], 5, 9, ()),
        ("auto", ROWS, [Output("label", "multi", ("a", "b"))], 5, 9, ()),
        ("frozen", [*ROWS, ROWS[0]], [LABEL], 5, 9, ("frozen", "fine-tuning")),
        ("self-training", ROWS * 9, [LABEL], 5, 9, ("fine-tuning", "self-training")),
        ("self-training, contrastive", ROWS, [LABEL], 5, 9, ("fine-tuning", "contrastive", "self-training")),
    ],
)
def test_the_ways_that_suit_rows_and_outputs(asked, rows, outputs, unlabelled, dev, ways):
    assert ways_for(asked, rows, outputs, unlabelled, dev) == ways


@pytest.mark.parametrize(
    ("asked", "outputs", "unlabelled", "why"),
    [
        ("self-training", [LABEL], 0, "self-training needs --unlabelled"),
        ("self-training", [LABEL, TAGS], 5, "labels of whole texts"),
        ("frozen", [LABEL, TAGS], 5, "labels of whole texts"),
        ("contrastive", [TAGS], 0, "contrastive is for texts with one label"),
    ],
)
def test_a_way_that_cannot_be_gone_is_refused(asked, outputs, unlabelled, why):
    with pytest.raises(RecipeError, match=why):
        ways_for(asked, ROWS, outputs, unlabelled, 9)


def test_a_way_that_does_not_exist_is_refused():
    with pytest.raises(RecipeError, match="Did you mean 'contrastive'"):
        Job("a.csv", few_shot="contrastiv")


@pytest.fixture
def room(csv_file, tmp_path):
    """15 labelled rows of the small data, its others as unlabelled text."""
    prepared = prepare(Job(str(csv_file)))
    few, others = prepared.train[:15], [one.text for one in prepared.train[15:]]
    return Classroom(
        prepared.task, prepared.outputs, few, prepared.dev, "h", 32, 0, WorkFolder(tmp_path), Silent(), Deadline(),
        ("fine-tuning", "contrastive", "self-training"), others,
    )  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    """Ways of a few steps each."""
    monkeypatch.setattr(few_shot, "CONTRAST", Contrast(least=10, most=10, rate=1e-3))
    monkeypatch.setattr(few_shot, "teacher_schedule", lambda *_: Schedule(2, 1e-3))
    monkeypatch.setattr("pocketlm.train.teach.teacher_schedule", lambda *_: Schedule(2, 1e-3))


def loaded(folder):
    """The small encoder, with the same pooler each time: its folder has none, so that one is drawn."""
    torch.manual_seed(0)
    return load_pretrained(str(folder))


def test_the_best_on_dev_stays_and_is_remembered(room, quick, teacher_folder):
    teacher = prepare_teacher(room, loaded(teacher_folder))
    metric = room.task.main_metric
    figures = [float(found) for note in teacher.notes for found in re.findall(rf"{metric} ([0-9.]+) on dev", note)]
    assert len(figures) >= 2
    assert teacher.quality[metric] == pytest.approx(max(figures), abs=1e-4)
    assert teacher.notes[-1].startswith("best on dev, and kept: ")
    assert judge(teacher.model, room.dev, room.task) == teacher.quality
    again = prepare_teacher(room, loaded(teacher_folder))
    assert (again.key, again.notes, again.quality) == (teacher.key, teacher.notes, teacher.quality)
    for name, weight in teacher.model.module.state_dict().items():
        assert torch.equal(weight, again.model.module.state_dict()[name])


def test_rounds_say_who_joined_and_how_sure(room, quick, teacher_folder, monkeypatch):
    monkeypatch.setattr(few_shot, "ROUNDS", (0.3,))
    notes = prepare_teacher(room, loaded(teacher_folder)).notes
    round_one = next(note for note in notes if note.startswith("self-training, round 1"))
    joined = int(re.search(r"(\d+) rows joined", round_one).group(1))
    assert joined == sum(int(count) for count in re.findall(r" (\d+) \(from 0\.\d\d\)", round_one)) > 0
    assert round_one.endswith(("kept", "left out"))


def test_texts_of_train_and_dev_do_not_join(room, quick, teacher_folder, monkeypatch):
    asked = []
    real = few_shot.joining

    def spy(texts, *others):
        asked.extend(texts)
        return real(texts, *others)

    monkeypatch.setattr(few_shot, "joining", spy)
    known = {one.text for one in (*room.train, *room.dev)}
    model = teacher_model(loaded(teacher_folder), room.outputs, 32)
    wider = replace(room, unlabelled=[*room.unlabelled, *known])
    few_shot.school(wider, model, room.work.path, Deadline())
    assert asked and not known & set(asked)


def test_words_with_tags_are_learnt_after_the_contrast(jsonl_file, teacher_folder, quick, tmp_path):
    prepared = prepare(Job(str(jsonl_file)))
    room = Classroom(
        prepared.task, prepared.outputs, prepared.train[:15], prepared.dev, "h", 32, 0, WorkFolder(tmp_path), Silent(),
        Deadline(), ("contrastive",),
    )  # fmt: skip
    notes = prepare_teacher(room, loaded(teacher_folder)).notes
    assert any(note.startswith("contrastive start") and ", then fine-tuned for 2 epochs" in note for note in notes)
