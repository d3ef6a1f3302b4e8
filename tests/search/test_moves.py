"""What is asked for from what is known: the recipe that the front may gain most by."""

import math

import numpy as np
import pytest
from made_searches import SPACE

from pocketlm.budget import Budget
from pocketlm.search.facts import Facts
from pocketlm.search.moves import Known, _Seen, gain, promising
from pocketlm.search.space import Space
from pocketlm.search.surrogate import Surrogate

WORST = (1_000, 0.5)
SURE = 1e-9


def untried(recipe):
    return True


def able(candidate):
    return None


def start(family):
    return SPACE.params(next(one for one in SPACE.starts if one.family == family))


def sized(family, size, quality, over=0.0):
    params = {**start(family), f"{family}/size": size}
    return Known(family, params, quality, SPACE.asked(params).expected_bytes, over)


LARGE, SMALL = sized("bag", 1_600_000, 0.9), sized("bag", 400_000, 0.8)


def test_a_sure_gain_is_the_area_that_is_added():
    points = [(100, 0.7), (400, 0.9)]
    assert gain([], (100, 0.7, SURE), WORST) == pytest.approx(0.2 * math.log(10))
    assert gain(points, (200, 0.8, SURE), WORST) == pytest.approx(0.1 * math.log(2))
    assert gain(points, (50, 0.6, SURE), WORST) == pytest.approx(0.1 * math.log(2))
    assert gain(points, (50, 0.95, SURE), WORST) == pytest.approx(
        0.45 * math.log(2) + 0.25 * math.log(4) + 0.05 * math.log(2.5)
    )


def test_what_is_dominated_or_beyond_the_worst_gains_nothing():
    points = [(100, 0.7), (400, 0.9)]
    for own in ((150, 0.65, SURE), (100, 0.7, SURE), (2_000, 0.99, SURE), (50, 0.4, SURE)):
        assert gain(points, own, WORST) == pytest.approx(0, abs=1e-7)


def test_a_gain_is_the_mean_of_what_may_be_gained():
    drawn = np.random.default_rng(0).normal(0.75, 0.05, 4_000)
    mean = np.mean([gain([(100, 0.7)], (200, one, SURE), WORST) for one in drawn])
    assert gain([(100, 0.7)], (200, 0.75, 0.05), WORST) == pytest.approx(mean, rel=0.05)


def moves(known, pending=(), hopeless=able, space=SPACE, seeds=12):
    made = [promising(space, known, pending, untried, hopeless, np.random.default_rng(seed)) for seed in range(seeds)]
    return [space.asked(one) for one in made if one is not None]


def test_gaps_of_the_front_are_filled():
    near = [sized("bag", size, 0.9 - 0.001 * place) for place, size in enumerate((1_600_000, 1_500_000, 1_400_000))]
    sizes = [one.expected_bytes for one in moves([*near, sized("bag", 170_000, 0.8)])]
    assert all(one < 1_400_000 for one in sizes) and min(sizes) < 500_000


def test_what_kind_is_good_is_learnt():
    known = [sized(family, size, quality) for family, quality in (("bag", 0.9), ("static", 0.4), ("linear", 0.3))
             for size in (600_000, 1_200_000)]  # fmt: skip
    families = [one.family for one in moves(known)]
    assert families.count("static") + families.count("linear") < len(families) / 3


def test_what_cannot_keep_the_limits_is_not_sought():
    known = [LARGE, SMALL, *(sized("static", size, 0.97, over=0.4) for size in (300_000, 700_000, 1_500_000))]
    assert sum(one.family == "static" for one in moves(known)) <= 2
    within = [one._replace(over=-0.4) for one in known]
    assert sum(one.family == "static" for one in moves(within)) >= 6


def test_where_nothing_keeps_the_limits_what_may_is_sought():
    found = moves([LARGE._replace(over=0.05), SMALL._replace(over=0.4), sized("bag", 800_000, 0.85, over=0.2)])
    assert len(found) == 12 and np.median([one.expected_bytes for one in found]) > 900_000


def test_what_is_being_tried_is_not_sought_again():
    first = moves([LARGE, SMALL], seeds=1)[0]
    second = moves([LARGE, SMALL], pending=[first], seeds=1)[0]
    assert abs(math.log(second.expected_bytes / first.expected_bytes)) > 0.05 or second.family != first.family


def test_what_was_left_teaches_and_is_no_part_of_the_front(monkeypatch):
    known = [LARGE, SMALL, sized("static", 1_600_000, 0.88)]
    left = [sized("static", size, 0.3)._replace(whole=False) for size in (300_000, 600_000, 1_200_000)]
    before, after = (sum(one.family == "static" for one in moves(some)) for some in (known, [*known, *left]))
    assert before > after
    assert moves(left) == [], "nothing was measured"
    high = [one._replace(quality=0.99) for one in left]
    asked = [SPACE.asked(one.params) for one in (LARGE, SMALL)]
    assert _Seen(SPACE, [*known, *high]).points == _Seen(SPACE, known).points
    sure = Surrogate.of
    monkeypatch.setattr(
        Surrogate, "of", lambda self, places: (np.full(len(places), 0.5), sure(self, places)[1] * 0 + 1e-9)
    )
    assert _Seen(SPACE, [*known, *left]).gains(asked) == pytest.approx(0, abs=1e-7), "as good as what was left is none"


def test_what_is_being_tried_is_believed_to_miss_the_limits_where_that_is_likely():
    known = [LARGE, SMALL, *(sized("static", size, 0.97, over=0.4) for size in (300_000, 700_000, 1_500_000))]
    for family, more in (("static", 0), ("bag", 1)):
        seen = _Seen(SPACE, known)
        points = len(seen.points)
        seen.believe([SPACE.asked(sized(family, 800_000, 0.9).params)])
        assert len(seen.points) == points + more


def test_bytes_are_expected_as_of_the_nearest_of_the_same_kind():
    large, small = LARGE._replace(size=2 * LARGE.size), SMALL._replace(size=3 * SMALL.size)
    seen = _Seen(SPACE, [large, small])
    for family, size, times in (("bag", 1_500_000, 2), ("bag", 420_000, 3), ("static", 1_500_000, 1)):
        asked = SPACE.asked(sized(family, size, 0.9).params)
        assert seen.bytes(asked) == pytest.approx(times * asked.expected_bytes)


def test_what_was_tried_or_may_not_be_asked_for_is_left():
    random = np.random.default_rng(0)
    assert promising(SPACE, [], (), untried, able, random) is None
    assert promising(SPACE, [LARGE], (), lambda recipe: False, able, random) is None
    assert promising(SPACE, [LARGE], (), untried, lambda one: "slow", random) is None
    assert all(one.family != "bag" for one in moves([LARGE], hopeless=lambda one: one.family == "bag"))


def test_without_a_limit_on_bytes_there_are_moves_too():
    space = Space(Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True, words=300), Budget.parse())
    known = [Known("linear", space.params(one), 0.9, one.expected_bytes) for one in space.starts]
    assert len(moves(known, space=space)) == 12
    narrowed = Space(space.facts, Budget.parse(), ["search.size=60000,120000"])
    known = [Known("linear", narrowed.params(narrowed.starts[0]), 0.9, 60_000)]
    assert {one.size for one in moves(known, space=narrowed)} <= {60_000, 120_000}


def test_a_step_changes_bytes_and_one_other_setting_a_little():
    params, random = start("bag"), np.random.default_rng(0)
    for _ in range(50):
        found = SPACE.stepped("bag", params, random)
        changed = {name for name, value in found.items() if value != params[name]}
        assert found.keys() == params.keys() and len(changed - {"bag/size"}) <= 1
        assert params["bag/size"] / 2 <= found["bag/size"] <= params["bag/size"] * 2
        assert SPACE.asked(found) is None or SPACE.asked(found).family == "bag"
    assert len({SPACE.stepped("bag", params, random)["bag/size"] for _ in range(9)}) > 1


def test_any_recipe_is_drawn():
    random = np.random.default_rng(0)
    drawn = [SPACE.asked(SPACE.drawn(random)) for _ in range(100)]
    made = [one for one in drawn if one is not None]
    assert {one.family for one in made} >= {"linear", "bag", "static"} and len({one.size for one in made}) > 50


def test_rules_of_thumb_of_fewer_bytes_read_as_much_as_there_was_time_for():
    facts = Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True, words=300)
    space = Space(facts, Budget.parse("1MB", "1ms"))
    params = space.params(space.starts[0])
    read = next(name for name in params if name.endswith("max_words"))
    found = space.usual("linear", 450_000, params, able)
    assert found[read] == params[read] == 48
    assert 0.9 * 450_000 < space.asked(found).expected_bytes <= 450_000
    assert space.usual("linear", 100, params, able) is None
