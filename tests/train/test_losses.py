"""Losses are zero where they should be, and never count what is not known."""

import pytest
import torch

from pocketlm.outputs import Output
from pocketlm.train.losses import distillation_loss, hidden_loss, label_loss, relation_loss

SINGLE, MULTI = Output("a", "single", ("x", "y", "z")), Output("m", "multi", ("x", "y", "z"))


def logits(seed=0, rows=5):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("output", [SINGLE, MULTI])
@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_saying_what_the_teacher_says_costs_nothing(output, temperature):
    assert distillation_loss(logits(), logits(), output, temperature) == pytest.approx(0, abs=1e-5)
    assert distillation_loss(logits(), logits(1), output, temperature) > 0.01


def test_at_temperature_one_it_is_the_divergence():
    own, given = logits(), logits(1)
    p, q = given.softmax(-1), own.softmax(-1)
    expected = (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(distillation_loss(own, given, SINGLE, 1.0), expected)


def test_gradients_keep_their_size_over_temperature():
    """Hinton et al.: with the factor T² the gradient nears (z - v) / labels as T grows."""
    own = logits().requires_grad_()
    distillation_loss(own, logits(1), SINGLE, 1000.0).backward()
    difference = logits() - logits(1)
    expected = (difference - difference.mean(1, keepdim=True)) / 3 / len(own)
    torch.testing.assert_close(own.grad, expected, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("output", [SINGLE, MULTI])
def test_rows_the_teacher_did_not_see_do_not_count(output):
    given = logits(1)
    whole = distillation_loss(logits()[:3], given[:3], output, 2.0)
    given[3:] = float("nan")
    torch.testing.assert_close(distillation_loss(logits(), given, output, 2.0), whole)
    assert distillation_loss(logits(), torch.full((5, 3), float("nan")), output, 2.0) == 0


def test_unlabelled_rows_do_not_count():
    labels = torch.tensor([0, 1, -100, 2, -100])
    kept = [0, 1, 3]
    torch.testing.assert_close(label_loss(logits(), labels, SINGLE), label_loss(logits()[kept], labels[kept], SINGLE))
    assert label_loss(logits(), torch.full((5,), -100), SINGLE) == 0
    assert label_loss(logits(), torch.full((5, 3), float("nan")), MULTI) == 0


def test_states_equal_up_to_scale_cost_nothing_and_padding_does_not_count():
    states = torch.randn(2, 4, 6)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    other = 3 * states
    other[0, 3], other[1, 2:] = 99.0, -99.0
    assert hidden_loss(states, other, mask) == pytest.approx(0, abs=1e-6)
    assert relation_loss(states, other, mask) == pytest.approx(0, abs=1e-4)
    assert relation_loss(states, torch.randn(2, 4, 6), mask) > 0.01


def test_relations_compare_any_widths():
    assert relation_loss(torch.randn(1, 3, 4), torch.randn(1, 3, 9), torch.ones(1, 3)).isfinite()
