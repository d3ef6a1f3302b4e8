"""Heads and units are kept by what they are good for, and those that stay make up for the others."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_context

from pocketlm.students.thinning import kept_heads, kept_units, what_they_read
from pocketlm.students.transformer import SmallTransformer
from pocketlm.train.teach import ask


@pytest.fixture(scope="module")
def context(jsonl_file, teacher_folder, tmp_path_factory):
    return make_context(jsonl_file, teacher_folder, tmp_path_factory.mktemp("work"))


def read_by(columns, rows=500):
    inputs = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return inputs, inputs.T @ inputs


def test_all_are_kept_as_they_are():
    _, s = read_by(8)
    weight = torch.randn(5, 8)
    for kept, found in (kept_units(weight, s, 8), kept_heads(weight, s, 4, 2), kept_units(weight, s, 20)):
        assert kept.tolist() == list(range(8))
        assert torch.equal(found, weight)


def test_a_unit_that_repeats_another_goes_and_is_made_up_for():
    inputs, _ = read_by(6)
    inputs = torch.cat([inputs, inputs[:, :2]], 1)
    weight = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    kept, found = kept_units(weight, inputs.T @ inputs, 6)
    assert sorted(place % 6 for place in kept.tolist()) == list(range(6))
    torch.testing.assert_close(inputs[:, kept] @ found.T, inputs @ weight.T, rtol=0.03, atol=0.03)


def test_the_head_that_writes_nothing_goes():
    _, s = read_by(8)
    weight = torch.randn(5, 8)
    weight[:, 2:4] = 0
    kept, found = kept_heads(weight, s, 3, 2)
    assert kept.tolist() == [0, 1, 4, 5, 6, 7]
    torch.testing.assert_close(found, weight[:, kept], rtol=0.02, atol=0.02)


def test_what_layers_read_is_what_passes_through_them(context):
    backbone = context.teacher.module.backbone
    name = "encoder.layer.1.output.dense"
    found = what_they_read([name], backbone, context)[name]
    inputs, hook = [], backbone.get_submodule(name).register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    ask(context.teacher, context.lesson.texts)
    hook.remove()
    tokens = torch.cat([one.reshape(-1, one.shape[-1]) for one in inputs])
    # padding counts in the second only, where texts of unlike lengths are read at once
    assert found.shape == (tokens.shape[1],) * 2
    assert (found.diagonal() <= (tokens.T @ tokens).diagonal() * 1.001).all()
    assert torch.equal(found, what_they_read([name], backbone, context)[name])


def test_a_teacher_of_units_that_come_twice_loses_nothing_with_half_of_them(context):
    teacher = copy.deepcopy(context.teacher)
    for layer in teacher.module.backbone.encoder.layer:
        up, down = layer.intermediate.dense, layer.output.dense
        half = up.out_features // 2
        with torch.no_grad():
            up.weight[half:], up.bias[half:] = up.weight[:half], up.bias[:half]
            down.weight.copy_(torch.randn_like(down.weight))
    twice = replace(context, teacher=teacher)
    cut = SmallTransformer(depth=2, heads=4, ffn=half, rank=32)(None, twice)
    texts = context.lesson.texts[:30]
    mine, theirs = ask(cut, texts), ask(teacher, texts)
    for output in context.outputs:
        for own, given in zip(mine.logits[output.name], theirs.logits[output.name], strict=True):
            np.testing.assert_allclose(own, given, atol=0.05)
