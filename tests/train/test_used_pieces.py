"""An encoder that is trained with the pieces of its texts alone becomes what it would become with all of them."""

import pytest
import torch

from pocketlm.job import Job
from pocketlm.model.encoder import load_pretrained, teacher_model
from pocketlm.outputs import texts_of
from pocketlm.tasks.prepare import prepare
from pocketlm.train.teach import answers, fine_tune
from pocketlm.train.used_pieces import UsedPieces, used_pieces


@pytest.fixture(scope="module")
def prepared(csv_file):
    return prepare(Job(str(csv_file), text="text", label="category"))


def fresh(prepared, teacher_folder):
    torch.manual_seed(0)
    return teacher_model(load_pretrained(str(teacher_folder)), prepared.outputs, 24)


def words(model):
    return model.module.backbone.get_input_embeddings()


def tuned(model, prepared):
    fine_tune(model, prepared.train[:64], prepared.dev, prepared.task, seed=0)
    return model.module.state_dict()


def test_training_gives_the_same_weights_and_leaves_other_pieces_alone(prepared, teacher_folder):
    texts = [*texts_of(prepared.train[:64], prepared.outputs), *texts_of(prepared.dev, prepared.outputs)]
    whole = tuned(fresh(prepared, teacher_folder), prepared)
    model = fresh(prepared, teacher_folder)
    before, own = words(model).weight.detach().clone(), words(model)
    with used_pieces(model, texts):
        few = words(model)
        assert isinstance(few, UsedPieces) and len(few.weight) < len(before)
        tuned(model, prepared)
    assert words(model) is own
    found = model.module.state_dict()
    assert found.keys() == whole.keys()
    for name, weight in whole.items():
        assert torch.allclose(found[name], weight, atol=1e-4), name
    used = few.places >= 0
    assert torch.equal(own.weight[~used], before[~used]) and not torch.equal(own.weight[used], before[used])


def test_a_piece_of_no_text_is_an_error_and_not_another_piece(prepared, teacher_folder):
    model = fresh(prepared, teacher_folder)
    with used_pieces(model, ["the"]), pytest.raises(IndexError):
        answers(model, [str(one.text) for one in prepared.train[:8]])
    assert answers(model, ["the"])


def test_what_was_learnt_stands_though_training_was_stopped(prepared, teacher_folder):
    model = fresh(prepared, teacher_folder)
    before, own = words(model).weight.detach().clone(), words(model)

    def stopped():
        with used_pieces(model, ["the"]):
            torch.nn.init.ones_(words(model).weight)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    changed = (own.weight != before).any(dim=1)
    assert words(model) is own and 0 < int(changed.sum()) < len(before)


def test_frozen_embeddings_stay_frozen(prepared, teacher_folder):
    model = fresh(prepared, teacher_folder)
    words(model).requires_grad_(False)
    with used_pieces(model, ["the"]):
        assert not words(model).weight.requires_grad


def test_where_most_pieces_are_used_or_there_is_no_text_nothing_is_changed(prepared, teacher_folder, monkeypatch):
    model = fresh(prepared, teacher_folder)
    own = words(model)
    with used_pieces(model, []):
        assert words(model) is own
    monkeypatch.setattr("pocketlm.train.used_pieces.WORTH", 0.0)
    with used_pieces(model, ["the"]):
        assert words(model) is own
