"""Searches on surrogates: they come near to what was measured, and say what a search is worth in recipes of chance."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import search_simulated as simulated

from pocketlm.search.facts import Facts

FACTS = Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True, words=300)


def trial(number, size, rate):
    return {
        "key": str(number), "family": "linear", "knobs": {"size": size, "rate": rate}, "expected_bytes": size,
        "figures": {"quality": 0.5 + 0.05 * math.log10(size), "size_bytes": round(1.5 * size)},
    }  # fmt: skip


def test_a_surrogate_comes_near_to_what_was_measured():
    random = np.random.default_rng(0)
    made = simulated.Surrogate(
        [trial(number, float(10 ** random.uniform(4, 6)), random.random()) for number in range(40)]
    )
    recipe = SimpleNamespace(to_json=lambda: {"a": 1})
    asked = SimpleNamespace(family="linear", values={"rate": 0.5}, expected_bytes=100_000, recipe=recipe)
    quality, size = made.of(asked, 0)
    assert quality == pytest.approx(0.75, abs=0.02) and size == pytest.approx(150_000, rel=0.05)
    assert made.of(asked, 0) == (quality, size) and made.of(asked, 1)[0] != quality


class Larger:
    """The larger the better."""

    def of(self, candidate, world):
        return 0.5 + 0.05 * math.log10(candidate.expected_bytes), candidate.expected_bytes


@pytest.mark.parametrize("who", ["search", "random"])
def test_as_many_recipes_are_tried_and_dev_tells_shares_of_its_rows(who):
    found = simulated.searched(Larger(), FACTS, 100, "200kB", who, 0, 8)
    assert len(set(found)) == 8 and all(round(100 * one[0]) == pytest.approx(100 * one[0]) for one in found)
    assert simulated.searched(Larger(), FACTS, 100, "200kB", who, 0, 8) == found
    assert simulated.searched(Larger(), FACTS, 100, "200kB", who, 1, 8) != found or who == "search"


def test_the_facts_of_a_job_are_those_that_advice_is_given_by():
    facts, rows = simulated.facts_of({"job": "smart-home:eu"}, 0.25)
    assert facts.effort == 0.25 and facts.tagging and facts.texts > 2 * rows > 200


def test_chance_gets_more_recipes_until_it_is_as_good(monkeypatch):
    monkeypatch.setattr(simulated, "TIMES", (1, 2, 4))
    given = SimpleNamespace(seeds=2)
    found = simulated.simulated(Larger(), FACTS, 100, "200kB", (0.5, -math.log(200_000), -0.1), given, 6)
    assert len(found["search"]) == 2 and next(iter(found["random"])) == "6" and all(found["search"])
    last = np.median(list(found["random"].values())[-1])
    assert last >= np.median(found["search"]) or list(found["random"]) == ["6", "12", "24"]


def test_a_search_is_worth_recipes_of_chance():
    one = {"search": [2.0, 3.0, 9.0], "random": {"12": [1.0, 2.0, 9.0], "18": [3.0, 3.0, 3.0]}}
    assert simulated.over_random(one) == 1.5 and simulated.worth(one) == "18"
    other = {"search": [4.0], "random": {"12": [1.0], "24": [3.0]}}
    assert simulated.worth(other) == "more than 24"
    assert simulated.over_random({"search": [0.0], "random": {"12": [0.0]}}) == 0
    done = {"news 2MB": one, "bank 8MB": other}
    assert simulated.table(done).splitlines()[2:] == ["news | 2MB | 1.50 | 18", "bank | 8MB | 4.00 | more than 24"]
    assert simulated.summed_up(done) == "geometric mean over random: 2.45; least 1.50"
    lost = {**done, "news 8MB": {"search": [0.0], "random": {"12": [1.0]}}}
    assert simulated.summed_up(lost) == "geometric mean over random: 0.00; least 0.00", "it is not left out"
