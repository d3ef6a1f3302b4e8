"""Advice from studies of other jobs: what is like counts most, and advice is scored without what it is about."""

import math

import pytest

from pocketlm.search.advice import Case, Expectation, advised, expected, known_cases, scored

JOB = {"task": "classification", "texts": 1_000, "labels": 10, "words": 8.0, "max_size": 100_000, "taught": True}


def case(name, families, data=None, teacher=None, **job):
    return Case(name, data or name, {**JOB, **job}, families, teacher)


def test_what_a_family_loses_is_expected_of_it():
    one = case("a", {"bag": 0.90, "linear": 0.86}, teacher=0.95)
    found = expected([one], JOB)
    assert found["bag"] == Expectation(0.0, 0.0, 0.0, 1, (0.90 / 0.95, 0.90 / 0.95))
    assert found["linear"].loss == pytest.approx(0.04)


def test_the_nearer_a_case_the_heavier():
    same = case("same", {"bag": 0.9, "linear": 0.8})
    far = case("far", {"bag": 0.5, "linear": 0.7}, texts=1_000 * math.e**3)
    found = expected([same, far], JOB)
    weight = math.exp(-3)
    assert found["linear"].loss == pytest.approx(0.1 / (1 + weight))
    assert found["bag"].loss == pytest.approx(0.2 * weight / (1 + weight))
    assert (found["bag"].low, found["bag"].high, found["bag"].cases) == pytest.approx((0.0, 0.2, 2))
    assert found["bag"].kept is None


def test_other_tasks_and_far_jobs_say_nothing():
    other = case("other", {"bag": 0.9}, task="tagging")
    far = case("far", {"bag": 0.9}, texts=10**9)
    assert expected([other, far], JOB) == {}


def test_what_cannot_keep_to_the_budget_is_not_advised():
    found = expected([case("a", {"bag": 0.90, "linear": 0.86, "transformer": 0.95})], JOB)
    assert advised(found, ["linear", "bag", "transformer"]) == "transformer"
    assert advised(found, ["linear", "bag"]) == "bag"
    assert advised(found, ["stack"]) is None


def test_advice_is_scored_without_its_own_data():
    cases = [
        case("a 1", {"bag": 0.9, "linear": 0.8}, "a"), case("a 2", {"bag": 0.9, "linear": 0.7}, "a"),
        case("b", {"bag": 0.6, "linear": 0.8, "static": 0.79, "convnet": 0.78}, "b"),
    ]  # fmt: skip
    found = {one.case: one for one in scored(cases)}
    assert (found["b"].family, found["b"].rank, found["b"].good) == ("bag", 4, False)
    assert found["b"].loss == pytest.approx(0.2)
    assert found["a 1"].family == "linear" and found["a 1"].rank == 2 and found["a 1"].good
    alone = scored(cases[:2])
    assert [one.family for one in alone] == [None, None] and not any(one.good for one in alone)


def test_cases_round_trip():
    one = case("a", {"bag": 0.9}, teacher=0.95)
    assert Case.from_json(one.to_json()) == one


def test_what_comes_with_the_package_is_read():
    assert all(one.families and one.job["task"] for one in known_cases())
