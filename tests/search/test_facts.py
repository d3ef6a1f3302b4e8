"""What of a job decides how long students learn, and at which rate."""

from dataclasses import replace

import pytest
from made_searches import FACTS

from pocketlm.budget import Budget
from pocketlm.search.space import Space
from pocketlm.students.allocation import Allocation
from pocketlm.students.distill import Distill

SEEN = 1_200_000
FACTS = replace(FACTS, texts=20_000)


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({}, 1), ({"texts": 1_000_000}, 1), ({"effort": 0.5}, 1), ({"effort": 0.25}, 2), ({"effort": 0.1}, 4),
        ({"tagging": True}, 2), ({"tagging": True, "effort": 0.25}, 4), ({"texts": 500}, 4), ({"effort": 0.01}, 4),
    ],
)  # fmt: skip
def test_rates_are_higher_where_far_fewer_texts_are_seen(changes, times):
    """By the root of the share, in doublings: of a quarter of the texts twice, of a sixteenth or less four times."""
    assert replace(FACTS, **changes).rate(5e-3, SEEN) == pytest.approx(times * 5e-3)


def test_rules_of_thumb_learn_at_such_rates():
    def rates(effort):
        space = Space(replace(FACTS, effort=effort), Budget.parse(max_size="3MB"))
        steps = [(one.family, step) for one in space.starts for step in one.recipe.steps]
        return {family: step.rate for family, step in steps if isinstance(step, Distill)}

    usual, short = rates(1.0), rates(0.25)
    assert usual == {"bag": 5e-3, "static": 3e-3, "convnet": 5e-4, "transformer": 5e-4}
    assert short == {family: 2 * rate for family, rate in usual.items()}


def test_what_begins_with_layers_of_its_teacher_keeps_its_rate():
    facts = replace(FACTS, effort=0.1, encoder=True)
    space = Space(facts, Budget.parse(max_size="3MB"))
    made = next(one for one in space.starts if one.family == "transformer")
    assert {step.rate for step in made.recipe.steps if isinstance(step, Distill)} == {5e-4}


@pytest.mark.parametrize(("limit", "rate"), [("500kB", 1e-3), ("2MB", 5e-4)])
def test_a_small_part_of_a_teacher_learns_faster_than_a_large_one(limit, rate):
    facts = replace(
        FACTS, effort=0.25, encoder=True, allocator=lambda size, bits: Allocation("0:2x64", 32, 8, 90_000, 0.1, 0.0)
    )
    starts = Space(facts, Budget.parse(max_size=limit)).starts
    made = next(one for one in starts if one.family == "allocated")
    assert {step.rate for step in made.recipe.steps if isinstance(step, Distill)} == {rate}
