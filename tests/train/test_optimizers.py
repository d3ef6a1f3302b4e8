"""Muon's steps are orthogonal, of AdamW's size, and of matrices inside a model alone."""

import pytest
import torch
from torch import nn

from pocketlm.train.loop import Schedule
from pocketlm.train.optimizers import Muon, optimizers_of, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_singular_values_end_near_one_and_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6 and values.max() < 1.3
    first, _, last = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.dist(found, first @ last) < 0.4 * (first @ last).norm()
    torch.testing.assert_close(orthogonal(3 * matrix), found, atol=1e-5, rtol=1e-4)


def test_a_step_is_as_large_as_one_of_adamw():
    weight = nn.Parameter(torch.zeros(16, 64))
    optimizer = Muon([{"params": [weight], "lr": 0.01, "weight_decay": 0.0}])
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    assert 0.2 * 0.01 * 0.7 < float(weight.detach().square().mean().sqrt()) < 0.2 * 0.01 * 1.3


def test_embeddings_heads_that_share_them_and_vectors_are_left_to_adamw():
    table, linear, head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9, bias=False)
    head.weight = table.weight
    module = nn.ModuleList([table, linear, head])
    plain, matrices = optimizers_of(module, Schedule(1, 1e-3, muon=True))
    assert [one.shape for group in matrices.param_groups for one in group["params"]] == [linear.weight.shape]
    others = {id(one) for group in plain.param_groups for one in group["params"]}
    assert others == {id(table.weight), id(linear.bias)}
    (only,) = optimizers_of(module, Schedule(1, 1e-3))
    assert sum(len(group["params"]) for group in only.param_groups) == 3
