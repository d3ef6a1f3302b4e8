"""Windows go over all of a text in every epoch, and a model that is sure of what is wrong is calmed."""

import pytest
import torch
from families import make_family
from made_tokenizers import tokenizer_of

from pocketlm.model.pretrained import load_model
from pocketlm.train.pretrain import Plan, Pupil, Teaching, Windows, calm

TEXTS = ["turn the lamps on in the hall", "dim all lamps in the kitchen and the attic"] * 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_family("llama", tmp_path_factory.mktemp("llama"), tokenizer_of("BPE", TEXTS, 300))


def test_an_epoch_reads_almost_all_of_a_stream_once_and_the_next_in_another_order():
    windows = Windows(torch.arange(1_000), 12, 48, ([-1], [-2]), seed=3)
    epochs = []
    for epoch in range(2):
        rows = torch.cat([windows.batch(epoch * windows.batches + place) for place in range(windows.batches)])
        assert rows.shape[1] == 12 and bool((rows[:, 0] == -1).all() and (rows[:, -1] == -2).all())
        inside = rows[:, 1:-1]
        assert bool((inside.diff(dim=1) == 1).all())
        assert len(inside.unique()) == inside.numel() > 900
        epochs.append(inside)
    assert not torch.equal(*epochs)
    assert torch.equal(windows.batch(5), Windows(torch.arange(1_000), 12, 48, ([-1], [-2]), seed=3).batch(5))


def test_the_length_of_a_window_is_that_of_the_last_stage_begun():
    plan = Plan(5, 512, ((0, 64), (10, 128)))
    assert [plan.length(number) for number in (0, 9, 10, 19)] == [64, 64, 128, 128]
    assert plan.pieces == 20 * 5 * 512


def test_a_model_that_is_wrongly_sure_is_scaled_down_and_one_that_is_not_stays(folder):
    model = load_model(folder)
    model.module.model.norm.weight.mul_(8)
    pupil = Pupil(model, TEXTS, TEXTS[:4], Teaching(1e-3), seed=0)
    before, weight = pupil.figure(), model.module.model.norm.weight.clone()
    scale = calm(pupil)
    assert scale < 0.25 and pupil.figure() > before + 1
    assert torch.equal(model.module.model.norm.weight, weight * scale)
    model.module.model.norm.weight.zero_()
    assert calm(pupil) == 1.0
