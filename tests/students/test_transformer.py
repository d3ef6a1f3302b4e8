"""Which of a teacher's layers a student starts from."""

import pytest
import torch
from helpers import make_context

from pocketlm.students.transformer import TAKEN, SmallTransformer, layout_of


@pytest.mark.parametrize(
    ("kind", "depth", "layers"),
    [
        ("spread", 3, [3, 7, 11]),
        ("first", 3, [0, 1, 2]),
        ("last", 3, [9, 10, 11]),
        ("first", 14, [*range(12), 11, 11]),
        ("last", 14, [0, 0, *range(12)]),
    ],
)
def test_which_layers_are_taken(kind, depth, layers):
    assert TAKEN[kind](depth, 12) == layers


def test_a_student_starts_from_the_layer_that_was_asked_for(csv_file, teacher_folder, tmp_path):
    context = make_context(csv_file, teacher_folder, tmp_path, text="text", label="category")
    state = context.teacher.module.backbone.state_dict()
    config = context.pretrained.config
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    assert layers > 1
    path = layout_of(state)["norm"]
    started = {}
    for kind in ("first", "last"):
        student = SmallTransformer(depth=1, heads=heads, ffn=config.intermediate_size, taken=kind)(None, context)
        started[kind] = dict(student.module.layers[0].named_parameters())
    for kind, place in (("first", 0), ("last", layers - 1)):
        wanted = state[f"{path.format(place)}.weight"]
        assert any(one.shape == wanted.shape and torch.equal(one, wanted) for one in started[kind].values()), kind
    assert any(not torch.equal(one, started["last"][name]) for name, one in started["first"].items())
    with pytest.raises(ValueError, match="taken is one of spread, first, last"):
        SmallTransformer(taken="middle")
