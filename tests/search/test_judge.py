"""Choosing between measured candidates."""

from pathlib import Path

import pytest

from pocketlm.budget import Budget, Measurement
from pocketlm.recipe.recipe import Recipe
from pocketlm.search.judge import TEST_FIGURES_BYTES, Judge, Outcome
from pocketlm.search.trial import Trial
from pocketlm.students.distill import Distill
from pocketlm.students.ngrams import HashedNgrams


def trial(name, accuracy, size, latency=0.1, fidelity=None):
    extra = {} if fidelity is None else {"fidelity": fidelity}
    measured = Measurement({"accuracy": accuracy}, size, latency, latency * 2, 40_000_000, extra=extra)
    return Trial(Recipe((HashedNgrams(), Distill()), name), Path("x"), measured, {"seconds": 1.0})


def searched(trials, budget, teacher=None, dev_rows=1_000_000, trusted=(), taught=None):
    taught = any("fidelity" in one.measurement.extra for one in trials) if taught is None else taught
    judge = Judge(budget, "accuracy", teacher, dev_rows, taught=taught)
    outcomes = []
    for one in trials:
        verdict = judge.verdict(one)
        why = "; ".join(str(limit) for limit in verdict.limits if not limit.holds)
        outcomes.append(Outcome(one.recipe, "measured", why, one, verdict, one.recipe.name in trusted))
    return judge.choose(outcomes), outcomes


SMALL, MIDDLE, LARGE = trial("small", 0.90, 50_000), trial("middle", 0.92, 200_000), trial("large", 0.93, 900_000, 0.8)


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (Budget(), "large"),  # 0.92 is more than 1 % below 0.93
        (Budget.parse(max_size="300kB"), "middle"),
        (Budget.parse(max_latency="1ms"), "large"),
        (Budget.parse(max_size="1MB", max_latency="0.5ms"), "middle"),
        (Budget.parse(min_quality="accuracy>=0.91"), "middle"),
    ],
)
def test_the_best_that_meets_the_budget(budget, chosen):
    found, _ = searched([SMALL, MIDDLE, LARGE], budget)
    assert found.recipe.name == chosen
    assert found.met


def test_without_limits_the_smallest_near_the_best():
    near = trial("near", 0.925, 100_000)
    assert searched([SMALL, near, LARGE], Budget())[0].recipe.name == "near"


def test_what_dev_cannot_tell_apart_goes_to_the_one_most_like_the_teacher():
    rivals = [trial("copy", 0.929, 200_000, fidelity=0.97), trial("other", 0.930, 100_000, fidelity=0.95)]
    budget = Budget.parse(max_size="1MB")
    assert searched(rivals, budget, dev_rows=1000)[0].recipe.name == "copy"
    assert searched(rivals, budget, dev_rows=1_000_000)[0].recipe.name == "other", "here dev can tell"
    right = [trial("like", 0.925, 200_000, fidelity=0.953), trial("right", 0.930, 100_000, fidelity=0.950)]
    assert searched(right, budget, dev_rows=1000)[0].recipe.name == "right", "which is more of both together"
    apart = [trial("copy", 0.924, 200_000, fidelity=0.970), trial("other", 0.930, 100_000, fidelity=0.950)]
    assert searched(apart, budget, dev_rows=1000)[0].recipe.name == "copy", "between half an error and a whole one"
    below = [trial("worst", -0.2, 200_000, fidelity=0.3), trial("bad", -0.1, 100_000, fidelity=0.2)]
    assert searched(below, budget, dev_rows=40)[0].recipe.name == "bad", "a correlation may be below 0"
    far = [trial("copy", 0.919, 200_000, fidelity=0.97), trial("other", 0.930, 100_000, fidelity=0.95)]
    assert searched(far, budget, dev_rows=1000)[0].recipe.name == "other", "it is more than a standard error better"
    held = searched(rivals, budget, dev_rows=1000, taught=False)[0]
    assert held.recipe.name == "other", "where a floor alone asks how like they are to a teacher that they do not hear"
    unheard = [trial("copy", 0.929, 200_000), trial("other", 0.930, 100_000)]
    assert searched(unheard, budget, dev_rows=1000)[0].recipe.name == "other"


@pytest.mark.parametrize(("dev_rows", "chosen"), [(200, "rule"), (100_000, "asked")])
def test_without_a_teacher_a_rule_of_thumb_stays_where_dev_cannot_tell(dev_rows, chosen):
    rivals = [trial("rule", 0.920, 200_000), trial("worse rule", 0.915, 90_000), trial("asked", 0.926, 100_000)]
    found, _ = searched(rivals, Budget.parse(max_size="1MB"), dev_rows=dev_rows, trusted=("rule", "worse rule"))
    assert found.recipe.name == chosen
    far = [trial("rule", 0.80, 200_000), rivals[2]]
    assert searched(far, Budget.parse(max_size="1MB"), dev_rows=200, trusted=("rule",))[0].recipe.name == "asked"


def test_equal_quality_takes_the_smaller():
    assert searched([MIDDLE, trial("same", 0.92, 90_000)], Budget.parse(max_size="1MB"))[0].recipe.name == "same"


def test_the_nearest_miss_is_named_when_nothing_fits():
    found, _ = searched([MIDDLE, LARGE], Budget.parse(max_size="100kB"))
    assert found.recipe.name == "middle"
    assert not found.met
    assert "size" in found.why


def test_room_is_left_for_the_test_figures():
    tight = trial("tight", 0.95, 100_000 - TEST_FIGURES_BYTES // 2)
    assert not searched([tight], Budget.parse(max_size="100kB"))[0].met


def test_a_floor_leaves_a_margin_for_a_small_dev_set():
    budget = Budget.parse(min_quality="accuracy>=0.919")
    assert searched([MIDDLE, LARGE], budget, dev_rows=10**9)[0].recipe.name == "middle"
    assert searched([MIDDLE, LARGE], budget, dev_rows=1_000)[0].recipe.name == "large"


def test_the_front_is_what_no_other_is_better_and_nowhere_worse_than():
    beaten, equal = trial("beaten", 0.90, 60_000), trial("equal", 0.90, 50_000)
    fast = trial("fast", 0.85, 950_000, 0.05)
    _, outcomes = searched([SMALL, beaten, MIDDLE, equal, LARGE, fast], Budget())
    skipped = Outcome(SMALL.recipe, "skipped", "too slow")
    front = Judge(Budget(), "accuracy", None, 100).front([*outcomes, skipped])
    assert [one.recipe.name for one in front] == ["small", "middle", "equal", "large", "fast"]


def test_noise_of_time_and_memory_keeps_nothing_on_the_front():
    def point(name, accuracy, size, latency, memory):
        measured = Measurement({"accuracy": accuracy}, size, latency, latency, memory)
        return Outcome(Recipe((HashedNgrams(),), name), "measured", "", Trial(SMALL.recipe, Path("x"), measured, {}))

    judge = Judge(Budget(), "accuracy", None, 100)
    better = point("better", 0.9, 50_000, 0.1, 40_100_000)
    for beaten in (point("a", 0.89, 50_000, 0.1, 40_000_000), point("a", 0.9, 51_000, 0.096, 40_000_000)):
        assert [one.recipe.name for one in judge.front([better, beaten])] == ["better"]
    for kept in (
        point("a", 0.89, 50_000, 0.1, 39_000_000), point("a", 0.89, 50_000, 0.09, 40_100_000),
        point("a", 0.9, 50_000, 0.099, 40_200_000),
    ):  # fmt: skip
        assert len(judge.front([better, kept])) == 2


def test_noise_adds_up_to_what_counts():
    chain = [
        Outcome(
            Recipe((HashedNgrams(),), f"{place}"),
            "measured",
            "",
            trial("a", 0.8 + place / 100, 50_000, 0.1 * 1.04**place),
        )
        for place in range(10)
    ]
    front = Judge(Budget(), "accuracy", None, 100).front(chain)
    assert [one.recipe.name for one in front] == ["1", "3", "5", "7", "9"], "each is 8 % faster than the next"


def test_who_was_passed_over_is_known():
    rule, found = trial("rule", 0.90, 300_000), trial("found", 0.905, 200_000)
    budget = Budget.parse(max_size="1MB")

    def passed(trials, budget=budget, dev_rows=100, trusted=("rule",)):
        chosen, outcomes = searched(trials, budget, dev_rows=dev_rows, trusted=trusted)
        taught = "fidelity" in trials[0].measurement.extra
        best = Judge(budget, "accuracy", None, dev_rows, taught=taught).passed_over(chosen, outcomes)
        return chosen.recipe.name, best and best.recipe.name

    assert passed([rule, found]) == ("rule", "found")
    assert passed([rule, found], dev_rows=10**6) == ("found", None)
    assert passed([rule, found], Budget()) == ("found", None), "the smallest is what was asked for"
    assert passed([rule, found], Budget.parse(max_size="9kB")) == ("found", None), "a miss"
    # what the choice rounds away is no better
    assert passed([trial("a", 0.90003, 60_000), trial("b", 0.90001, 50_000)], trusted=()) == ("b", None)
    likely = [trial("copy", 0.929, 200_000, fidelity=0.97), trial("other", 0.930, 100_000, fidelity=0.95)]
    assert passed(likely, dev_rows=1000) == ("copy", "other")


@pytest.mark.parametrize(("latency", "over"), [(1.02, 0.1), (1.19, 0.2), (0.98, 0.0), (0.5, -0.5)])
def test_by_how_much_a_limit_is_missed_is_told_in_tenths_of_what_differs_from_run_to_run(latency, over):
    one = trial("a", 0.9, 500_000, latency)
    exact = (500_000 + TEST_FIGURES_BYTES) / 1e6 - 1
    for name, limit, wanted in (("latency", "1ms", over), ("size", "1MB", exact), ("memory", "39MB", 0.1)):
        judge = Judge(Budget.parse(**{f"max_{name}": limit}), "accuracy", None, 100)
        assert Outcome(one.recipe, "measured", "", one, judge.verdict(one)).over == pytest.approx(wanted)
