"""Translators learn a made-up language, write it alike alone and in batches, and are remembered."""

from dataclasses import replace

import pytest
import torch
from made_language import made_pairs

from pocketlm.errors import DataError, TeacherError
from pocketlm.model.pretrained import load_model
from pocketlm.model.subwords import learn_subwords
from pocketlm.model.translator import STUDENTS, TranslatorShape, new_translator, student_shapes
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.train import translator
from pocketlm.train.loop import Schedule
from pocketlm.train.pairs import pair_ids, piece_ids
from pocketlm.train.translator import Desk, Lecture, dictated, fine_tune_teacher, lecture_for, save_plain, teach
from pocketlm.train.write import write

PAIRS, DEV = made_pairs(300), made_pairs(40, seed=1)
LECTURE = Lecture(
    Schedule(18, 8e-3, warmup=0.1, patience=99, decay=0.0, second_moment=0.98, average=2), dropout=0.0, tokens=128
)
SHAPE = TranslatorShape(0, 32, 1, 1, 64, 2)


@pytest.fixture(scope="module")
def tokenizer():
    return learn_subwords([*PAIRS.sources, *PAIRS.targets], 340)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(DEV, "hash", 32, 0, WorkFolder(tmp_path_factory.mktemp("work")), Silent(), Deadline())


def starting(tokenizer, shape=SHAPE, dropout=0.0):
    return lambda: new_translator(replace(shape, pieces=len(tokenizer)), tokenizer, dropout=dropout)


@pytest.fixture(scope="module")
def teacher(desk, tokenizer):
    return teach(desk, "teacher", starting(tokenizer), PAIRS, LECTURE, {})


def test_a_teacher_at_the_same_place_with_other_weights_is_another(desk, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(translator, "teach", lambda *given: given[-1])
    found = []
    for seed in (0, 0, 1):
        save_plain(new_translator(replace(SHAPE, pieces=len(tokenizer)), tokenizer, seed=seed), tmp_path / "teacher")
        found.append(fine_tune_teacher(desk, str(tmp_path / "teacher"), PAIRS))
    assert found[0] == found[1] != found[2]


def right(texts):
    return sum(a == b for a, b in zip(texts, DEV.targets, strict=True)) / len(texts)


def test_it_learns(teacher):
    assert right(write(teacher.model, DEV.sources)) > 0.7
    assert right(write(teacher.model, DEV.sources, beams=3)) > 0.7
    assert teacher.dev_loss < 0.5


def test_texts_are_written_alike_alone_and_together(teacher):
    some = DEV.sources[:6]
    assert [write(teacher.model, [text])[0] for text in some] == write(teacher.model, some)
    assert write(teacher.model, []) == []


def test_a_finished_teacher_is_remembered(desk, tokenizer, teacher):
    def never():
        raise AssertionError("trained again")

    again = teach(desk, "teacher", never, PAIRS, LECTURE, {})
    assert again.key == teacher.key
    assert write(again.model, DEV.sources[:5]) == write(teacher.model, DEV.sources[:5])


def test_a_student_learns_from_sentences_and_words(desk, tokenizer, teacher):
    heard = dictated(desk, teacher, PAIRS.sources[:150], beams=2)
    assert set(heard.sources) <= set(PAIRS.sources)
    lecture = replace(LECTURE, alpha=0.5, schedule=replace(LECTURE.schedule, epochs=2))
    plain = teach(desk, "plain", starting(tokenizer), heard, replace(lecture, alpha=0.0), {})
    taught = teach(desk, "taught", starting(tokenizer), heard, lecture, {}, teacher)
    assert taught.key != plain.key
    assert taught.dev_loss < starting_loss(tokenizer)


def starting_loss(tokenizer):
    from pocketlm.train.pairs import piece_loss

    return piece_loss(starting(tokenizer)(), DEV)


def test_training_that_time_cuts_short_is_used_and_not_remembered(desk, tokenizer):
    hurried = replace(desk, deadline=Deadline.after(0.0))
    cut = teach(hurried, "cut", starting(tokenizer), PAIRS, LECTURE, {})
    assert "time was up" in cut.notes[0]
    assert not desk.work.step("cut", {}).result


def test_the_folder_is_transformers_own(teacher, tmp_path):
    from transformers import MarianMTModel

    save_plain(teacher.model, tmp_path)
    ids = torch.tensor(piece_ids(teacher.model.tokenizer, DEV.sources[:1]))
    wanted = teacher.model.module(input_ids=ids, decoder_input_ids=ids).logits
    for module in (MarianMTModel.from_pretrained(tmp_path).eval(), load_model(tmp_path).module):
        assert torch.equal(module(input_ids=ids, decoder_input_ids=ids).logits, wanted)


def test_students_shrink_with_the_size():
    assert [one.width for one in student_shapes(4_000, None)] == [one.width for one in STUDENTS]
    sizes = [student_shapes(4_000, most)[0] for most in (20_000_000, 3_000_000, 1_000_000)]
    assert [one.parameters <= most for one, most in zip(sizes, (20_000_000, 3_000_000, 1_000_000), strict=True)] == [
        True
    ] * 3
    assert sizes[0].parameters > sizes[1].parameters > sizes[2].parameters
    assert student_shapes(4_000, 1_000) == []


def test_shapes_count_their_weights(tokenizer):
    shape = replace(SHAPE, pieces=len(tokenizer), encoder=2)
    assert new_translator(shape, tokenizer).parameters == shape.parameters + len(tokenizer)  # the logits' fixed bias


def test_little_data_is_gone_through_more_often():
    epochs = [lecture_for(pairs).schedule.epochs for pairs in (1_000, 30_000, 1_000_000)]
    assert epochs[0] > epochs[1] >= epochs[2] >= 30
    assert lecture_for(1_000, fine_tune=True).schedule.epochs < 10


def test_a_teacher_that_writes_no_text_for_another_is_refused(desk, family_folder):
    for name in ("llama", "bert"):
        with pytest.raises(TeacherError, match=r"which does not write a text for another; give an encoder-decoder"):
            fine_tune_teacher(desk, str(family_folder(name)), PAIRS)
    with pytest.raises(TeacherError, match="^teacher "):
        fine_tune_teacher(desk, "no/such/model", PAIRS)


def test_pairs_that_are_too_long_are_counted(desk, tokenizer):
    lecture = replace(LECTURE, schedule=replace(LECTURE.schedule, epochs=1))
    lengths = [max(map(len, pair)) for pair in zip(*pair_ids(tokenizer, PAIRS), strict=True)]
    middle = max(lengths) - 1
    few = teach(replace(desk, longest=middle), "few", starting(tokenizer), PAIRS, lecture, {})
    gone = sum(one > middle for one in lengths)
    assert 0 < gone < 300
    assert f"{gone} of 300 training pairs, of over {middle} pieces, play no part" in few.notes
    with pytest.raises(DataError, match="none of the 300 training pairs has at most 2 pieces a side"):
        teach(replace(desk, longest=2), "none", starting(tokenizer), PAIRS, lecture, {})
