"""Teachers of vectors: their own pooling, a turn that leaves every cosine, tuning only where dev is better."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_context

from pocketlm.errors import RecipeError, TeacherError
from pocketlm.job import Job
from pocketlm.model.encoder import load_pretrained
from pocketlm.model.sentence import sentence_pooling
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Silent
from pocketlm.runtime.vectors import unit
from pocketlm.tasks.prepare import prepare
from pocketlm.train import embedder
from pocketlm.train.embedder import prepare_embedder, sized, with_teachers_pairs
from pocketlm.train.teach import ask
from pocketlm.train.teacher import Classroom


def room_of(prepared, work):
    return Classroom(
        prepared.task,
        prepared.outputs,
        prepared.train,
        prepared.dev,
        "h",
        32,
        0,
        WorkFolder(work),
        Silent(),
        Deadline(),
    )


def pooled_by_hand(pretrained, texts):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pretrained.name)
    rows = []
    for text in texts:
        with torch.no_grad():
            states = pretrained.backbone.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        rows.append({"mean": states.mean(0), "cls": states[0], "max": states.amax(0)}[pretrained.pooling].numpy())
    return unit(np.stack(rows))


@pytest.fixture
def teacher(teacher_folder, tmp_path):
    """teacher("cls") is the small teacher with this pooling written beside it."""

    def make(pooling):
        folder = tmp_path / f"teacher-{pooling}"
        folder.mkdir()
        for file in teacher_folder.iterdir():
            (folder / file.name).symlink_to(file)
        modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.models.Pooling"}]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        modes = {f"pooling_mode_{one}_token{'s' * (one != 'cls')}": one == pooling for one in ("mean", "cls", "max")}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))
        return load_pretrained(str(folder))

    return make


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_turned_vectors_have_the_cosines_of_the_encoder(pooling, teacher, csv_file, tmp_path):
    pretrained = teacher(pooling)
    prepared = sized(prepare(Job(str(csv_file), task="similarity")), pretrained, None)
    made = prepare_embedder(room_of(prepared, tmp_path), pretrained)
    texts = [one.text for one in prepared.train[:12]]
    vectors = unit(np.stack(list(ask(made.model, texts).logits["vector"])))
    expected = pooled_by_hand(pretrained, texts)
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-4)
    energy = np.square(vectors).sum(0)
    assert energy[:16].sum() > 0.95 * energy.sum()  # the first dimensions hold the most
    assert any(pooling in note for note in made.notes)
    again = prepare_embedder(room_of(prepared, tmp_path), load_pretrained(pretrained.name))
    np.testing.assert_array_equal(
        np.stack(list(ask(again.model, texts).logits["vector"])), ask(made.model, texts).logits["vector"]
    )


def test_poolings_as_files_say_them(tmp_path):
    def said(modules, pooling=None):
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / "config.json").write_text(json.dumps(pooling or {}))
        return sentence_pooling(str(tmp_path))

    pool = {"type": "sentence_transformers.models.Pooling", "path": "p"}
    assert said([pool], {"pooling_mode": "cls"}) == "cls"
    assert said([pool], {"pooling_mode_mean_sqrt_len_tokens": True, "include_prompt": True}) == "mean"
    assert said([{"type": "x.Transformer"}, {"type": "x.Normalize"}]) == "mean"
    with pytest.raises(TeacherError, match="pools by lasttoken"):
        said([pool], {"pooling_mode_lasttoken": True})
    with pytest.raises(TeacherError, match="pools by cls and max"):
        said([pool], {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True})
    with pytest.raises(TeacherError, match="a module Dense after"):
        said([pool, {"type": "x.models.Dense"}])
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(TeacherError, match="is not JSON"):
        sentence_pooling(str(tmp_path))


def test_a_width_the_teacher_has_not_is_refused(csv_file, teacher_folder):
    prepared, pretrained = prepare(Job(str(csv_file), task="similarity")), load_pretrained(str(teacher_folder))
    assert sized(prepared, pretrained, None).outputs[0].width == 32
    assert sized(prepared, pretrained, 8).outputs[0].width == 8
    with pytest.raises(RecipeError, match="more than the 32 dimensions"):
        sized(prepared, pretrained, 33)


def test_texts_alone_are_judged_by_the_teachers_cosines(teacher_folder, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"turn {a} the {b} lamp\n" for a in ("on", "off", "up") for b in "abcdefghijkl"), "utf-8")
    pretrained = load_pretrained(str(teacher_folder))
    before = sized(prepare(Job(str(path), task="similarity")), pretrained, None)
    prepared = with_teachers_pairs(before, pretrained, 32, 0)
    assert {one.text for one in prepared.test} | {one.pair for one in prepared.test} == {
        one.text for one in before.test
    }
    assert all(-1 <= one.score <= 1.0001 and one.text != one.pair for one in prepared.test)
    assert prepared.train == before.train
    assert prepare_embedder(room_of(prepared, tmp_path), pretrained).quality["spearman"] == pytest.approx(1, abs=1e-6)
    assert "agreement with the teacher's cosines" in prepared.about["notes"][-1]


def test_scored_pairs_tune_a_teacher_only_where_dev_is_better(pairs_file, teacher_folder, tmp_path, monkeypatch):
    prepared = prepare(Job(str(pairs_file)))
    prepared = replace(prepared, dev=prepared.train[:20])  # what it learns, it knows
    monkeypatch.setattr(embedder, "RATE", 5e-3)
    made = prepare_embedder(room_of(prepared, tmp_path / "a"), load_pretrained(str(teacher_folder)))
    note = made.notes[-1]
    before, after = (float(part.split()[-2]) for part in note.split(",")[:2])
    assert made.quality["spearman"] == pytest.approx(max(before, after), abs=1e-4)
    assert after > before + 0.02
    monkeypatch.setattr(embedder, "_learn_order", lambda model, pairs, room: _spoil(model))
    pretrained = load_pretrained(str(teacher_folder))
    kept = prepare_embedder(room_of(prepared, tmp_path / "b"), pretrained)
    assert "left as it was" in kept.notes[-1]
    fresh = load_pretrained(str(teacher_folder)).backbone.state_dict()
    own = pretrained.backbone.state_dict()
    # the folder has no pooler: transformers makes one up each time, and nothing reads it
    assert all(torch.equal(weight, fresh[name]) for name, weight in own.items() if not name.startswith("pooler"))


def _spoil(model):
    with torch.no_grad():
        for weight in model.module.backbone.parameters():
            weight.zero_()


def test_a_lesson_of_pairs_has_every_text_once(pairs_file, teacher_folder, tmp_path):
    context = make_context(pairs_file, teacher_folder, tmp_path)
    assert len(set(context.lesson.texts)) == len(context.lesson)
    assert len(context.lesson.taught.logits["vector"][0]) == 32
    assert context.outputs[0].size == 24
