"""The teacher of a job: what of it stays as it was, and texts that come several times."""

import numpy as np
import pytest
import torch

from pocketlm.job import Job
from pocketlm.model.encoder import load_pretrained
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.tasks.prepare import prepare
from pocketlm.train import teach
from pocketlm.train.teacher import Classroom, prepare_teacher, taught_lesson


@pytest.fixture
def classroom(csv_file, tmp_path, monkeypatch):
    """classroom(keep_words) on 24 rows, for two epochs."""
    monkeypatch.setattr(teach, "EPOCHS", ((10**9, 2),))
    prepared = prepare(Job(str(csv_file)))

    def make(keep_words):
        work = WorkFolder(tmp_path / str(keep_words))
        return Classroom(
            prepared.task, prepared.outputs, prepared.train[:24], prepared.dev, "h", 32, 0, work, Silent(), Deadline(),
            keep_words=keep_words,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("keep_words", [True, False])
def test_words_keep_their_places_where_other_languages_are_to_be_read(keep_words, classroom, teacher_folder):
    pretrained = load_pretrained(str(teacher_folder))
    table = pretrained.backbone.get_input_embeddings().weight
    before, deep = table.detach().clone(), pretrained.backbone.encoder.layer[0].output.dense.weight.detach().clone()
    made = prepare_teacher(classroom(keep_words), pretrained)
    assert torch.equal(before, made.model.module.backbone.get_input_embeddings().weight) is keep_words
    assert not torch.equal(deep, pretrained.backbone.encoder.layer[0].output.dense.weight)
    assert table.requires_grad  # students cut out of it learn words too


def test_a_text_that_comes_many_times_is_asked_about_once(classroom, teacher_folder, monkeypatch):
    room = classroom(False)
    teacher = prepare_teacher(room, load_pretrained(str(teacher_folder)))
    asked = []
    real = teach.ask
    monkeypatch.setattr(
        "pocketlm.train.teacher.ask", lambda model, texts, **how: asked.append(list(texts)) or real(model, texts, **how)
    )
    examples = [*room.train[:4], *room.train[:2]]
    taught = taught_lesson(room, teacher, examples, [room.train[3].text, "zebra"])
    assert len(taught) == 8 and len(asked[0]) == len(set(asked[0])) == 5
    logits = taught.taught.logits["label"]
    np.testing.assert_array_equal(logits[0], logits[4])
    np.testing.assert_array_equal(logits[3], logits[6])
    assert not np.array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(taught.taught.hidden[1], taught.taught.hidden[5])


def test_hidden_states_stay_in_their_file_and_are_asked_for_again_where_it_is_gone(
    classroom, teacher_folder, monkeypatch
):
    room = classroom(False)
    teacher = prepare_teacher(room, load_pretrained(str(teacher_folder)))
    first = taught_lesson(room, teacher, room.train, []).taught
    (kept,) = room.work.path.glob("taught-*/hidden.npy")
    asked = teach.ask(teacher.model, [one.text for one in room.train], hidden=True)
    for own, other in zip(first.hidden, asked.hidden, strict=True):
        np.testing.assert_array_equal(own, other)
    assert sum(len(one) for one in first.hidden) == len(np.load(kept)) and not first.hidden[0].flags.owndata
    kept.unlink()
    begin = np.lib.format.open_memmap

    def begun(*given):
        begin(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("numpy.lib.format.open_memmap", begun)
        with pytest.raises(KeyboardInterrupt):
            taught_lesson(room, teacher, room.train, [])
    assert not kept.exists(), "what is half written is not taken for whole"
    again = taught_lesson(room, teacher, room.train, []).taught
    assert kept.is_file()
    np.testing.assert_array_equal(again.hidden[3], asked.hidden[3])
    monkeypatch.setattr(teach, "HIDDEN_BYTES", 10)
    assert taught_lesson(room, teacher, room.train, []).taught.hidden == (), "they are worth no such room"
