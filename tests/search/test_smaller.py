"""What is asked for at half its bytes."""

from dataclasses import replace

from made_searches import BUDGET, SPACE

from pocketlm.search.smaller import Known, halved


def untried(recipe):
    return True


def asked(known, seen=untried):
    params = halved(SPACE, known, seen)
    return None if params is None else (params["family"], SPACE.asked(params).expected_bytes)


LARGE, SMALL = Known("bag", 0.9, 1_600_000), Known("static", 0.8, 700_000)


def test_what_may_gain_most_comes_first():
    family, size = asked([LARGE, SMALL])
    assert family == "static" and size <= 350_000, "nothing is known in so few bytes"
    family, size = asked([LARGE, SMALL._replace(size=300_000)])
    assert family == "bag" and 0.9 * 800_000 < size <= 800_000


def test_what_is_no_better_than_what_is_that_small_is_left():
    assert halved(SPACE, [LARGE, Known("static", 0.9, 1)], untried) is None


def test_what_was_tried_or_may_not_be_asked_for_is_left():
    assert halved(SPACE, [LARGE, SMALL], lambda recipe: False) is None
    assert halved(SPACE, [LARGE._replace(size=SPACE.knobs["bag"]["size"].low)], untried) is None


def test_a_smaller_one_is_the_rule_of_thumb_of_its_bytes():
    small = replace(BUDGET, max_size=900_000)
    for family in SPACE.knobs:
        found = SPACE.usual(family, small.max_size)
        assert found is None or found.expected_bytes <= small.max_size
    narrow = SPACE.usual("bag", 600_000)
    assert narrow.recipe.steps[0].width < SPACE.usual("bag", 1_600_000).recipe.steps[0].width
