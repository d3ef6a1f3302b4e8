"""Earlier studies of similar jobs start a new one with what was best there."""

import math
from dataclasses import replace

import pytest
from search.test_study import FACTS, World, explore, names

from pocketlm.budget import Budget
from pocketlm.search.opened import Plan
from pocketlm.search.space import Space
from pocketlm.search.warm import FAR, apart, described, nearest

JOB = described(FACTS, Budget.parse("3MB"), "classification")


def test_jobs_are_as_far_apart_as_their_amounts():
    assert apart(JOB, JOB) == 0
    assert apart(JOB, {**JOB, "texts": 20_000}) == pytest.approx(math.log(2))
    assert apart(JOB, {**JOB, "max_latency": 1.0}) == 1, "one has a limit, the other none"
    assert apart(JOB, {**JOB, "task": "tagging"}) == math.inf
    assert apart(JOB, described(replace(FACTS, taught=False), Budget.parse("3MB"), "classification")) == math.inf


def test_the_nearest_come_first_and_far_ones_do_not():
    others = {"far": {**JOB, "texts": JOB["texts"] * math.exp(FAR + 1)}, "near": {**JOB, "labels": 80}, "same": JOB}
    assert nearest(others, JOB) == ["same", "near"]


def plan(tmp_path, name, budget, **more):
    about = described(FACTS, budget, "classification")
    return Plan(storage=f"sqlite:///{tmp_path}/study.db", name=name, job=about, **more)


def test_what_was_best_before_is_asked_for_after_rules_of_thumb(tmp_path):
    first = Budget.parse("3MB")
    best, _, _ = explore(World(), plan(tmp_path, "first", first, trials=30), first)
    other = Budget.parse("2.5MB")
    space = Space(FACTS, other)
    _, outcomes, made = explore(World(), plan(tmp_path, "second", other, trials=12), other, space=space)
    asked = [one for one in made.study.get_trials() if one.user_attrs.get("from") == "first"]
    assert asked and asked[0].number == len(space.starts)
    own, theirs = (one.recipe.steps[0] for one in (space.asked(asked[0].params), best))
    assert type(own) is type(theirs)
    cold = explore(World(), Plan(trials=12), other, space=space)[1]
    world = World()
    reached = [max(world.figure(one.recipe) for one in found if one.trial) for found in (outcomes, cold)]
    assert reached[0] >= reached[1]
    assert names(outcomes)[: len(space.starts)] == names(cold)[: len(space.starts)]


def test_what_was_best_before_is_tried_where_nothing_else_is_around_rules_of_thumb(tmp_path, monkeypatch):
    monkeypatch.setattr("pocketlm.search.study.AROUND", 6)
    budget, other = Budget.parse("3MB"), Budget.parse("2.5MB")
    space = Space(replace(FACTS, texts=500_000), other)
    explore(World(), plan(tmp_path, "first", budget, trials=30), budget)
    _, outcomes, made = explore(World(), plan(tmp_path, "second", other), other, space=space)
    adopted = sum(one.user_attrs.get("from") == "first" for one in made.study.get_trials())
    assert adopted and len(outcomes) == len(space.starts) + adopted


def test_a_study_of_another_kind_of_job_teaches_nothing(tmp_path):
    budget = Budget.parse("3MB")
    explore(World(), plan(tmp_path, "first", budget, trials=12), budget)
    unlike = replace(FACTS, labels=9, tagging=True, single=False)
    about = described(unlike, budget, "understanding")
    space = Space(unlike, budget)
    second = Plan(storage=f"sqlite:///{tmp_path}/study.db", name="second", job=about, trials=6)
    _, _, made = explore(World(), second, budget, space=space)
    assert not any("from" in one.user_attrs for one in made.study.get_trials())


def test_parameters_of_another_space_come_as_near_as_they_can():
    small = Space(FACTS, Budget.parse("300kB"))
    large = Space(FACTS, Budget.parse("3MB"))
    params = large.params(large.starts[-1])
    found = small.adopted({**params, "family": "bag", "bag/quantize.bits": 8, "bag/size": 3_000_000})
    assert found["family"] == "bag" and found["bag/quantize.bits"] == 8
    assert found["bag/size"] == small.knobs["bag"]["size"].high
    assert small.asked(found) is not None
    assert small.adopted({"family": "none of these"}) is None
