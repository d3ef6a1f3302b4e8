"""A study as it is opened: what comes first, once, and what is refused."""

import pytest
from made_searches import BUDGET, SPACE

from pocketlm.errors import RecipeError
from pocketlm.search.opened import Plan, opened
from pocketlm.search.space import Space


def asked(study):
    return [one.user_attrs["asked"] for one in study.get_trials(deepcopy=False)]


def begun(plan, *, smallest_first=False):
    space = Space(SPACE.facts, BUDGET)
    study, claim = opened(plan, space, lambda: space.starts, smallest_first=smallest_first)
    assert claim is None
    return space, study


def test_rules_of_thumb_come_first_and_once(tmp_path):
    plan = Plan(storage=f"sqlite:///{tmp_path}/study.db")
    space, study = begun(plan)
    first = asked(study)
    assert first == [space.params(one) for one in space.starts]
    assert asked(begun(plan)[1]) == first, "a study that goes on asks for nothing twice"


def test_where_a_floor_alone_was_asked_for_the_smallest_come_first():
    space, study = begun(Plan(), smallest_first=True)
    sizes = [space.asked(params).expected_bytes for params in asked(study)]
    assert sizes == sorted(sizes) != [one.expected_bytes for one in space.starts]


def test_chance_and_recipes_that_are_tried_alone_ask_for_nothing_first():
    for plan in (Plan(sampler="random"), Plan(trials=0)):
        assert not begun(plan)[1].trials


def test_what_was_running_is_asked_for_again_by_its_number(tmp_path):
    plan = Plan(storage=f"sqlite:///{tmp_path}/study.db")
    _, study = begun(plan)
    died = study.ask()
    again = begun(plan)[1].ask()
    assert (again.number, again.params) == (died.number, died.params)


def test_there_is_something_to_go_on_with_or_it_is_said():
    with pytest.raises(RecipeError, match="resume: no search was begun"):
        begun(Plan(resume=True))
