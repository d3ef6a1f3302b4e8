"""What is asked for from what is known: at half its bytes, and beside it."""

import numpy as np
from made_searches import SPACE

from pocketlm.budget import Budget
from pocketlm.search.facts import Facts
from pocketlm.search.moves import Known, beside, halved
from pocketlm.search.space import Space

RANDOM = np.random.default_rng(0)


def untried(recipe):
    return True


def known(family, quality, size):
    return Known(family, {}, quality, size)


def asked(found, hopeless=lambda one: None):
    params = halved(SPACE, found, untried, hopeless)
    return None if params is None else (params["family"], SPACE.asked(params).expected_bytes)


LARGE, SMALL = known("bag", 0.9, 1_600_000), known("static", 0.8, 700_000)


def test_what_may_gain_most_comes_first():
    family, size = asked([LARGE, SMALL])
    assert family == "static" and size <= 350_000, "nothing is known in so few bytes"
    family, size = asked([LARGE, SMALL._replace(size=300_000)])
    assert family == "bag" and 0.9 * 800_000 < size <= 800_000


def test_what_is_no_better_than_what_is_that_small_is_left():
    assert asked([LARGE, known("static", 0.9, 1)]) is None


def test_what_was_tried_or_may_not_be_asked_for_is_left():
    assert halved(SPACE, [LARGE, SMALL], lambda recipe: False, lambda recipe: "") is None
    assert asked([LARGE._replace(size=SPACE.knobs["bag"]["size"].low)]) is None
    assert asked([LARGE, SMALL], lambda one: one.recipe.family == "static-embeddings")[0] == "bag"


def test_a_smaller_one_is_the_rule_of_thumb_of_its_bytes():
    both = ([known("bag", 0.9, size)] for size in (1_200_000, 3_200_000))
    small, large = (halved(SPACE, one, untried, lambda recipe: "") for one in both)
    assert small["bag/hashed-ngrams.width"] < large["bag/hashed-ngrams.width"]


def test_as_much_of_a_text_is_read_as_there_was_time_for():
    facts = Facts(500, 7, False, 2_000, 192, 2, 6, 384, single=True, words=300)
    space = Space(facts, Budget.parse("1MB", "1ms"))
    params = space.params(space.starts[0])
    read = next(name for name in params if name.endswith("max_words"))
    found = halved(space, [Known("linear", params, 0.9, 900_000)], untried, lambda recipe: "")
    assert found[read] == params[read] == 48


def start(family):
    return SPACE.params(next(one for one in SPACE.starts if one.family == family))


def test_a_step_changes_bytes_and_one_other_setting_a_little():
    params = start("bag")
    for _ in range(50):
        found = SPACE.stepped("bag", params, RANDOM)
        changed = {name for name, value in found.items() if value != params[name]}
        assert found.keys() == params.keys() and len(changed - {"bag/size"}) <= 1
        assert params["bag/size"] / 2 <= found["bag/size"] <= params["bag/size"] * 2
        assert SPACE.asked(found) is None or SPACE.asked(found).family == "bag"
    assert len({SPACE.stepped("bag", params, RANDOM)["bag/size"] for _ in range(9)}) > 1


def test_steps_are_taken_from_the_best_and_the_front():
    best, dominated = Known("bag", start("bag"), 0.9, 1_000_000), Known("static", start("static"), 0.8, 1_500_000)
    small = Known("linear", start("linear"), 0.7, 500_000)
    drawn = [beside(SPACE, [best, dominated, small], untried, lambda recipe: "", RANDOM) for _ in range(60)]
    families = [one["family"] for one in drawn]
    assert set(families) == {"bag", "linear"} and families.count("bag") > families.count("linear")
    assert beside(SPACE, [], untried, lambda recipe: "", RANDOM) is None
    assert beside(SPACE, [best], lambda recipe: False, lambda recipe: "", RANDOM) is None
    assert beside(SPACE, [best], untried, lambda one: "slow", RANDOM) is None
