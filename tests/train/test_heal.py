import itertools
import math

import pytest
import torch
from torch import nn

from pocketlm.progress import Deadline
from pocketlm.train.heal import HealSchedule, RateGroup, endless_batches, heal, rate_at


def trained(steps=200, rate=0.05, **settings):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(4, 1, bias=False), torch.randn(64, 4)
    target = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    places = endless_batches([1] * 64, 16, 0)
    extra = {key: settings.pop(key) for key in ("after", "deadline") if key in settings}
    done = heal(
        [RateGroup(list(layer.parameters()), rate)], lambda own: (layer(inputs[own]) - target[own]).square().mean(),
        places, HealSchedule(steps, **settings), **extra,
    )  # fmt: skip
    return layer, done


def test_a_line_is_learned_and_the_same_twice():
    layer, done = trained(600)
    assert done.last < 1e-2 < done.losses[0]
    assert len(done.losses) == 600
    assert torch.equal(layer.weight, trained(600)[0].weight)


def test_the_rate_rises_in_a_line_and_falls_as_half_a_cosine():
    assert rate_at(0.05, 0.1) == pytest.approx(0.5)
    assert rate_at(0.1, 0.1) == pytest.approx(1.0)
    assert rate_at(0.55, 0.1) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 2))
    assert rate_at(1.0, 0.1) == pytest.approx(0.0)


def test_what_is_put_back_after_a_step_stays():
    held = {}

    def after():
        with torch.no_grad():
            held["layer"][:, 0] = 0

    layer = nn.Linear(2, 1, bias=False)
    held["layer"] = layer.weight
    after()
    heal(
        [RateGroup([layer.weight], 0.1)], lambda own: (layer(torch.ones(1, 2)) - 5).square().sum(),
        itertools.repeat([0]), HealSchedule(20), after=after,
    )  # fmt: skip
    assert layer.weight[0, 0] == 0
    assert layer.weight[0, 1] != 0


def test_time_ends_it_and_no_time_trains_nothing():
    before = trained(1, rate=0.0)[0].weight
    layer, done = trained(deadline=Deadline.after(0))
    assert torch.equal(layer.weight, before)
    assert done.losses == []
    assert "time was up after 0 of 200" in done.ended
    assert len(trained(10**7, seconds=0.2)[1].losses) < 10**6


def test_batches_see_every_place_once_an_epoch_and_join_what_is_alike_in_length():
    lengths = [place % 7 for place in range(103)]
    made = endless_batches(lengths, 10, 3)
    for _ in range(3):
        epoch = list(itertools.islice(made, 11))
        assert sorted(itertools.chain(*epoch)) == list(range(103))
        assert sum(max(lengths[p] for p in own) - min(lengths[p] for p in own) for own in epoch) < 3 * 11
    again = endless_batches(lengths, 10, 3)
    assert next(again) != next(endless_batches(lengths, 10, 4))
