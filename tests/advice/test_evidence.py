"""Advice from studies of other jobs: what is like counts most, and advice is scored without what it is about."""

import math

import pytest

from pocketlm.advice.data import score
from pocketlm.advice.evidence import (
    Case,
    Expectation,
    Tried,
    advised,
    by_rule_of_thumb,
    expected,
    known_cases,
    known_models,
    of_any_job,
    scored,
)  # fmt: skip

JOB = {"task": "classification", "texts": 1_000, "labels": 10, "words": 8.0, "max_size": 100_000, "taught": True}


def case(name, families, data=None, teacher=None, more=(), **job):
    tried = {family: Tried(quality, True, 1.0, 2.0) for family, quality in families.items()}
    reached = tuple(sorted([*families.values(), *more], reverse=True))
    return Case(name, data or name, {**JOB, **job}, tuple(families), tried, reached, teacher)


def test_what_a_family_loses_is_expected_of_it():
    one = case("a", {"bag": 0.90, "linear": 0.86}, teacher=0.95)
    found = expected([one], JOB)
    assert found["bag"] == Expectation(0.0, 0.0, 0.0, 1, 1, (1.0, 1.0), (2.0, 2.0), (0.90 / 0.95, 0.90 / 0.95))
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


def test_where_no_job_is_alike_all_tell_how_wide_expectations_are():
    found = of_any_job([case("a", {"bag": 0.9}, task="tagging"), case("b", {"bag": 0.7, "linear": 0.8})])
    assert (found["bag"].low, found["bag"].high, found["bag"].cases) == pytest.approx((0.0, 0.1, 2))
    assert of_any_job([]) == {}


def test_other_tasks_far_jobs_and_jobs_without_a_teacher_say_nothing():
    other = case("other", {"bag": 0.9}, task="tagging")
    far = case("far", {"bag": 0.9}, texts=10**9)
    alone = case("alone", {"bag": 0.9}, taught=False)
    assert expected([other, far, alone], JOB) == {}
    assert expected([other, far, alone], {**JOB, "taught": False})["bag"].cases == 1


def test_a_rule_of_thumb_that_missed_the_budget_loses_all():
    tried = {"bag": Tried(0.9, True, 1.0), "transformer": Tried(0.95, False, 1.0, 2.0)}
    one = Case("a", "a", JOB, ("bag", "transformer"), tried, (0.92, 0.9))
    found = expected([one], JOB)
    assert found["transformer"].loss == 0.92
    assert (found["transformer"].met, found["transformer"].low, found["transformer"].time) == (0, None, (2.0, 2.0))
    assert advised(found, ["transformer", "bag"]) == "bag"


def test_advice_that_misses_the_budget_is_never_good():
    other = case("other", {"transformer": 0.9, "bag": 0.8})
    tried = {"transformer": Tried(0.95, False), "bag": Tried(0.9, True)}
    missed = Case("missed", "missed", JOB, ("bag", "transformer"), tried, (0.9,))
    nothing = Case("nothing", "nothing", JOB, ("transformer",), {"transformer": Tried(0.0, False)}, ())
    found = {one.case: one for one in scored([other, missed, nothing])}
    assert found["missed"].family == "transformer" and not found["missed"].good
    assert found["nothing"].family == "transformer" and not found["nothing"].good
    assert (found["missed"].chance, found["nothing"].chance) == (0.5, 0.0), "of two kinds one would have been good"


def test_what_cannot_keep_to_the_budget_is_not_advised():
    found = expected([case("a", {"bag": 0.90, "linear": 0.86, "transformer": 0.95})], JOB)
    assert advised(found, ["linear", "bag", "transformer"]) == "transformer"
    assert advised(found, ["linear", "bag"]) == "bag"
    assert advised(found, ["stack"]) is None


def test_advice_is_scored_without_its_own_data():
    cases = [
        case("a 1", {"bag": 0.9, "linear": 0.8}, "a"), case("a 2", {"bag": 0.9, "linear": 0.7}, "a"),
        case("b", {"bag": 0.6, "linear": 0.8}, "b", more=(0.79, 0.78)),
    ]  # fmt: skip
    found = {one.case: one for one in scored(cases)}
    assert (found["b"].family, found["b"].rank, found["b"].good) == ("bag", 4, False)
    assert found["b"].loss == pytest.approx(0.2)
    assert found["a 1"].family == "linear" and found["a 1"].rank == 2 and found["a 1"].good
    assert not found["b"].close and found["a 1"].able == 2
    one = case("c", {"bag": 0.9}, "c")
    told = score(scored([*cases, one]))
    assert (told["cases"], told["free"]) == (4, 3) and told["free_good"] == told["good"] - 1
    alone = scored(cases[:2])
    assert [one.family for one in alone] == ["bag", "bag"], "by a rule of thumb, as `advise` says then"
    assert by_rule_of_thumb({**JOB, "taught": False}, ("bag", "linear")) == "linear"
    assert by_rule_of_thumb(JOB, ("bag", "transformer")) == "transformer"
    assert by_rule_of_thumb({**JOB, "task": "retrieval"}, ("static",)) == "static" and not by_rule_of_thumb(JOB, ())


def test_cases_round_trip():
    one = case("a", {"bag": 0.9}, teacher=0.95)
    assert Case.from_json(one.to_json()) == one


def trial(family, quality, size, start=True, why="meets the budget", status="measured"):
    figures = {"quality": quality, "size_bytes": size, "latency_p50_ms": 0.1, "memory_bytes": 1}
    told = {"key": f"{family} {size}", "family": family, "status": status, "why": why, "start": start}
    return {**told, "expected_bytes": 100, "figures": figures}


def test_a_fit_becomes_a_case():
    trials = [
        trial("bag", 0.8, 90), trial("bag", 0.7, 95), trial("bag", 0.9, 80, start=False),
        trial("static", 0.95, 110, why="size 110 B (≤ 100 B): missed"),
    ]  # fmt: skip
    result = {
        "search": {"trials": trials, "job": JOB}, "main_metric": "accuracy", "teacher": None,
        "forecast": {"checked": [{"key": "bag 90", "alone_ms": 0.1, "expected_ms": 0.2, "measured_ms": 0.2}]},
    }  # fmt: skip
    found = Case.of("x 100B", "x", ["bag", "static", "convnet"], result)
    assert found.reached == (0.9, 0.8, 0.7)
    assert found.tried["bag"] == Tried(0.8, True, 0.9, 2.0)
    assert found.tried["static"] == Tried(0.95, False, 1.1, None)
    assert found.tried["convnet"] == Tried(0.0, False), "advice thought it able, and it was not measured"
    assert (found.loss("bag"), found.loss("convnet")) == pytest.approx((0.1, 0.9))
    nothing = {**result, "search": {"trials": trials[3:], "job": JOB}}
    assert Case.of("x 100B", "x", ["static"], nothing).loss("static") == 0.0


def test_a_proposal_of_the_teachers_parts_counts_as_a_transformer():
    trials = [trial("bag", 0.8, 90), trial("allocated", 0.9, 95)]
    result = {"search": {"trials": trials, "job": JOB}, "main_metric": "accuracy", "teacher": None}
    found = Case.of("x 100B", "x", ["bag", "transformer"], result)
    assert found.tried["transformer"] == Tried(0.9, True, 0.95, None) and "allocated" not in found.tried


def test_what_comes_with_the_package_is_read():
    cases, models = known_cases(), known_models()
    assert len(cases) >= 5 and len({one.data for one in cases}) >= 2
    assert all(one.job["task"] and set(one.able) == set(one.tried) for one in cases)
    assert {one.kind for one in models} == {"encoder", "decoder"} and all(0.5 < one.ratio < 2 for one in models)
