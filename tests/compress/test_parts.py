"""Losses in parts are the plain ones: value and gradient."""

import pytest
import torch
from torch.nn import functional as F

from pocketlm.compress import parts


@pytest.mark.parametrize("numbers", [1, 21, 70, 1000])
def test_value_and_gradient_are_those_of_the_whole(monkeypatch, numbers):
    monkeypatch.setattr(parts, "NUMBERS", numbers)
    torch.manual_seed(0)
    start, wanted = torch.randn(11, 7), torch.randint(0, 7, (11,))
    one, other = (start.clone().requires_grad_() for _ in range(2))
    whole = F.cross_entropy(one * 2, wanted, reduction="sum") * 3
    whole.backward()
    made = parts.in_parts(other * 2, lambda own, part: F.cross_entropy(own, wanted[part], reduction="sum")) * 3
    made.backward()
    assert torch.allclose(whole, made)
    assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_without_gradients_only_the_value_is_made():
    logits, wanted = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        made = parts.in_parts(logits, lambda own, part: F.cross_entropy(own, wanted[part], reduction="sum"))
    assert not made.requires_grad
    assert torch.allclose(made, F.cross_entropy(logits, wanted, reduction="sum"))


def test_places_that_do_not_count_have_no_gradient():
    logits, wanted = torch.randn(4, 3, requires_grad=True), torch.tensor([0, -100, 2, -100])

    def missed(own, part):
        return F.cross_entropy(own, wanted[part], ignore_index=-100, reduction="sum")

    parts.in_parts(logits, missed).backward()
    assert (logits.grad[[1, 3]] == 0).all()
    assert (logits.grad[[0, 2]] != 0).any(dim=1).all()
