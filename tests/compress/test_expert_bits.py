"""Experts get bits by use and by what they suffer, and their average is kept."""

import itertools

import pytest
import torch
from families import outputs, seen
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlm.compress.calibration import Calibration
from pocketlm.compress.context import Context
from pocketlm.compress.expert_bits import ExpertBits, allot_bits
from pocketlm.compress.passes import PASSES
from pocketlm.compress.routing import experts_at
from pocketlm.errors import RecipeError
from pocketlm.model.pretrained import load_model, save_model
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json, pass_to_json

PATHS = ["model.layers.0.mlp", "model.layers.1.mlp"]


def context_of(model):
    return Context(calibration=Calibration(tuple(seen(model, seed) for seed in (1, 2))), fast=False)


def uneven(family):
    """A model whose experts write more or less, by their number."""
    model = family("qwen3_moe")
    with torch.no_grad():
        for path in PATHS:
            for number, expert in enumerate(experts_at(model, path)):
                expert.down_proj.weight.mul_(2.0 ** (1 - number))
    return model


def falling(experts, generator):
    """Errors that fall by half to a quarter a bit, as those of rounding do: (experts, 3)."""
    start = torch.rand(experts, 1, generator=generator, dtype=torch.float64) ** 3
    rate = 0.25 + 0.25 * torch.rand(experts, 1, generator=generator, dtype=torch.float64)
    return start * rate ** torch.arange(3)


@given(seed=st.integers(0, 10**6), average=st.floats(2, 4))
@settings(max_examples=40, deadline=None)
def test_the_average_is_kept_and_no_other_choice_is_much_better(seed, average):
    errors = falling(5, torch.Generator().manual_seed(seed))
    given_bits = allot_bits(errors, torch.ones(5), (2, 3, 4), average)
    assert sum(given_bits) <= average * 5 + 1e-6
    total = sum(float(errors[place, bits - 2]) for place, bits in enumerate(given_bits))
    best = min(
        sum(float(errors[place, bits - 2]) for place, bits in enumerate(tried))
        for tried in itertools.product((2, 3, 4), repeat=5)
        if sum(tried) <= average * 5 + 1e-6
    )
    upgrade = float((errors[:, 0] - errors[:, 2]).max())
    assert best - 1e-12 <= total <= best + upgrade


def test_more_bits_for_those_that_lose_more():
    errors = torch.tensor([[8.0, 2.0, 0.5], [0.8, 0.2, 0.05], [0.0, 0.0, 0.0]])
    assert allot_bits(errors, torch.ones(3), (2, 3, 4), 3.0) == [4, 3, 2]
    assert allot_bits(errors, torch.ones(3), (2, 3, 4), 2.0) == [2, 2, 2]
    assert allot_bits(errors, torch.ones(3), (2, 3, 4), 4.0) == [4, 4, 2]
    assert allot_bits(errors, torch.tensor([100.0, 1.0, 1.0]), (2, 3, 4), 2.05) == [2, 4, 2]
    with pytest.raises(ValueError, match="below the fewest"):
        allot_bits(errors, torch.ones(3), (3, 4), 2.5)


def test_a_jump_over_a_useless_step_is_found():
    assert allot_bits(torch.tensor([[1.0, 1.0, 0.0], [0.4, 0.3, 0.3]]), torch.ones(2), (2, 3, 4), 3.0) == [4, 2]


@pytest.mark.parametrize("by", ["round-to-nearest", "gptq"])
def test_a_model_keeps_the_average_and_says_who_got_what(by, family, tmp_path):
    model = uneven(family)
    step = ExpertBits(average=3.0, by=by, group_size=16)
    small = compress(model, Recipe([step]), context_of(model))
    found = []
    for path in PATHS:
        for expert in experts_at(small, path):
            bits = {getattr(expert, name).stored.bits for name in ("gate_proj", "up_proj", "down_proj")}
            assert len(bits) == 1
            found += bits
    assert sum(found) / len(found) <= 3.0
    assert len(set(found)) > 1
    assert sum("bits [" in note for note in small.records[0]["notes"]) == 2
    assert {one["bits"] for one in small.records[0]["layers"] if ".experts." in one["name"]} == set(found)
    assert all(one["done"] == "left" for one in small.records[0]["layers"] if ".experts." not in one["name"])
    save_model(small, tmp_path / "small")
    assert torch.equal(outputs(load_model(tmp_path / "small")), outputs(small))


def test_experts_used_more_get_no_fewer_bits_and_unused_ones_the_fewest(family):
    model = family("mixtral")
    batch = {"input_ids": torch.tensor([[7, 0]]), "attention_mask": torch.tensor([[1, 0]])}
    context = Context(calibration=Calibration((batch,)), fast=False)
    small = compress(model, Recipe([ExpertBits(by="round-to-nearest", group_size=16)]), context)
    notes = " ".join(small.records[0]["notes"])
    for path in PATHS:
        unused = [number for number in range(4) if f"{path}.experts.{number}" in notes]
        assert len(unused) == 2
        assert {experts_at(small, path)[number].up_proj.stored.bits for number in unused} == {2}
    assert "they get 2 bits, by their weights alone" in notes


def test_better_than_the_same_bits_for_all(family):
    model = uneven(family)
    context = context_of(model)
    lost = {}
    for choices in ((2, 3, 4), (3,)):
        step = ExpertBits(average=3.0, choices=choices, by="round-to-nearest", group_size=16)
        lost[choices] = float((outputs(compress(model, Recipe([step]), context)) - outputs(model)).square().mean())
    assert lost[2, 3, 4] < lost[3,]


def test_settings_come_back_and_the_same_twice(family):
    step = ExpertBits(average=2.5, by="round-to-nearest", group_size=16)
    assert pass_from_json(pass_to_json(step), PASSES) == step
    model = family("mixtral")
    one, other = (compress(model, Recipe([step]), context_of(model)) for _ in range(2))
    assert torch.equal(outputs(one), outputs(other))
    with pytest.raises(RecipeError, match="has no experts"):
        compress(family("llama"), Recipe([step]), context_of(model))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"average": 5.0}, "average is from 2 to 4"), ({"choices": (4, 2)}, "choices rise"),
     ({"choices": (1, 4)}, "2 to 8"), ({"by": "magic"}, "by is one of")],
)  # fmt: skip
def test_wrong_settings(changes, said):
    with pytest.raises(ValueError, match=said):
        ExpertBits(**changes)
